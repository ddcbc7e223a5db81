"""Parquet tables: written whole or not at all, with the fingerprint of what determines them in the footer."""

import fcntl
import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from probesteer.errors import InputError
from probesteer.seal import BLANK, SEAL, is_whole, seal
from probesteer.study import digest

FINGERPRINT, INPUTS, COST = b"probesteer.fingerprint", b"probesteer.inputs", b"probesteer.cost"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes otherwise.

    What a killed writer of the same file left is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` (a POSIX lock, which ends with its process, also over NFS).

    Raises InputError where another process holds it: a job whose Snakemake died goes on, and must not get a second writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(f"{path}: {holder} is writing these results; wait for it, or end it, and run again") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """As `atomic`, for a file whose writer leaves a blank seal in it."""
    with atomic(path) as beside:
        yield beside
        seal(beside)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a model card: sealed JSON."""
    with sealed(path) as beside:
        beside.write_text(json.dumps({**card, SEAL: BLANK}, indent=1) + "\n", encoding="utf-8")


def read_card(path: Path) -> dict[str, Any]:
    """Read the model card that `probesteer model` wrote. Raises InputError."""
    return _read_json(path, ["digest", "source"], "a model card; write one with `probesteer model`")


def read_receipt(path: Path) -> dict[str, Any]:
    """Read the receipt that `probesteer fetch` wrote. Raises InputError."""
    return _read_json(path, ["revision", "files"], "a receipt; write one with `probesteer fetch`")


def _read_json(path: Path, needs: Iterable[str], what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        value.pop(SEAL, None)
        return {**value, **{key: value[key] for key in needs}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not {what}") from error


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


def is_fresh(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether the file at `path` is whole and was made from exactly these inputs."""
    return is_whole(path) and (read_footer(path) or {}).get(FINGERPRINT) == digest(inputs).encode()


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


def axes(path: Path) -> dict[str, str]:
    """The `key=value` parts of a Hive-style path."""
    return dict(part.split("=", 1) for part in path.parts if "=" in part)


def read_cells(paths: Iterable[Path]) -> pa.Table:
    """Read the cells at `paths`, and no others, with typed axes: arm, model, layer, scenario, alpha.

    Unsteered cells have a null layer and alpha 0. Raises InputError for a missing or broken cell.
    """
    tables = []
    for path in paths:
        cell, at = read_table(path), axes(path)
        layer = int(at["layer"]) if "layer" in at else None
        typed = {
            "arm": pa.array([at["arm"]] * len(cell), pa.string()),
            "model": pa.array([at["model"]] * len(cell), pa.string()),
            "layer": pa.array([layer] * len(cell), pa.int32()),
            "scenario": pa.array([at["scenario"]] * len(cell), pa.string()),
            "alpha": pa.array([float(at.get("alpha", 0))] * len(cell), pa.float64()),
        }
        tables.append(pa.table({**typed, **{name: cell[name] for name in cell.column_names}}))
    return pa.concat_tables(tables)
