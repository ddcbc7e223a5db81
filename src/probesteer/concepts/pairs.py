"""Contrastive pairs: the concept's own, or a user's from JSONL, CSV or Parquet with any column names."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, ValidationError

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.rows import delimited_rows
from probesteer.study.options import Options, first_problem

TEST_SHARE = 0.3  # held out where the file has no splits
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SIDES = ("positive", "negative")
PARTS = 4  # what stands for scenarios where the file has none

Levels = Mapping[str, Sequence[str]]  # the two levels of each crossed factor, by its name


class Line(Options):
    """What every pair has of a line of pairs.jsonl; a crossed factor of its concept is a column beside these."""

    id: str = Field(min_length=1)
    """Unique name of the pair."""
    situation: str | None = None
    """What is told, where several pairs tell the same, as those crossed with a factor do: they count as one observation."""
    scenario: str = Field(min_length=1)
    """Scenario that the texts belong to."""
    split: Literal["train", "test"]
    """Test pairs are scored once."""
    voice: str
    """Who speaks: texts of one voice share style."""
    generator: str | None = None
    """Name of the model that wrote the texts, if a model did."""
    generator_positive: str | None = None
    """Of the positive text alone, where the sides have generators of their own."""
    generator_negative: str | None = None
    """Of the negative text alone."""
    positive: str = Field(min_length=1)
    """The text that shows the behaviour."""
    negative: str = Field(min_length=1)
    """The text that shows its opposite."""


class Pair(Line):
    """Two texts on one situation, the positive and the negative side of a behaviour."""

    factors: dict[str, str] = {}
    """Its level of each crossed factor, which both texts have."""

    def generator_of(self, positive: bool) -> str | None:
        """The generator of a side."""
        return (self.generator_positive if positive else self.generator_negative) or self.generator


Files = Mapping[Path, str | None]  # the split of all pairs of each file, None where a column says it


def load_pairs(
    files: Path | Files, columns: Mapping[str, str] | None = None, factors: Levels = MappingProxyType({})
) -> list[Pair]:
    """Read contrastive pairs that a probe can be fitted on and tested with, as `read_pairs` does.

    Raises InputError, also for a split with fewer than two pairs, or with fewer than two of a factor's level.
    """
    files = {files: None} if isinstance(files, Path) else files
    where = ", ".join(map(str, files))
    pairs = read_pairs(files, columns, factors)
    for split in ("train", "test"):
        own = [pair for pair in pairs if pair.split == split]
        if len(own) < 2:
            raise InputError(
                f"{where}: fewer than 2 pairs of split {split!r}; a probe needs training pairs and held-out test pairs"
            )
        for name, levels in factors.items():
            if few := [level for level in levels if sum(pair.factors[name] == level for pair in own) < 2]:
                raise InputError(f"{where}: fewer than 2 pairs of split {split!r} with {name} {few[0]!r}, which is crossed")
    return pairs


def read_pairs(files: Files, columns: Mapping[str, str] | None, factors: Levels) -> list[Pair]:
    """Read pairs; `columns` says which column of a user's files holds which field, and None reads the concept's own file.

    `factors` are the columns of crossed factors with their levels. A user's files may lack ids (rows are numbered), splits
    (the same 30 % of each scenario are held out, whole situations), scenarios (four parts stand for them), voices and
    generators. Raises InputError with the row's place. Refuses repeated ids, equal or blank sides, a text that occurs twice,
    and a situation in both splits.
    """
    pairs: list[Pair] = []
    ids: dict[str, str] = {}
    texts: dict[str, str] = {}
    splits: dict[str, str] = {}
    rows = chain.from_iterable(map(_rows, files)) if columns is None else _mapped(files, columns, factors)
    for where, row in rows:
        pair = _pair(row, where, factors)
        if pair.situation is not None and splits.setdefault(pair.situation, pair.split) != pair.split:
            raise InputError(f"{where}: situation {pair.situation[:40]!r} is in both splits; its pairs are held out together")
        for value, seen in ((pair.id, ids), (pair.positive.strip(), texts), (pair.negative.strip(), texts)):
            if value in seen:
                raise InputError(f"{where}: {value[:40]!r} occurs already in {seen[value]}; ids and texts are unique")
            seen[value] = where if len(files) > 1 else where.rpartition(", ")[2]
        pairs.append(pair)
    if not pairs:
        raise InputError(f"{', '.join(map(str, files))}: holds no pairs")
    return pairs


def _pair(row: Any, where: str, factors: Levels) -> Pair:
    """A row as a pair. Raises InputError with its place."""
    given = row if isinstance(row, dict) else {}
    try:
        line = Line.model_validate({name: value for name, value in row.items() if name not in factors} if given else row)
    except ValidationError as error:
        raise InputError(f"{where}: {': '.join(first_problem(error, Line))}") from error
    for field in ("id", "situation", "scenario", "positive", "negative"):
        if (text := getattr(line, field)) is not None and not text.strip():
            raise InputError(f"{where}: {field} is blank")
    for name, levels in factors.items():
        if given.get(name) not in levels:
            got = f"{given[name]!r:.40} is none of its levels" if name in given else "required key is missing; its levels are"
            raise InputError(f"{where}: {name}: {got} {' and '.join(levels)}")
    return Pair(**line.model_dump(), factors={name: given[name] for name in factors})


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a file with their places."""
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        yield from delimited_rows(path, DELIMITERS[suffix])
        return
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path, partitioning=None)
            if repeated := [name for name, count in Counter(table.column_names).items() if count > 1]:
                raise InputError(f"{path}: the column {repeated[0]!r} is given twice")
            for number, row in enumerate(table.to_pylist(), 1):
                yield f"{path}, row {number}", row
        else:  # lines end in a line feed alone: other separators may stand inside of a JSON string
            for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
                if line.strip():
                    yield f"{path}, line {number}", _json(line, f"{path}, line {number}")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not a readable file'}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable {suffix.removeprefix('.')} file ({error})") from error


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not a JSON object ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object ({str(error).splitlines()[0]})") from error


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object no key of which is given twice. Raises ValueError."""
    if len(found := dict(items)) < len(items):
        raise ValueError(f"{Counter(key for key, _value in items).most_common(1)[0][0]} is given twice")
    return found


def _mapped(files: Files, columns: Mapping[str, str], factors: Levels) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a user's files as fields of a pair, with what they lack filled in."""
    rows = []
    wanted = {name: columns.get(name, name) for name in (*Line.model_fields, *factors)}
    for path, split in files.items():
        prefix = f"{path.stem}-" if len(files) > 1 else "row-"
        for number, (where, row) in enumerate(_rows(path), 1):
            if not isinstance(row, dict):
                raise InputError(f"{where}: not an object")
            missing = [column for name, column in wanted.items() if column not in row and name in (*columns, *SIDES)]
            if missing:
                there = f"there is no column {missing[0]!r}; there are {', '.join(map(str, row))}"
                raise InputError(f"{where}: {there}{'' if columns else '; pairs.columns says which one holds what'}")
            given = {name: row[column] for name, column in wanted.items() if column in row}
            fields = {name: text for name, value in given.items() if (text := _text(value, f"{where}: {name}")) is not None}
            own = {"split": split} if split else {}
            rows.append((where, {"id": f"{prefix}{number}", "voice": "unknown", **fields, **own}))
    _fill_in([fields for _where, fields in rows])
    return rows


def _fill_in(rows: Sequence[dict[str, Any]]) -> None:
    """Give rows the scenarios and splits that they lack; those of one situation have one."""
    units = defaultdict(list)
    for number, fields in enumerate(rows):
        units[fields.get("situation", number)].append(fields)
    scenarios = defaultdict(list)
    ordered = sorted(units.values(), key=lambda unit: digest(unit[0].get("situation", unit[0]["id"])))
    for number, unit in enumerate(ordered):
        for fields in unit:
            fields.setdefault("scenario", f"part-{number % PARTS + 1}")
        scenarios[unit[0]["scenario"]].append(unit)
    seen = taken = 0  # what rounding left of one scenario is made up for in the next one
    for own in scenarios.values():
        seen += sum(map(len, own))
        for unit in own:
            held_out = taken < round(TEST_SHARE * seen)
            taken += len(unit) * held_out
            for fields in unit:
                fields.setdefault("split", "test" if held_out else "train")


def _text(value: Any, where: str) -> str | None:
    """A cell as text; None for an empty one. Raises InputError for what is no text and no number."""
    if value is None or value != value:  # NaN
        return None
    if not isinstance(value, str | int | float):
        raise InputError(f"{where} holds a {type(value).__name__}; text is expected")
    return str(value)
