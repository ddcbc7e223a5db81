"""A seal tells whether a file is still what was written: the SHA-256 of its bytes, with zeros where the digest itself stands.

Light on purpose: the Snakefile imports this module at parse time.
"""

import mmap
import re
from hashlib import sha256
from pathlib import Path

SEAL, BLANK = "probesteer.seal", "0" * 64
"""What a format's key-value metadata must hold for `seal` to fill in."""
MISSING, DAMAGED, WHOLE = "missing", "damaged", "whole"
LARGEST_CHECKED = 64 * 2**20  # bytes; whoever reads a larger file checks what it reads
_DIGEST = re.compile(rb"probesteer\.seal[^0-9a-f]{1,4}([0-9a-f]{64})")


def seal(path: Path) -> None:
    """Fill in the blank seal of a file."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        found = _DIGEST.match(data, data.rfind(SEAL.encode()))
        assert found, f"{path} holds no blank seal"
        start, end = found.span(1)
        data[start:end] = _digest(data, start, end).encode()


def is_whole(path: Path) -> bool:
    """Whether a file is there, holds a seal, and has not changed since it was sealed."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _DIGEST.match(data, max(0, data.rfind(SEAL.encode())))
            return found is not None and found[1].decode() == _digest(data, *found.span(1))
    except (OSError, ValueError):
        return False


def state(path: Path) -> str:
    """Whether a file is missing, damaged or whole; a file larger than LARGEST_CHECKED is taken for whole."""
    try:
        size = path.stat().st_size
    except OSError:
        return MISSING
    return WHOLE if size > LARGEST_CHECKED or is_whole(path) else DAMAGED


def _digest(data: mmap.mmap, start: int, end: int) -> str:
    with memoryview(data) as view:
        whole = sha256(view[:start])
        whole.update(BLANK.encode())
        whole.update(view[end:])
    return whole.hexdigest()
