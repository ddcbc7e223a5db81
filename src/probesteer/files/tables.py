"""Parquet tables: written whole or not at all, with the fingerprint of what determines them in the footer."""

import json
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.seal import BLANK, SEAL, is_whole, sealed

FINGERPRINT, INPUTS, COST = b"probesteer.fingerprint", b"probesteer.inputs", b"probesteer.cost"
FOREIGN = "missing, broken, or made from other inputs than the study's"


def write_table(
    table: pa.Table, path: Path, inputs: Mapping[str, Any] | None = None, cost: Mapping[str, float] | None = None
) -> None:
    """Write a sealed Parquet file. `inputs` is what determines the table: it and its digest go into the footer.

    `cost` (seconds, memory) goes there too but not into the fingerprint.
    """
    write_row_groups([table], path, inputs, lambda: cost)


def write_row_groups(
    tables: Iterable[pa.Table],
    path: Path,
    inputs: Mapping[str, Any] | None = None,
    cost: Callable[[], Mapping[str, float] | None] = lambda: None,
) -> None:
    """Write at least one table of one schema, a row group each, as they come; `cost` is asked when all are written."""
    rest = iter(tables)
    first = next(rest)
    with (
        sealed(path) as beside,
        pq.ParquetWriter(beside, first.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in chain([first], rest):
            writer.write_table(table)
        if inputs is not None:
            writer.add_key_value_metadata({FINGERPRINT: digest(inputs), INPUTS: json.dumps(inputs, sort_keys=True)})
        if (spent := cost()) is not None:
            writer.add_key_value_metadata({COST: json.dumps(spent)})
        writer.add_key_value_metadata({SEAL: BLANK})


def read_row_groups(path: Path) -> Iterator[pa.Table]:
    """The tables that `write_row_groups` wrote, one at a time. Raises InputError where the file is missing or broken."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file") from error


KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    "bool": pa.types.is_boolean,
    "vector": pa.types.is_fixed_size_list,
}


def read_table(
    path: Path,
    columns: Iterable[str] | None = None,
    needs: Mapping[str, str] | None = None,
    optional: Mapping[str, str] | None = None,
) -> pa.Table:
    """Read a Parquet file, categories as their values where it is another's.

    `needs` maps columns that must be there to their kind: one of KINDS, with ? where null (or NaN, in numbers) may stand;
    `optional` those that may be there. Raises InputError where the file is missing or broken, or a column is missing, given
    twice, of another kind, or holds what is no finite number or no text.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
        table = file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file") from error
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: column {repeated[0]} is given twice")
    if missing := [name for name in needs or {} if name not in names]:
        raise InputError(f"{path}: column {missing[0]} is missing; it has {', '.join(names[:12])}")
    for number, field in enumerate(table.schema if needs else []):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, table[number].cast(field.type.value_type))
        if KINDS["text"](table[number].type):
            _check_text(table[number], f"{path}: column {field.name}")
    for name, kind in {**(needs or {}), **(optional or {})}.items():
        if name in names:
            _check_column(table[name], kind, f"{path}: ", name)
    return table


def _check_column(column: pa.ChunkedArray, kind: str, where: str, name: str) -> None:
    """Raise InputError where a column is not of its kind."""
    plain, may_lack = kind.removesuffix("?"), kind.endswith("?")
    if not KINDS[plain](column.type):
        raise InputError(f"{where}column {name} holds {column.type}; {plain} is expected")
    if column.null_count and not may_lack:
        raise InputError(f"{where}row {column.is_null().index(True).as_py()}: {name} is null")
    if pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64())
        wrong = pc.is_inf(numbers) if may_lack else pc.invert(pc.is_finite(numbers))
        if (row := wrong.index(True).as_py()) >= 0:
            raise InputError(f"{where}row {row}: {name} is {column[row]}; a finite number is expected")


def _check_text(column: pa.ChunkedArray, where: str) -> None:
    """Raise InputError where a column of text holds other bytes."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{where} holds what is not UTF-8 text") from error


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file; none where it is missing or broken, which reading it will say."""
    try:
        return pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return []


def read_footer(path: Path) -> dict[bytes, bytes] | None:
    """The footer's metadata, or None for a file that is missing or broken."""
    try:
        return pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None


def read_fingerprint(path: Path) -> str:
    """The fingerprint that the file's writer recorded; empty where there is none."""
    return (read_footer(path) or {}).get(FINGERPRINT, b"").decode()


def is_fresh(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether the file at `path` is whole and was made from exactly these inputs."""
    return has_fingerprint(path, digest(inputs))


def has_fingerprint(path: Path, fingerprint: str) -> bool:
    """The same by the digest of the inputs."""
    return is_whole(path) and read_fingerprint(path) == fingerprint


def read_cost(path: Path) -> dict[str, float]:
    """The cost that a job wrote into the footer; empty where there is none."""
    return json.loads((read_footer(path) or {}).get(COST, b"{}"))


def read_inputs(path: Path) -> dict[str, Any]:
    """What the file was made from, as its writer recorded it; empty where nothing is recorded."""
    return json.loads((read_footer(path) or {}).get(INPUTS, b"{}"))


def peak_memory_mb() -> float:
    """The largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
