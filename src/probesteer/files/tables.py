"""Parquet tables: written whole or not at all, with the fingerprint of what determines them in the footer."""

import json
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
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


KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    "bool": pa.types.is_boolean,
    "vector": pa.types.is_fixed_size_list,
}


def read_table(path: Path, columns: Iterable[str] | None = None, needs: Mapping[str, str] | None = None) -> pa.Table:
    """Read a Parquet file. `needs` maps columns that must be there to their kind: one of KINDS, with ? where null may stand.

    Raises InputError where the file is missing or broken, or a needed column is missing or of another kind.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
        table = file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file") from error
    for name, kind in (needs or {}).items():
        if name not in names:
            raise InputError(f"{path}: column {name} is missing; it has {', '.join(names[:12])}")
        column = table[name]
        plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not KINDS[kind.removesuffix("?")](plain):
            raise InputError(f"{path}: column {name} holds {column.type}; {kind.removesuffix('?')} is expected")
        if column.null_count and not kind.endswith("?"):
            row = column.is_null().index(True).as_py()
            raise InputError(f"{path}: row {row}: {name} is null")
    return table


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


def require_fresh(path: Path, inputs: Mapping[str, Any]) -> None:
    """Raise InputError unless the file at `path` is whole and was made from exactly these inputs."""
    if not is_fresh(path, inputs):
        raise InputError(f"{path}: {FOREIGN}; delete it and run again")


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
