"""GGUF files, llama.cpp's format of one model in one file: what their header says, read without any tensor.

Source of the layout: the GGUF specification (ggml-org/ggml, docs/gguf.md), versions 2 and 3.
"""

import math
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from probesteer.errors import InputError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
LONGEST = 2**31  # elements of an array or bytes of a string: more is a damaged file
ALIGNMENT = 32  # bytes, where the file names none


class TensorEntry(NamedTuple):
    """What the header says of a tensor."""

    kind: int
    """Number of the type of its values, by the specification."""
    elements: int
    offset: int
    """Bytes from where the data begin."""


class Header(NamedTuple):
    """What a GGUF file says of its model."""

    values: dict[str, Any]
    """Metadata by key; of an array its length."""
    tensors: list[TensorEntry]
    data: int
    """Where the tensors' data begin."""

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def blocks(self) -> int | None:
        """Number of decoder blocks, where it is named."""
        return self.values.get(f"{self.architecture}.block_count")

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)


def gguf_file(source: str) -> Path | None:
    """The GGUF file that a source names: itself, or the only one of a folder without other weights."""
    path = Path(source)
    if path.suffix.lower() == ".gguf":
        return path if path.is_file() else None
    if not path.is_dir() or list(path.glob("model*.safetensors*")):
        return None
    found = sorted(path.glob("*.gguf"))
    return found[0] if len(found) == 1 else None


def read_gguf(path: Path) -> Header:
    """The header of a GGUF file. Raises InputError."""
    try:
        stat = path.stat()
        return _header(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


@lru_cache
def _header(path: Path, _size: int, _time: int) -> Header:
    with path.open("rb") as file:
        try:
            magic, version, tensors, pairs = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version not in (2, 3):
                raise ValueError
            values = {_string(file): _value(file, *_numbers(file, "I")) for _pair in range(pairs)}
            entries = [_tensor(file) for _tensor_number in range(tensors)]
            alignment = int(values.get("general.alignment", ALIGNMENT))
            data = -(-file.tell() // alignment) * alignment
        except (struct.error, ValueError, TypeError, ArithmeticError, MemoryError) as error:
            raise InputError(f"{path} is not a whole GGUF file of version 2 or 3; copy or download it again") from error
    return Header(values, entries, data)


def _tensor(file: BinaryIO) -> TensorEntry:
    _string(file)
    (dimensions,) = _numbers(file, "I")
    elements = math.prod(_numbers(file, f"{dimensions}Q"))
    kind, offset = _numbers(file, "IQ")
    return TensorEntry(kind, elements, offset)


def _numbers(file: BinaryIO, code: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))


def _string(file: BinaryIO) -> str:
    return file.read(_length(file)).decode("utf-8", errors="replace")


def _length(file: BinaryIO) -> int:
    (length,) = _numbers(file, "Q")
    if length > LONGEST:
        raise ValueError
    return int(length)


def _value(file: BinaryIO, kind: int) -> Any:
    """The next value; of an array, which is passed over, its length."""
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _numbers(file, _code(kind))[0]
    (inner,) = _numbers(file, "I")
    length = _length(file)
    if inner in (STRING, ARRAY):
        for _element in range(length):
            _value(file, inner)
    else:
        file.seek(length * struct.calcsize(f"<{_code(inner)}"), 1)
    return length


def _code(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError
    return SCALARS[kind]
