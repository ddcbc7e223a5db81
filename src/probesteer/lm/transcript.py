"""A text or a chat on file, scored token by token, as a table or a heat map."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from probesteer.directions import Probe, load_probe
from probesteer.directions.export import require_model
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.whole import refuse_overwrite, write_text
from probesteer.lm.load import load_card
from probesteer.lm.reading import Token, neutral_projection, read_text
from probesteer.lm.verify import quietly
from probesteer.study.options import AUTO


def read_chat(path: Path) -> str | list[dict[str, str]]:
    """A text file, or a chat from a .json file: a list of turns with role and content. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    if path.suffix != ".json":
        return text
    try:
        turns = [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: a list of turns, each with role and content, is expected") from error
    if not turns:
        raise InputError(f"{path}: no turns; a list of turns, each with role and content, is expected")
    return turns


def read_file(path: Path, card: Path, text: Path, output: Path, force: bool = False) -> list[Token]:
    """Score a text or a chat with the direction of a probe file, and write it as a table (.csv) or a heat map (.html).

    Raises InputError where the model is another one than the probe's, unless forced.
    """
    refuse_overwrite(output, path, card, text)
    if output.suffix not in (".csv", ".html"):
        raise InputError(f"{output}: a file that ends in .csv or .html is expected")
    probe, known, given = load_probe(path, AUTO), read_card(card), read_chat(text)
    require_model(probe, known, force)
    with quietly():
        model, tokenizer = load_card(known)
    tokens = read_text(model, tokenizer, probe, given, neutral_projection(model, tokenizer, probe))
    write_text(output, as_html(tokens, probe, known) if output.suffix == ".html" else as_csv(tokens))
    return tokens


def as_csv(tokens: Sequence[Token]) -> str:
    """A row per token."""
    columns = ["position", "id", "text", "role", "content", "projection", "score"]
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for token in tokens:
        values = [f"{value:.6g}" for value in (token.projection, token.score)]
        writer.writerow([token.position, token.id, token.text, token.role, token.content, *values])
    return file.getvalue()


def as_html(tokens: Sequence[Token], probe: Probe, card: Mapping[str, Any]) -> str:
    """One self-contained page: each token on the colour of its score, blue below neutral, orange above; every text escaped."""
    environment = Environment(loader=PackageLoader("probesteer.lm"), autoescape=True, undefined=StrictUndefined)
    largest = max((abs(token.score) for token in tokens if token.content), default=1.0) or 1.0
    mean = float(np.mean([token.score for token in tokens if token.content] or [0.0]))
    shown = [(token, round(min(1.0, abs(token.score) / largest), 3), visible(token.text)) for token in tokens]
    return environment.get_template("heatmap.html.j2").render(
        tokens=shown, probe=probe, model=card.get("name", ""), largest=largest, mean=mean
    )


def visible(text: str) -> str:
    """A token's text with nothing that acts on what stands around it: control characters and marks of direction."""
    return "".join(char if char.isprintable() or char in "\n\t " else "\N{REPLACEMENT CHARACTER}" for char in text)
