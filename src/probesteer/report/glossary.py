"""What the names in the report's files mean, from one file: for the explorer, and for a page of the documentation."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

Section = Mapping[str, str]
OUTPUTS_HEADER = """# Every output

Generated from `src/probesteer/report/glossary.yaml` and the council's checks by `make docs`; change it there.
"""
BOUNDS_MEANING = (
    "Of all tables, by name. `x_lower` and `x_upper` are the bounds of the 95 % interval of `x`, unless `x` says otherwise."
)
BOUNDS = re.compile(r"_(lower|upper)$")


@cache
def sections() -> Mapping[str, Section]:
    """files, terms, tables, metrics and columns: each a mapping of names to a sentence."""
    return yaml.safe_load((files("probesteer.report") / "glossary.yaml").read_text(encoding="utf-8"))


def glossary() -> dict[str, str]:
    """What the explorer explains: terms, metrics and columns; where a name is two of these, the last one counts."""
    known = sections()
    return {**known["terms"], **known["metrics"], **known["columns"]}


def meaning(column: str) -> str | None:
    """What a column holds; of a bound, what its column does. Levels of a crossed factor are the study's own."""
    known = sections()["columns"]
    return known.get(column) or known.get(BOUNDS.sub("", column))


def outputs_text() -> str:
    """The page of every output: files, tables, columns, metrics, checks and terms, as Markdown."""
    from probesteer.report.sceptic import ASKED  # not needed by the explorer

    titles = {"files": "Files", "terms": "Terms", "tables": "Tables", "metrics": "Metrics of details.csv", "columns": "Columns"}
    headers = {"files": "Below the folder that the study ran in.", "columns": BOUNDS_MEANING}
    parts = [OUTPUTS_HEADER]
    for name, section in sections().items():
        rows = "\n".join(f"| `{key}` | {text.replace('|', chr(92) + '|')} |" for key, text in section.items())
        header = f"{headers[name]}\n\n" if name in headers else ""
        parts.append(f"## {titles[name]}\n\n{header}| name | what it is |\n|---|---|\n{rows}\n")
    rows = "\n".join(f"| {role} | {name} | `{table}` | {asks} |" for role, name, table, asks in ASKED)
    parts.append(f"## Checks of the council\n\n| role | check | table | what it asks |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)
