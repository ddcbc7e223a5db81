"""What changed since the previous report of a study: criteria and verdicts, old beside new."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probesteer.errors import InputError
from probesteer.files.whole import write_text
from probesteer.study.experiment import Study

HISTORY = "reports.jsonl"  # beside the report's folder, which holds the last one only


Report = dict[str, dict[str, Any]]


def report_of(study: Study, verdicts: pd.DataFrame) -> Report:
    """What of a report is remembered: its criteria, the scorer that decides, its verdicts."""
    return {
        "criterion": study.criteria.model_dump(),
        "scorer": {"decides": next(iter(study.scorers), "")},
        "verdict": dict(zip(verdicts["model"], verdicts["verdict"], strict=True)),
    }


def reassess(current: Report, earlier: Sequence[Report]) -> pd.DataFrame:
    """Rows (what, name, old, new) against the previous report that differs.

    what is "criterion", "scorer" (which decides) or "verdict"; a missing value is empty.
    """
    rows = []
    if old := next((report for report in reversed(earlier) if report != current), None):
        for what, values in current.items():
            before = old.get(what, {})
            for name in dict.fromkeys([*before, *values]):
                if before.get(name) != values.get(name):
                    rows.append({"what": what, "name": name, "old": before.get(name, ""), "new": values.get(name, "")})
    return pd.DataFrame(rows, columns=["what", "name", "old", "new"])


def add_report(current: Report, path: Path) -> None:
    """A line for a report in the file at `path`, unless it is the last one there. Raises InputError for a broken file."""
    reports = read_reports(path)
    if not reports or reports[-1] != current:
        write_text(path, "".join(json.dumps(report) + "\n" for report in [*reports, current]))


def read_reports(path: Path) -> list[Report]:
    """The criteria and verdicts of the study's reports, the oldest first; none where there is no file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a list of earlier reports; delete it to start a new one") from error
