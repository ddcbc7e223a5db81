"""A seal tells whether a file is still what was written: the SHA-256 of its bytes, with zeros where the digest itself stands.

Light on purpose: the Snakefile imports this module at parse time.
"""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from probesteer.files.whole import atomic

SEAL, BLANK = "probesteer.seal", "0" * 64
"""What a format's key-value metadata must hold for `seal` to fill in."""
MISSING, DAMAGED, WHOLE = "missing", "damaged", "whole"
BLOCK = 2**20  # bytes
LARGEST_CHECKED = 64 * 2**20  # bytes; whoever reads a larger file checks what it reads
_DIGEST = re.compile(rb"probesteer\.seal[^0-9a-f]{1,4}([0-9a-f]{64})")


def seal(path: Path) -> None:
    """Fill in the blank seal of a file."""
    with path.open("r+b") as file:
        place = _place(file)
        assert place is not None, f"{path} holds no blank seal"
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """As `atomic`, for a file whose writer leaves a blank seal in it."""
    with atomic(path) as beside:
        yield beside
        seal(beside)


def is_whole(path: Path) -> bool:
    """Whether a file is there, holds a seal, and has not changed since it was sealed."""
    try:
        with path.open("rb") as file:
            place = _place(file)
            if place is None:
                return False
            digest = _digest(file, place)
            file.seek(place)
            return file.read(len(BLANK)) == digest
    except (OSError, ValueError):
        return False


def state(path: Path) -> str:
    """Whether a file is missing, damaged or whole; a file larger than LARGEST_CHECKED is taken for whole."""
    try:
        size = path.stat().st_size
    except OSError:
        return MISSING
    return WHOLE if size > LARGEST_CHECKED or is_whole(path) else DAMAGED


def _place(file: BinaryIO) -> int | None:
    """Where the digest stands, by the last mention of the seal."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _DIGEST.match(data, max(0, data.rfind(SEAL.encode())))
        return found.start(1) if found else None


def _digest(file: BinaryIO, place: int) -> bytes:
    """The digest that belongs at `place`; read in blocks, since a mapped file would count as memory."""
    whole = sha256()
    file.seek(0)
    while (left := place - file.tell()) and (block := file.read(min(left, BLOCK))):
        whole.update(block)
    whole.update(BLANK.encode())
    file.seek(place + len(BLANK))
    while block := file.read(BLOCK):
        whole.update(block)
    return whole.hexdigest().encode()
