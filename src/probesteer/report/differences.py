"""Where two files of the same kind differ: a row and a column, a tensor's element, a line."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from probesteer.files.seal import SEAL

KEYS = ("model", "layer", "arm", "scenario", "alpha", "sample", "metric", "of", "scorer", "rule", "check", "role", "name", "id")
ITS = "its "  # how the names of what a file says of itself begin
AROUND, LONGEST = 24, 120  # characters that are shown around a change, and of one value
NEARLY = 1e-5  # relative, of numbers that other libraries computed


def differences(found: Path, expected: Path, exact: bool = True) -> Iterator[str]:
    """The places at which a file is not what is expected, in words; numbers may differ a little where not exact."""
    readers = {".csv": _csv_columns, ".parquet": _parquet_columns, ".safetensors": _tensor_columns}
    if found.suffix in readers:
        read = readers[found.suffix]
        try:
            mine = read(found)
        except (pa.ArrowException, OSError, SafetensorError, ValueError, csv.Error) as error:
            yield f"not readable ({str(error).splitlines()[0][:LONGEST]})"
            return
        yield from column_differences(mine, read(expected), exact)
    elif found.suffix in (".png", ".pdf"):
        yield "the picture is another one"
    elif exact:
        yield from text_differences(found.read_bytes(), expected.read_text(encoding="utf-8"))


def column_differences(found: Mapping[str, Sequence], expected: Mapping[str, Sequence], exact: bool) -> Iterator[str]:
    """The same of columns by name."""
    for name in dict.fromkeys([*expected, *found]):
        if name not in found or name not in expected:
            yield f"column {name} {'is missing' if name in expected else 'is new'}"
        elif len(found[name]) != len(expected[name]):
            yield f"{len(found[name])} rows; {len(expected[name])} are expected"
            return
    for name in (name for name in expected if name in found):
        for row, (mine, other) in enumerate(zip(found[name], expected[name], strict=True)):
            if not same(mine, other, exact):
                keys = [key for key in KEYS if key in expected and key != name and not name.startswith(ITS)]
                at = ", ".join(f"{key} {expected[key][row]}" for key in keys)
                yield f"row {row + 1}{f' ({at})' if at else ''}: {name} is {short(mine)}; {short(other)} is expected"


def same(one: Any, other: Any, exact: bool) -> bool:
    """Whether two values are one; missing ones are."""
    if one == other or (one != one and other != other):
        return True
    if exact:
        return False
    try:
        return bool(np.isclose(float(one), float(other), rtol=NEARLY, atol=NEARLY))
    except (TypeError, ValueError):
        return False


def short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def text_differences(found: bytes, expected: str) -> Iterator[str]:
    """The first line at which a text differs, and what stands there."""
    lines = zip_longest(found.decode("utf-8", "replace").split("\n"), expected.split("\n"), fillvalue="")
    for number, (mine, other) in enumerate(lines, 1):
        if mine != other:
            left, right = _common(mine, other), _common(mine[::-1], other[::-1])
            right = min(right, len(mine) - left, len(other) - left)
            start = max(0, left - AROUND)
            parts = [text[start : min(len(text) - right + AROUND, start + 3 * LONGEST)] for text in (mine, other)]
            yield f"line {number}: {short(parts[0])} stands there; {short(parts[1])} is expected"
            return
    yield "its bytes are others"


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _csv_columns(path: Path) -> dict[str, list]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file, strict=True)) or [[]]
    if wrong := [number for number, row in enumerate(rows, 1) if len(row) != len(header)]:
        raise ValueError(f"row {wrong[0]} has another number of values than the header")
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _parquet_columns(path: Path) -> dict[str, list]:
    file = pq.ParquetFile(path, page_checksum_verification=True)
    table, footer = file.read(), file.metadata.metadata or {}
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return {**columns, **_metadata({key.decode(): value.decode() for key, value in footer.items()})}


def _tensor_columns(path: Path) -> dict[str, list]:
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
        return {**tensors, **_metadata(file.metadata() or {})}


def _metadata(of: Mapping[str, str]) -> dict[str, list]:
    """What a file says of itself, as columns of one row; not its seal, nor what pandas and Arrow keep for themselves."""
    kept = {key: value for key, value in of.items() if key not in (SEAL, "pandas", "ARROW:schema")}
    return {f"{ITS}{key}": [value] for key, value in sorted(kept.items())}


def first_few(places: Iterator[str], most: int = 3) -> list[str]:
    """The first places, and how many more there are."""
    shown: list[str] = []
    more = 0
    for place in places:
        if len(shown) < most:
            shown.append(place)
        else:
            more += 1
    return list(chain(shown, [f"and {more:,} more places"] if more else []))
