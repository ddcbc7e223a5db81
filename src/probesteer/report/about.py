"""When a report was made, and by which version."""

import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def about() -> dict[str, str]:
    """date (UTC; that of SOURCE_DATE_EPOCH where it is set), version, and the commit of the checkout, if it is one."""
    made = (
        datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
        if "SOURCE_DATE_EPOCH" in os.environ
        else datetime.now(UTC)
    )
    return {"date": made.date().isoformat(), "version": version("probesteer"), "commit": commit()}


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
