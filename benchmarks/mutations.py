"""Single values of a finished study changed at random, and whether `probesteer verify` names the file and the value.

    python benchmarks/mutations.py [--mutations 1000] [--copies 100]        prints Markdown

Each mutation changes one value in one file: of a table, a figure's data, a page's text, a configuration, scores, texts, cells,
a probe, effects, detection ... A careful forger also writes the file's seal and the manifest's digest anew (half of the cases).
"""

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from forged import finished
from safetensors import safe_open
from safetensors.numpy import save_file

from probesteer.files.digests import digest, file_digest
from probesteer.files.seal import BLANK, SEAL, seal
from probesteer.report import verify
from probesteer.report.verify import Verified, verify_report

MADE = {"probes", "texts", "scores", "effects", "council"}  # folders of a study that are made again
KINDS = {  # kind: patterns below results/<study>
    "table": ["council/tables/*.csv"],
    "figure": ["council/figures/*"],
    "page": ["council/report.html", "council/report.md", "council/explorer.html"],
    "config": ["study.json", "council/study.json"],
    "record": ["council/evidence.json", "council/manifest.json"],
    "cell": ["steering/**/cell.parquet"],
    "probe": ["probes/**/*.safetensors"],
    "texts": ["texts/**/*.parquet"],
    "scores": ["scores/**/*.parquet"],
    "effects": ["effects/**/*.parquet"],
    "detection": ["detection/**/*.parquet", "forecasts/**/*.parquet", "doses/**/*.parquet"],
}
NUMBER = re.compile(rb"(?<![\w.#-])\d+(?:\.\d+)?(?![\w.])")


class Mutation(NamedTuple):
    """What was changed: a file, and words of which one must stand in what is said of it."""

    path: Path
    names: list[str]


def mutate(path: Path, rng: np.random.Generator, careful: bool) -> Mutation | None:
    """Change one value of a file; None where it holds none."""
    write = {".parquet": _parquet, ".safetensors": _tensor, ".csv": _csv, ".png": _byte}.get(path.suffix, _text)
    names = write(path, rng)
    if names and careful and path.name != "manifest.json":
        reseal(path)
    return Mutation(path, names) if names else None


def reseal(path: Path) -> None:
    """What a careful forger does: the file's own seal, its digest in the manifest, and the seal of that."""
    if path.suffix in (".parquet", ".safetensors"):
        seal(path)
    study = next(folder for folder in path.parents if folder.parent.name == "results")
    manifest = study / "council/manifest.json"
    recorded = json.loads(manifest.read_text())
    report, root = study / "council", study.parent.parent
    for part, base in (("report", report), ("results", root)):
        if path.is_relative_to(base) and (name := path.relative_to(base).as_posix()) in recorded[part]:
            recorded[part][name] = file_digest(path)
            if name in recorded["kept"]:
                recorded["kept"][name] = path.read_text()
    manifest.write_text(json.dumps({**recorded, SEAL: BLANK}, indent=1) + "\n")
    seal(manifest)


def another(value: Any, rng: np.random.Generator) -> Any:
    """Another value of the same type."""
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, (int, np.integer)):
        return int(value) + int(rng.integers(1, 3))
    if isinstance(value, (float, np.floating)):
        return float(value) + float(rng.choice([0.01, 0.1, 1e-3])) if value == value else 0.5
    return f"{value}{rng.choice(['x', '.', ' indeed'])}"


def _parquet(path: Path, rng: np.random.Generator) -> list[str]:
    table = pq.ParquetFile(path).read()
    footer = pq.read_metadata(path).metadata
    fields = [field for field in table.schema if not pa.types.is_null(field.type)]
    if not len(table) or not fields:
        return []
    field, row = fields[rng.integers(len(fields))], int(rng.integers(len(table)))
    values = table[field.name].to_pylist()
    new = another(values[row], rng) if values[row] is not None else {pa.string(): "x", pa.bool_(): True}.get(field.type, 1)
    values[row] = new
    changed = table.set_column(table.column_names.index(field.name), field, pa.array(values, field.type))
    with pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({key: value for key, value in footer.items() if key != b"ARROW:schema"})
    return [field.name]


