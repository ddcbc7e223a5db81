"""Texts for people to rate: a blinded sheet out, its ratings back in."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from probesteer.behaviour.scoring import is_judged
from probesteer.concepts.concept import Concept
from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.rows import delimited_rows
from probesteer.files.whole import atomic
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM, PROMPTED_ARMS
from probesteer.study.options import alpha_label

KEY = ["model", "layer", "scenario", "alpha", "sample"]
RATED_ARMS = (PROBE_ARM, BASELINE_ARM, *PROMPTED_ARMS)  # what a verdict rests on, and what it is measured against
SHEET = ["id", "situation", "rubric", "text", "rating"]
# What a spreadsheet takes for a formula or a command at the beginning of a cell (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
LEVELS = (0, 1, 2)
ID = "t[0-9a-f]{16}"


def arms_of(table: pd.DataFrame) -> pd.Series:
    """The arm of each text; where none is given, and between these two, the baseline's at alpha 0 and the probe's elsewhere."""
    given = table["arm"] if "arm" in table else pd.Series(PROBE_ARM, table.index)
    own = np.where(table["alpha"] == 0, BASELINE_ARM, PROBE_ARM)
    return given.where(~given.isin([PROBE_ARM, BASELINE_ARM]), own)


def text_keys(table: pd.DataFrame) -> pd.Series:
    """What names each text: its arm and its place in KEY, as one line."""
    layers = ["" if pd.isna(layer) else f"{layer:g}" for layer in table["layer"]]
    alphas = [alpha_label(alpha) for alpha in table["alpha"]]
    names = zip(arms_of(table), table["model"], layers, table["scenario"], alphas, table["sample"].astype(int), strict=True)
    words = ["arm", *KEY]
    lines = [", ".join(f"{word} {value}" for word, value in zip(words, values, strict=True)) for values in names]
    return pd.Series(lines, table.index, dtype=object)


def text_ids(table: pd.DataFrame) -> pd.Series:
    """What names each text on a sheet and tells nothing of it: a digest of its key and of what it says.

    An unsteered text has one id at however many layers it stands. No spreadsheet takes an id for a number.
    """
    nowhere = table.assign(layer=table["layer"].where(table["alpha"] != 0))
    rows = zip(text_keys(nowhere), table["text"], strict=True)
    return pd.Series([f"t{digest([*row])[:16]}" for row in rows], table.index, dtype=object)


def inert(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before what might be one."""
    return f"'{text}" if text.startswith(FORMULA) else text


def chosen(texts: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most `count` texts of each model, drawn at random among those that are judged, shuffled; none is there twice."""
    judged = texts[is_judged(texts) & arms_of(texts).isin(RATED_ARMS).to_numpy()]
    shuffled = judged.sample(frac=1, random_state=np.random.default_rng(seed))
    once = shuffled[~shuffled.duplicated(["model", "scenario", "text"])]
    return once[once.groupby("model").cumcount() < count]


def write_sheet(texts: pd.DataFrame, concept: Concept, count: int, seed: int, path: Path) -> int:
    """Write a CSV to fill in, blind to model, arm, layer and dose: columns SHEET, `rating` empty. Returns how many rows it has.

    Raises InputError for a scenario without a rubric.
    """
    rows = chosen(texts, count, seed)
    if strange := sorted({*rows["scenario"]} - {*concept.scenarios}):
        raise InputError(f"scenario {strange[0]}: not in the concept, so there is no rubric for it")
    with atomic(path) as beside, beside.open("w", encoding="utf-8-sig", newline="") as file:  # the mark tells spreadsheets
        sheet = csv.writer(file, quoting=csv.QUOTE_ALL)
        sheet.writerow(SHEET)
        for name, scenario, text in zip(text_ids(rows), rows["scenario"], rows["text"], strict=True):
            asked = concept.scenarios[scenario]
            rubric = "\n".join(f"{level}: {meaning}" for level, meaning in sorted(asked.rubric.items()))
            sheet.writerow([name, *map(inert, (asked.user_prompt(), rubric, text)), ""])
    return len(rows)


def sheet_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV with their places; a spreadsheet may have written it with semicolons. Raises InputError."""
    try:
        head = path.read_text(encoding="utf-8-sig", errors="replace").partition("\n")[0]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'not a readable file'}") from error
    return delimited_rows(path, ";" if head.count(";") > head.count(",") else ",")


