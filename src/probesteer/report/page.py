"""The report as Markdown: every cell escaped."""

import re
from collections.abc import Container, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from probesteer.concepts.concept import Concept
from probesteer.files.digests import digest
from probesteer.report.overview import Overview, worst_first
from probesteer.report.views import (
    MOST_PANELS,
    by_dose,
    coinciding,
    moving,
    played,
    sceptic_table,
    selected_details,
    shown_success,
    spread_details,
)
from probesteer.study.experiment import Study

EXAMPLE_CHARS = 400
MOST_ROWS = 200  # of a table on the page


def plain(value: Any) -> str:
    """A value as it stands in a table: three decimals (three digits below 0.1), an empty string for a missing one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, float) and abs(value) >= 0.1:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """Untrusted text in one line, with nothing that acts on what stands around it: control characters, marks of direction."""
    shown = "".join(char if char.isprintable() or char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return re.sub(r"\s+", " ", shown)


def escape_markdown(text: str) -> str:
    """Untrusted text as inert Markdown in one line: no markup, HTML, links, formulas or table cells."""
    inert = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace("://", ":&#47;&#47;")
    return re.sub(r"([\\`*_\[\]!|~$])", r"\\\1", inert)


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """A value of a row, followed by its interval where the row has one."""
    lower, upper = (plain(row.get(f"{column}_{bound}")) for bound in ("lower", "upper"))
    return plain(row[column]) + (f" [{lower}, {upper}]" if lower and upper else "")


def markdown_table(table: pd.DataFrame, columns: Sequence[str] | None = None, linked: Container[str] = ()) -> str:
    """The columns of a data frame that exist as a Markdown table, every cell escaped; at most MOST_ROWS of its rows.

    Names of `linked` tables in a column `table` link to their files.
    """
    if table.empty:
        return "*(no rows)*"
    bounds = {f"{column}_{bound}" for column in table for bound in ("lower", "upper")}  # stand in their column's cells
    shown = [column for column in (columns or table.columns) if column in table and column not in bounds]
    lines = [[column.replace("_", " ") for column in shown], ["---"] * len(shown)]
    for row in table.head(MOST_ROWS).astype(object).to_dict("records"):
        cells = {column: escape_markdown(with_interval(row, column)) for column in shown}
        if row.get("table") in linked:
            cells["table"] = f"[{cells['table']}](tables/{row['table']}.csv)"
        lines.append(list(cells.values()))
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    more = len(table) - MOST_ROWS
    return f"{text}\n\n*{more:,} more rows are in the file.*" if more > 0 else text


def cut_texts(table: pd.DataFrame, chars: int) -> pd.DataFrame:
    """The table with its texts cut to a length that fits a page."""
    return table.assign(text=table["text"].str.slice(0, chars))


def template_environment(autoescape: bool) -> Environment:
    """Where the report's templates are; a value that is missing is an error."""
    loader = PackageLoader("probesteer.report")
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=autoescape)


def render(study: Study, concept: Concept, tables: Mapping[str, pd.DataFrame], words: bool, overview: Overview) -> str:
    """The report as Markdown, from the template; `words` is whether the pairs have a word list."""
    environment = template_environment(autoescape=False)
    environment.filters |= {
        "table": partial(markdown_table, linked=study.tables),
        "md": lambda value: escape_markdown(plain(value)),
        "cut": cut_texts,
        "shown": shown_success,
        "moving": moving,
        "still": lambda success: len(success) - len(moving(success)),
        "doses": by_dose,
        "played": played,
        "sceptic": sceptic_table,
        "coinciding": coinciding,
        "selected": selected_details,
        "spread": spread_details,
        "ablated": lambda table: table[table["kind"] == "ablation"],
        "agreed": lambda table: table[table["selected"]],
        "worst_first": worst_first,
    }
    criteria = study.criteria.model_dump()
    return environment.get_template("report.md.j2").render(
        study=study,
        concept=concept,
        tables=tables,
        words=words,
        organisms=study.models[0].organism,
        criteria=criteria,
        criteria_digest=digest(criteria)[:12],
        study_digest=study.digest()[:12],
        example_chars=EXAMPLE_CHARS,
        panels=MOST_PANELS,
        overview=overview,
    )
