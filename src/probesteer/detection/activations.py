"""The activation cache: one row per text, one fixed-size list column per layer."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probesteer.concepts.card import FACTOR, factor_columns, read_pairs
from probesteer.concepts.data import PairSet, activations_path
from probesteer.concepts.pairs import Pair
from probesteer.concepts.words import ablate
from probesteer.detection.design import Design
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.locks import only_writer
from probesteer.files.tables import column_names, is_fresh, peak_memory_mb, read_inputs, read_table, write_row_groups
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS

NUMERICS = 4  # bump by hand when the same inputs give other activations
TEXT_COLUMNS = {"positive": pa.bool_(), "cluster": pa.string(), "ablation": pa.int32(), "text": pa.string()}
OPTIONAL_COLUMNS = ["generator", "voice", "cluster", "ablation", "text"]
ROW_COLUMNS = {"id": "text", "scenario": "text", "split": "text", "positive": "bool"}


def layer_column(layer: int) -> str:
    """The column of `resid_post[layer]`; -1 is the input to block 0."""
    return f"resid_post.{layer}"


def norm_column(layer: int) -> str:
    """The column of a layer's mean residual norm."""
    return f"norm.{layer}"


def cache_inputs(card: Mapping[str, Any], pairs: PairSet, study: Study) -> dict[str, Any]:
    """Everything that determines a cache; its digest is the cache's fingerprint."""
    return {
        "numerics": NUMERICS,
        "model": card["digest"],
        "data": pairs.digest(),
        "pooling": study.pooling,
        "max_text_tokens": study.max_text_tokens,
    }


@dataclass(frozen=True)
class Row:
    """One text of a cache."""

    pair: Pair
    positive: bool
    cluster: str
    """Names the pair, or the cluster of near-duplicate pairs, that the text belongs to."""
    ablation: int
    """0 for the text as it is; n for the n-th draw of its lexical ablation."""
    text: str


def cache_rows(pairs: Sequence[Pair], clusters: Sequence[str], words: Sequence[str], ablations: int) -> list[Row]:
    """Both sides of every pair, and of each of `ablations` draws in which the listed words are replaced."""
    rows = []
    for draw in range(ablations + 1 if words else 1):
        for pair, cluster in zip(pairs, clusters, strict=True):
            for positive in (True, False):
                text = pair.positive if positive else pair.negative
                shown = ablate(text, words, f"{pair.id} {draw}")[0] if draw else text
                rows.append(Row(pair, positive, cluster, draw, shown))
    return rows


def capture_pairs(study: Study, model: Model, pairs: PairSet) -> None:
    """Write the activation cache of a model on pairs, unless it is there and up to date. Raises InputError."""
    output = activations_path(study, model, pairs)
    card = read_card(study.paths.card(model.name, model.key))
    inputs = cache_inputs(card, pairs, study)
    loaded, clusters = read_pairs(study.paths.pairs(pairs.concept, pairs.key))
    rows = cache_rows(loaded, clusters, pairs.words, pairs.ablations)
    with only_writer(output.with_suffix(".lock")):
        if is_fresh(output, inputs):
            print(f"{output} is up to date", file=sys.stderr)
        else:
            write_activations(card, rows, pairs.prompts, study.pooling, output, inputs, study.max_text_tokens)


def write_activations(
    card: Mapping[str, Any],
    rows: Sequence[Row],
    prompts: Mapping[str, str] | None,
    pooling: str,
    output: Path,
    inputs: Mapping[str, Any],
    max_tokens: int | None = None,
    load: Callable[[Mapping[str, Any]], tuple[Any, Any]] | None = None,
) -> None:
    """Capture every text at the embeddings and all blocks, one forward pass per text.

    With `prompts` (the system prompt under "system", user prompts by scenario) a text is read as the model's answer to the
    scenario of its pair. Texts are cut at `max_tokens`, or where the model's positions end; the footer counts how many were.
    `load` gives a card's model and tokenizer in another way.
    """
    from probesteer.lm.capture import Captured, captured_windows
    from probesteer.lm.load import load_card

    started = time.monotonic()
    model, tokenizer = (load or load_card)(card)
    loaded = time.monotonic()
    layers = [EMBEDDINGS, *range(card["blocks"])]
    cut: list[int] = []

    def cost() -> dict[str, float]:
        seconds = {"seconds": time.monotonic() - loaded, "load_seconds": loaded - started}
        return {**seconds, "peak_memory_mb": peak_memory_mb(), "cut_texts": sum(cut)}

    def counted(window: Captured) -> Captured:
        cut.append(window.cut)
        return window

    texts = read_texts(tokenizer, [(row.pair.scenario, row.text) for row in rows], prompts, card["chat_template"])
    windows = captured_windows(model, tokenizer, texts, layers, [pooling], max_tokens=max_tokens)
    write_row_groups(row_groups(map(counted, windows), rows, layers, pooling), output, inputs, cost)
    print(f"{sum(cut)} of {len(rows)} texts were cut: they are longer than what is read of a text", file=sys.stderr)


