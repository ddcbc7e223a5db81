"""The report as one self-contained page: the first screen, then the Markdown, figures embedded, long tables folded."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.token import Token

from probesteer.concepts.concept import Concept
from probesteer.report.overview import ICONS, Overview
from probesteer.report.page import plain, printable, template_environment
from probesteer.study.experiment import Study

FOLD = 12  # rows of a table, or models, that stand open
MOST_REASONS = 30  # of a model
MOST_CHARS = 400  # of a text on the first screen
FIGURE_FILES = ("png", "svg", "pdf", "csv")
INTERVAL = re.compile(r"(\[[-+\d.e]+), (?=[-+\d.e]+\])")
LINKED = re.compile(r"tables/\w+\.csv")


@dataclass(frozen=True)
class Heading:
    """An entry of the contents."""

    id: str
    text: str
    below: list["Heading"] = field(default_factory=list)


def to_html(study: Study, concept: Concept, overview: Overview, about: Mapping[str, str], markdown: str, folder: Path) -> str:
    """The page: raw HTML off in the Markdown, every value escaped; figures are read from the report's folder."""
    environment = template_environment(autoescape=True)
    environment.filters |= {"plain": plain, "signed": signed, "interval": interval, "inert": shortened}
    body, contents = markdown_body(markdown, folder)
    return environment.get_template("report.html.j2").render(
        study=study,
        concept=concept,
        organisms=study.models[0].organism,
        overview=overview,
        about=about,
        study_digest=study.digest()[:12],
        icons=ICONS,
        fold=FOLD,
        most_reasons=MOST_REASONS,
        contents=contents,
        body=body,
    )


def signed(value: float) -> str:
    """A change with its sign."""
    return plain(value) if pd.isna(value) or value < 0 else f"+{plain(value)}"


def interval(row: Mapping[str, Any], column: str) -> str:
    """The bounds of a column of a row in brackets; nothing where they are unknown."""
    lower, upper = (plain(row.get(f"{column}_{bound}")) for bound in ("lower", "upper"))
    return f" [{lower}, {upper}]" if lower and upper else ""


def shortened(text: str) -> str:
    """Untrusted text, inert and no longer than the first screen bears."""
    inert = printable(text)
    return inert if len(inert) <= MOST_CHARS else f"{inert[:MOST_CHARS]} \N{HORIZONTAL ELLIPSIS}"


def markdown_body(markdown: str, folder: Path) -> tuple[str, list[Heading]]:
    """The Markdown from its first section on as HTML, and its headings."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    first = next((number for number, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"), 0)
    tokens = tokens[first:]  # what stands before it is said on the first screen
    contents = identified(tokens)
    for number, token in enumerate(tokens):
        if token.type == "table_open":
            token.meta["rows"] = rows_of(tokens[number:])
        if token.type == "paragraph_open" and tokens[number + 1].content.startswith("Caption: "):
            token.attrSet("class", "caption")
            start = (tokens[number + 1].children or [token])[0]
            start.content = start.content.removeprefix("Caption: ")
    for name in ("table_open", "table_close", "image", "code_inline", "text"):
        parser.add_render_rule(name, globals()[f"_{name}"])
    return parser.renderer.render(tokens, parser.options, {"folder": folder}), contents


def rows_of(tokens: Sequence[Token]) -> int:
    """How many rows the table has that the tokens begin with, its head left out."""
    end = next(number for number, token in enumerate(tokens) if token.type == "table_close")
    return sum(token.type == "tr_open" for token in tokens[:end]) - 1


def identified(tokens: Sequence[Token]) -> list[Heading]:
    """Give each heading an id of its own, and list them: second level, below each the third."""
    contents: list[Heading] = []
    taken: set[str] = {"contents", "reasons", "texts", "limits", "finding"}
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            text = tokens[number + 1].content.replace("\\", "")
            name = re.sub(r"\W+", "-", text.lower()).strip("-") or "part"
            while name in taken:
                name += "-2"
            taken.add(name)
            token.attrSet("id", name)
            if token.tag == "h2":
                contents.append(Heading(name, text))
            elif token.tag == "h3" and contents:
                contents[-1].below.append(Heading(name, text))
    return contents


def _table_open(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    rows = tokens[index].meta["rows"]
    fold = f"<details><summary>Table of {rows} rows</summary>" if rows > FOLD else ""
    return f'{fold}<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _table_close(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    opened = next(token for token in reversed(tokens[:index]) if token.type == "table_open")
    return "</table></div>" + ("</details>" if opened.meta["rows"] > FOLD else "") + "\n"


def _image(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, env: Mapping[str, Path]) -> str:
    """A figure as the SVG beside the picture that the Markdown names, and links to its files."""
    stem = Path(str(tokens[index].attrs["src"])).with_suffix("")
    image = base64.b64encode((env["folder"] / stem.with_suffix(".svg")).read_bytes()).decode()
    links = " \N{MIDDLE DOT} ".join(f'<a href="{stem.with_suffix(f".{kind}")}">{kind.upper()}</a>' for kind in FIGURE_FILES)
    picture = f'<img src="data:image/svg+xml;base64,{image}" alt="{escape(tokens[index].content)}">'
    return f'<span class="figure">{picture}<span class="files">{links}</span></span>'


def _code_inline(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    """Code; the name of a table leads to its file."""
    text = escape(tokens[index].content)
    code = f"<code>{text}</code>"
    return f'<a href="{text}">{code}</a>' if LINKED.fullmatch(tokens[index].content) else code


def _text(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    """Text; an interval stays in one line."""
    return escape(INTERVAL.sub("\\1,\N{NO-BREAK SPACE}", tokens[index].content))
