"""What changed since the previous report of a study: criteria and verdicts, old beside new."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from probesteer.errors import InputError
from probesteer.files.whole import write_text
from probesteer.study.experiment import Study

HISTORY = "reports.jsonl"  # beside the report's folder, which Snakemake empties before a report is written


def reassess(study: Study, verdicts: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Rows (what, name, old, new) against the previous report that differs, and a line for this one in the file at `path`.

    what is "criterion", "scorer" (which decides) or "verdict"; a missing value is empty. Raises InputError for a broken file.
    """
    current = {
        "criterion": study.criteria.model_dump(),
        "scorer": {"decides": next(iter(study.scorers), "")},
        "verdict": dict(zip(verdicts["model"], verdicts["verdict"], strict=True)),
    }
    reports = read_reports(path)
    if not reports or reports[-1] != current:
        reports.append(current)
        write_text(path, "".join(json.dumps(report) + "\n" for report in reports))
    rows = []
    if len(reports) > 1:
        old, new = reports[-2:]
        for what, values in new.items():
            before = old.get(what, {})
            for name in dict.fromkeys([*before, *values]):
                if before.get(name) != values.get(name):
                    rows.append({"what": what, "name": name, "old": before.get(name, ""), "new": values.get(name, "")})
    return pd.DataFrame(rows, columns=["what", "name", "old", "new"])


def read_reports(path: Path) -> list[dict[str, Any]]:
    """The criteria and verdicts of the study's reports, the oldest first; none where there is no file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a list of earlier reports; delete it to start a new one") from error