def read_texts(
    tokenizer: Any, rows: Sequence[tuple[str, str]], prompts: Mapping[str, str] | None, chat_template: bool
) -> "list[str] | list[tuple[str, str]]":
    """What is captured of scenarios with their texts: the texts, or with `prompts` each scenario's rendered prompt and text."""
    from probesteer.lm.load import render_prompt

    if prompts is None:
        return [text for _scenario, text in rows]
    rendered = {
        scenario: render_prompt(tokenizer, prompts["system"], prompts[scenario], chat_template)
        for scenario in {scenario for scenario, _text in rows}
    }
    return [(rendered[scenario], text) for scenario, text in rows]


def row_groups(windows: Iterable[Any], rows: Sequence[Row], layers: Sequence[int], pooling: str) -> Iterator[pa.Table]:
    """The rows of the cache, a table per window of captured texts (`lm.capture.Captured`)."""
    rest = iter(rows)
    for window in windows:
        part = list(islice(rest, len(window.norms)))
        columns: dict[str, pa.Array] = {
            name: pa.array([getattr(row.pair, name) for row in part], pa.string())
            for name in ("id", "scenario", "split", "voice")
        }
        columns["generator"] = pa.array([row.pair.generator_of(row.positive) for row in part], pa.string())
        levels = [factor_columns(row.pair) for row in part]
        columns |= {name: pa.array([own[name] for own in levels], pa.string()) for name in levels[0]}
        for name, kind in TEXT_COLUMNS.items():
            columns[name] = pa.array([getattr(row, name) for row in part], kind)
        for index, layer in enumerate(layers):
            flat = pa.array(window.pooled[pooling][:, index].ravel(), pa.float32())
            columns[layer_column(layer)] = pa.FixedSizeListArray.from_arrays(flat, window.pooled[pooling].shape[2])
            columns[norm_column(layer)] = pa.array(window.norms[:, index])
        yield pa.table(columns)


@dataclass(frozen=True)
class LayerActivations:
    """The texts of a cache at one layer."""

    activations: np.ndarray
    """float32 (texts, hidden)."""
    design: Design
    """Sides, groups (near-duplicate pairs are one), split, and scenarios as folds."""
    norms: np.ndarray
    """Mean residual norm of each text's content tokens, float32 (texts,)."""
    names: dict[str, np.ndarray]
    """scenario, generator and voice of each text (texts,), empty where unknown."""
    factors: dict[str, np.ndarray]
    """The level of each text in every crossed factor (texts,)."""
    texts: list[str]
    """The texts, or nothing where the cache does not hold them."""
    inputs: dict[str, str]
    """What determined the cache: model digest, data digest, pooling."""

    def training_sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The training activations of the positive and of the negative side."""
        return self.design.sides(self.activations)


def read_layer(path: Path, layer: int, ablation: int = 0) -> LayerActivations:
    """Read one layer of an activation cache: only its own columns; with `ablation`, that draw of the ablated texts.

    Raises InputError for a missing layer or column, a split without both labels, and values that are not finite.
    """
    wanted = {**ROW_COLUMNS, layer_column(layer): "vector", norm_column(layer): "number"}
    known = column_names(path)
    factors = [name for name in known if name.startswith(FACTOR)]
    table = read_table(path, [*wanted, *(name for name in OPTIONAL_COLUMNS if name in known), *factors], wanted)
    if "ablation" in table.column_names:
        table = table.filter(pc.equal(table["ablation"], ablation))

    def names(column: str) -> np.ndarray:
        values = table[column].to_pylist() if column in table.column_names else [None] * len(table)
        return np.asarray(["" if value is None else value for value in values], dtype=str)

    activations = _vectors(table, path, layer)
    labels = table["positive"].to_numpy().astype(bool)
    design = Design(labels, names("cluster" if "cluster" in known else "id"), names("split") == "train", names("scenario"))
    for split, rows in (("train", design.train), ("test", design.test)):
        if len(set(labels[rows])) < 2:
            raise InputError(f"{path}: the {split} split needs texts of both labels")
    return LayerActivations(
        activations=activations,
        design=design,
        norms=table[norm_column(layer)].to_numpy(),
        names={name: names(name) for name in ("scenario", "generator", "voice")},
        factors={name.removeprefix(FACTOR): names(name) for name in factors},
        texts=table["text"].to_pylist() if "text" in known else [],
        inputs=read_inputs(path),
    )


def read_vectors(path: Path, layer: int) -> np.ndarray:
    """The vectors alone of one layer of a cache: (texts, hidden). Raises InputError."""
    return _vectors(read_table(path, [layer_column(layer)], {layer_column(layer): "vector"}), path, layer)


def _vectors(table: pa.Table, path: Path, layer: int) -> np.ndarray:
    """A layer's column as (texts, hidden). Raises InputError for values that are not finite."""
    flat = table[layer_column(layer)].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(len(table), -1)
    if not np.isfinite(vectors).all():
        text = int(np.argmax(~np.isfinite(vectors).all(1)))
        raise InputError(f"{path}: row {text} of {layer_column(layer)} holds NaN or Inf; use a wider dtype")
    return vectors


def count_ablations(path: Path) -> int:
    """How many draws of ablated texts a cache holds."""
    return pc.max(read_table(path, ["ablation"])["ablation"]).as_py() if "ablation" in column_names(path) else 0
