"""Progress of long work: a bar on a terminal, a line a minute in a log."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

LOG_FORMAT = "{desc}: {percentage:.0f}% of {total_fmt} {unit}, {elapsed} gone, {remaining} left, {rate_fmt}"


class _Lines:
    """A stream in which each state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self._stream.flush()


def progress(total: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar that counts `total` units of `what`, with the time that is left."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=what, unit=unit, unit_scale=True, mininterval=0.5)
    lines: Any = _Lines(sys.stderr)
    style: dict[str, Any] = {"bar_format": LOG_FORMAT, "mininterval": 60, "miniters": 1, "file": lines}
    return tqdm(total=total, desc=what, unit=f"{unit}s", unit_scale=True, **style)
