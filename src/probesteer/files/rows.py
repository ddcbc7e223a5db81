"""Rows of delimited text files, as their writers meant them: one header, as many fields a row, UTF-8."""

import csv
from collections.abc import Iterator
from pathlib import Path

from probesteer.errors import InputError

SEPARATORS = (";", "\t", ",")


def delimited_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a file with their places, by the names of its header. Raises InputError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter=delimiter, strict=True)
            names = list(rows.fieldnames or [])
            if repeated := [name for name in names if names.count(name) > 1]:
                raise InputError(f"{path}: the column {repeated[0]!r} is given twice")
            others = [mark for mark in SEPARATORS if mark != delimiter and mark in "".join(names)]
            if len(names) == 1 and others:
                raise InputError(f"{path}: {others[0]!r} separates its columns; {delimiter!r} is expected (.tsv: a tab)")
            for number, row in enumerate(rows, 1):
                if None in row or None in row.values():
                    raise InputError(f"{path}, row {number}: as many fields as the header has, {len(names)}, are expected")
                yield f"{path}, row {number}", row
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except csv.Error as error:
        raise InputError(f"{path}: not a readable table of text ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not a readable file'}") from error
