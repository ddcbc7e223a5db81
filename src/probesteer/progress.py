"""Progress of long work: a bar on a terminal, a line a minute in a log."""

import sys
from typing import Any

from tqdm import tqdm


def progress(total: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar that counts `total` units of `what`."""
    return tqdm(total=total, desc=what, unit=unit, mininterval=0.5 if sys.stderr.isatty() else 60)
