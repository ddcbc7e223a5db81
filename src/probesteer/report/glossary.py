"""What the names in the report's tables mean, from one file: for the explorer, and for the page of the documentation."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

Section = Mapping[str, str]
BOUNDS = re.compile(r"_(lower|upper)$")


@cache
def sections() -> Mapping[str, Section]:
    """terms, tables, metrics and columns: each a mapping of names to a sentence."""
    return yaml.safe_load((files("probesteer.report") / "glossary.yaml").read_text(encoding="utf-8"))


def glossary() -> dict[str, str]:
    """Every name with its sentence, those of columns before others."""
    return {name: meaning for section in reversed([*sections().values()]) for name, meaning in section.items()}


def meaning(column: str) -> str | None:
    """What a column holds; of a bound, what its column does. Levels of a crossed factor are the study's own."""
    known = sections()["columns"]
    return known.get(column) or known.get(BOUNDS.sub("", column))