def read_sheet(path: Path, texts: pd.DataFrame) -> pd.DataFrame:
    """The texts of a sheet that were rated, as rows of `texts` with `rating`; rows of other texts are left out.

    Raises InputError for what is no rating or no id, an id that comes twice, a text that is not what was to be rated, and a
    sheet without ratings.
    """
    rows = list(sheet_rows(path))
    if missing := [column for column in ("id", "text", "rating") if not rows or column not in rows[0][1]]:
        raise InputError(f"{path}: {'there are no rows' if not rows else f'column {missing[0]} is missing'}")
    ids = text_ids(texts)
    place = {name: at for at, name in enumerate(ids)}
    found: dict[int, int] = {}
    seen: set[str] = set()
    for where, row in rows:
        name = row["id"].strip()
        if not re.fullmatch(ID, name):
            raise InputError(f"{where}: id {name[:60]!r} is none of a sheet that `probesteer ratings` wrote")
        if name in seen:
            raise InputError(f"{where}: id {name} was there before")
        seen.add(name)
        given = rating_of(where, row["rating"])
        if given is None or name not in place:
            continue
        if row["text"].split() != inert(str(texts["text"].iloc[place[name]])).split():
            raise InputError(
                f"{where}: its text is not the one that was to be rated; only the column rating is to be filled in"
            )
        found[place[name]] = given
    if not any(row["rating"].strip() for _where, row in rows):
        raise InputError(f"{path}: no row has a rating; fill in the column rating with 0, 1 or 2")
    return texts.iloc[list(found)].assign(rating=list(found.values()))


def rating_of(where: str, text: str) -> int | None:
    """A rating as a person wrote it; None for an empty cell. Raises InputError for what is not one of LEVELS."""
    number = pd.to_numeric(text.strip().replace(",", ".") or "nan", errors="coerce")
    if text.strip() and number not in LEVELS:
        raise InputError(f"{where}: rating {text.strip()[:60]} is not 0, 1 or 2")
    return int(number) if text.strip() else None


def read_ratings(path: Path) -> pd.DataFrame:
    """A CSV of one's own: KEY, `rating` and, where it has them, arms. Raises InputError."""
    rows = list(sheet_rows(path))
    if not rows:
        raise InputError(f"{path}: there are no ratings")
    if missing := [column for column in [*KEY, "rating"] if column not in rows[0][1]]:
        raise InputError(f"{path}: column {missing[0]} is missing; it needs {', '.join([*KEY, 'rating'])}")
    table = pd.DataFrame([row for _where, row in rows])
    for name in ("layer", "alpha", "sample"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = numbers.isna() & ((name != "layer") | (table[name] != ""))
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise InputError(f"{rows[row][0]}: {name} {table[name][row] or 'empty'} is not a number")
        table[name] = numbers
    given = [rating_of(where, row["rating"]) for where, row in rows]
    return table.assign(rating=given).dropna(subset=["rating"])


def people_of(paths: Sequence[Path], texts: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """The ratings of each person, by the name of the file: a sheet, or a table with the axes of texts. Raises InputError."""
    names = [path.stem for path in paths]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"ratings: two files are named {repeated[0]}; a file is a rater, name it after them")
    found = {}
    for path in paths:
        first = next(iter(sheet_rows(path)), ("", {}))[1]
        found[path.stem] = read_sheet(path, texts) if "id" in first else read_ratings(path)
    return found
