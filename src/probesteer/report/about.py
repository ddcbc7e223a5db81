"""When a report was made, and by which version."""

import json
import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from probesteer.errors import InputError
from probesteer.study.paths import ABOUT


def about() -> dict[str, str]:
    """date (UTC; that of SOURCE_DATE_EPOCH where it is set), version, and the commit of the checkout, if it is one."""
    made = (
        datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
        if "SOURCE_DATE_EPOCH" in os.environ
        else datetime.now(UTC)
    )
    return {"date": made.date().isoformat(), "version": version("probesteer"), "commit": commit()}


def read_about(report: Path) -> dict[str, str]:
    """What a report says of itself. Raises InputError."""
    try:
        said = json.loads((report / ABOUT).read_text(encoding="utf-8"))
        return {name: str(said[name]) for name in ("date", "version", "commit")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{report / ABOUT}: missing or damaged; `snakemake` writes the report again") from error


def commit() -> str:
    """The commit of the code, marked where files differ from it; empty outside a checkout."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    try:
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