def _tensor(path: Path, rng: np.random.Generator) -> list[str]:
    with safe_open(path, "numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = sorted(tensors)[rng.integers(len(tensors))]
    place = int(rng.integers(len(tensors[name])))
    tensors[name][place] += 0.01
    save_file(tensors, path, metadata=metadata)
    return [name]


def _csv(path: Path, rng: np.random.Generator) -> list[str]:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if table.empty:
        return []
    column, row = str(rng.choice(table.columns)), int(rng.integers(len(table)))
    old = table.at[row, column]
    number = re.fullmatch(r"-?\d+(\.\d+)?", old)
    table.at[row, column] = str(round(float(old) + 0.1, 6)) if number else f"{old}x"
    table.to_csv(path, index=False)
    return [column]


def _text(path: Path, rng: np.random.Generator) -> list[str]:
    data = path.read_bytes()
    found = list(NUMBER.finditer(data))
    if not found:
        return []
    match = found[rng.integers(len(found))]
    digit = match.end() - 1
    new = (data[digit : digit + 1][0] - 48 + int(rng.integers(1, 9))) % 10
    path.write_bytes(data[:digit] + str(new).encode() + data[digit + 1 :])
    line = data[: match.start()].count(b"\n") + 1
    return [f"line {line}:", path.name]


def _byte(path: Path, rng: np.random.Generator) -> list[str]:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))
    return [path.name]


MADE_FROM = {"cell": "texts.parquet", "detection": "/tables/", "config": "study.json"}
"""What is made of files that only a model can make again: where their digests are forged, too, the two disagree."""


def is_named(done: Verified, mutation: Mutation, kind: str) -> bool:
    """Whether the findings name the file, or what was made from it, and the value's place."""
    name = str(mutation.path)[str(mutation.path).index("results/") :]
    lines = [line for line in done.findings if name in line or MADE_FROM.get(kind, name) in line]
    return any(word in line for line in lines for word in mutation.names)


def remembering(recompute: Callable[..., list[str]], folder: Path) -> Callable[..., list[str]]:
    """`recompute`, whose results are kept in `folder` and used again where nothing that it reads is another."""
    known: dict[str, list[str]] = {}

    def again(study: Any, report: Path, *more: Any) -> list[str]:
        found = [path for path in sorted(Path("results").rglob("*")) if path.is_file() and not MADE & set(path.parts)]
        key = digest([study.digest(), *map(str, more), *(f"{path} {file_digest(path)}" for path in found)])
        if key not in known:
            known[key] = recompute(study, report, *more)
            for path in (path for path in Path("results").rglob("*") if path.is_file() and not path.is_symlink()):
                (folder / key / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / key / path)
            return known[key]
        for path in (path for path in (folder / key).rglob("*") if path.is_file()):
            place = path.relative_to(folder / key)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            shutil.copyfile(path, place)
        return known[key]

    return again


def campaign(study: Path, mutations: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Mutations of a finished study, kind by kind in turn, each undone before the next one."""
    rng = np.random.default_rng(seed)
    files = {kind: sorted(path for one in patterns for path in study.glob(one)) for kind, patterns in KINDS.items()}
    kinds = [kind for kind, own in files.items() if own]
    for number in range(mutations):
        kind, careful, mutation = kinds[number % len(kinds)], bool(rng.integers(2)), None
        while mutation is None:
            path = files[kind][rng.integers(len(files[kind]))]
            before = {one: one.read_bytes() for one in (path, study / "council/manifest.json")}
            mutation = mutate(path, rng, careful)
        start = time.monotonic()
        done = verify_report(study)
        seconds = time.monotonic() - start
        for one, data in before.items():
            one.write_bytes(data)
        row = {"kind": kind, "careful": careful, "file": str(path.relative_to(study)), "where": mutation.names[0]}
        told = {"found": bool(done.findings), "named": is_named(done, mutation, kind), "said": done.findings}
        yield {**row, **told, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=100)
    given = parser.parse_args()
    with finished() as folder, tempfile.TemporaryDirectory() as kept:
        study = folder / "results/small"
        alarms = sum(bool(verify_report(study).findings) for _ in range(given.copies))
        verify.recompute = remembering(verify.recompute, Path(kept))
        rows = pd.DataFrame(campaign(study, given.mutations))
    print("| changed | mutations | found | file and value named | seals and digests forged, too |")
    print("|---|---|---|---|---|")
    for kind, own in rows.groupby("kind", sort=False):
        print(f"| {kind} | {len(own)} | {own['found'].sum()} | {own['named'].sum()} | {own['careful'].sum()} |")
    print(f"| all | {len(rows)} | {rows['found'].sum()} | {rows['named'].sum()} | {rows['careful'].sum()} |")
    print(f"\nUntouched: {alarms} alarms in {given.copies}. Seconds: median {rows['seconds'].median():.1f}")
    for row in rows[~rows["named"]].itertuples():
        print(f"- {row.kind}, {row.file}, {row.where}: {row.said[:2]}")


if __name__ == "__main__":
    main()
