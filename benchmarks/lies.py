"""Lies planted into honest studies: python benchmarks/lies.py [--seeds 10] [--honest 200]   prints Markdown tables.

Each kind changes one thing of an honest study of `honest.py` (`kinds.py`), or a file of a finished one (`forged.py`), and names
the check that is meant to find it. Beside it stands what the usual practice says: an AUROC of at least .9 on the test split,
or a success by sign above one half.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: processes share the cores

import numpy as np
import pandas as pd
from forged import finished, forged_rows
from forged import table as files_table
from honest import Judged, honest, judged
from kinds import FAIL, LIES, WARN


def study_rows(seed: int, kinds: list[str]) -> list[dict[str, object]]:
    """The honest study of a seed, and the lies of these names planted into it: what was said of each."""
    case = honest(seed)
    truth = judged(case)
    rows = [{**row_of("", truth), "wrongly": [one.name for one in LIES if one.named(truth)]}]
    for one in LIES:
        if one.name in kinds:
            found = judged(one.tell(case, np.random.default_rng([seed, *one.name.encode()])))
            rows.append({**row_of(one.name, found), "named": one.named(found), "believed": one.believed(found)})
    return rows


def row_of(kind: str, found: Judged) -> dict[str, object]:
    """What was said of a study."""
    said = {status: sorted(set(found.checks.loc[found.checks["status"] == status, "check"])) for status in (FAIL, WARN)}
    verdict = found.verdict
    return {
        "kind": kind,
        "verdict": verdict["verdict"],
        "why": verdict["why"],
        **said,
        "auroc": found.auroc,
        "success": found.success,
    }


def campaign(seeds: int, count: int, kinds: list[str]) -> pd.DataFrame:
    """All rows: honest studies of `count` seeds, and in the first `seeds` of them every lie."""
    with ProcessPoolExecutor() as pool:
        planned = [(seed, kinds if seed < seeds else []) for seed in range(max(seeds, count))]
        return pd.DataFrame(chain.from_iterable(pool.map(study_rows, *zip(*planned, strict=True))))


def table(rows: pd.DataFrame) -> Iterator[str]:
    """A row per kind, then what was said of the honest studies."""
    truth = rows[rows["kind"] == ""]
    yield "| lie | meant for it | named | the same in honest studies | others that FAIL | GREEN | usual practice finds it |"
    yield "|---|---|---|---|---|---|---|"
    for one in LIES:
        own = rows[rows["kind"] == one.name]
        if len(own):
            others = Counter(chain.from_iterable(own[FAIL]))
            listed = ", ".join(f"{check} {times}" for check, times in others.most_common(4) if check != one.check)
            same = sum(one.name in wrongly for wrongly in truth["wrongly"])
            green = (own["verdict"] == "GREEN").sum()
            yield (
                f"| {one.name} | {one.meant} | {own['named'].sum()} of {len(own)} | {same} of {len(truth)} | "
                f"{listed} | {green} | {own['believed'].sum()} of {len(own)} by {one.practice} |"
            )
    yield ""
    yield from honest_lines(truth)


def honest_lines(truth: pd.DataFrame) -> Iterator[str]:
    """How many honest studies have a FAIL or a WARN, and of which checks."""
    for status in (FAIL, WARN):
        having = truth[status].map(bool).sum()
        by_check = Counter(chain.from_iterable(truth[status]))
        listed = ": " + ", ".join(f"{check} {times}" for check, times in by_check.most_common()) if by_check else ""
        yield f"- {len(truth)} honest studies: {having} have a {status}{listed}."
    verdicts = ", ".join(f"{verdict} {count}" for verdict, count in truth["verdict"].value_counts().items())
    yield f"- Their verdicts: {verdicts}."
    for why, count in truth.loc[truth["why"] != "", "why"].value_counts().items():
        yield f"- {count} for the reason: {why}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="studies that every lie is planted into")
    parser.add_argument("--honest", type=int, default=200, help="honest studies")
    parser.add_argument(
        "--kinds", nargs="*", default=[one.name for one in LIES], help="names of lies, none of them for --kinds alone"
    )
    parser.add_argument(
        "--no-files", action="store_true", help="leave out what needs a study on an organism, which is run first"
    )
    args = parser.parse_args()
    rows = campaign(args.seeds, args.honest, args.kinds)
    print("\n".join(table(rows)), flush=True)
    named = list(rows.loc[rows["kind"] != "", "named"]) if "named" in rows else []
    if not args.no_files:
        with finished() as folder:
            files = pd.DataFrame(forged_rows(folder, args.seeds))
        print("\n" + "\n".join(files_table(files)))
        named += list(files["named"])
    print(f"\n{len(named)} lies: {sum(named)} named, {100 * sum(named) / max(1, len(named)):.1f} %.")


if __name__ == "__main__":
    main()
