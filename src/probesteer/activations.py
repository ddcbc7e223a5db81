"""The activation cache: one row per text, one fixed-size list column per layer."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probesteer.concepts import Concept
from probesteer.duplicates import near_duplicate_clusters
from probesteer.errors import InputError
from probesteer.pairs import Pair
from probesteer.study import EMBEDDINGS
from probesteer.tables import column_names, peak_memory_mb, read_inputs, read_table, write_row_groups
from probesteer.wordlists import ablate

NUMERICS = 2  # bump by hand when the same inputs give other activations
TEXT_COLUMNS = {"positive": pa.bool_(), "cluster": pa.string(), "ablation": pa.int32(), "text": pa.string()}
OPTIONAL_COLUMNS = ["generator", "voice", "cluster", "ablation", "text"]
ROW_COLUMNS = {"id": "text", "scenario": "text", "split": "text", "positive": "bool"}


def layer_column(layer: int) -> str:
    """The column of `resid_post[layer]`; -1 is the input to block 0."""
    return f"resid_post.{layer}"


def norm_column(layer: int) -> str:
    """The column of a layer's mean residual norm."""
    return f"norm.{layer}"


def cache_inputs(card: Mapping[str, Any], data_digest: str, pooling: str) -> dict[str, Any]:
    """Everything that determines a cache; its digest is the cache's fingerprint."""
    return {"numerics": NUMERICS, "model": card["digest"], "data": data_digest, "pooling": pooling}


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


def cache_rows(pairs: Sequence[Pair], words: Sequence[str], ablations: int) -> list[Row]:
    """Both sides of every pair, and of each of `ablations` draws in which the listed words are replaced."""
    near = near_duplicate_clusters([(pair.positive, pair.negative) for pair in pairs])
    names = [pairs[int(np.argmax(near == cluster))].id for cluster in near]
    rows = []
    for draw in range(ablations + 1 if words else 1):
        for pair, cluster in zip(pairs, names, strict=True):
            for positive in (True, False):
                text = pair.positive if positive else pair.negative
                shown = ablate(text, words, f"{pair.id} {draw}")[0] if draw else text
                rows.append(Row(pair, positive, cluster, draw, shown))
    return rows


def write_activations(
    card: Mapping[str, Any], rows: Sequence[Row], concept: Concept, data_digest: str, pooling: str, output: Path
) -> None:
    """Capture every text at the embeddings and all blocks, one forward pass per text.

    Pooling "response" reads a text as the model's answer to the scenario of its pair, under the neutral system prompt.
    """
    from probesteer.lm.capture import Captured, Text, captured_windows
    from probesteer.lm.load import load_card, render_prompt

    started = time.monotonic()
    model, tokenizer = load_card(card)
    loaded = time.monotonic()
    layers = [EMBEDDINGS, *range(card["blocks"])]

    def read(row: Row) -> Text:
        if pooling != "response":
            return row.text
        user = concept.scenarios[row.pair.scenario].user_prompt()
        return render_prompt(tokenizer, concept.system_prompts.neutral, user, card["chat_template"]), row.text

    def row_groups(windows: Iterable[Captured]) -> Iterator[pa.Table]:
        rest = iter(rows)
        for window in windows:
            part = list(islice(rest, len(window.norms)))
            columns: dict[str, pa.Array] = {
                name: pa.array([getattr(row.pair, name) for row in part], pa.string())
                for name in ("id", "scenario", "split", "voice", "generator")
            }
            for name, kind in TEXT_COLUMNS.items():
                columns[name] = pa.array([getattr(row, name) for row in part], kind)
            for index, layer in enumerate(layers):
                flat = pa.array(window.pooled[pooling][:, index].ravel(), pa.float32())
                columns[layer_column(layer)] = pa.FixedSizeListArray.from_arrays(flat, window.pooled[pooling].shape[2])
                columns[norm_column(layer)] = pa.array(window.norms[:, index])
            yield pa.table(columns)

    def cost() -> dict[str, float]:
        return {
            "seconds": time.monotonic() - loaded,
            "load_seconds": loaded - started,
            "peak_memory_mb": peak_memory_mb(),
        }

    windows = captured_windows(model, tokenizer, [read(row) for row in rows], layers, [pooling])
    write_row_groups(row_groups(windows), output, cache_inputs(card, data_digest, pooling), cost)


@dataclass(frozen=True)
class LayerActivations:
    """The texts of a cache at one layer."""

    activations: np.ndarray
    """float32 (texts, hidden)."""
    labels: np.ndarray
    """bool (texts,): True for the positive side."""
    groups: np.ndarray
    """Names of pairs, or of clusters of near-duplicate pairs (texts,): the unit of resampling and permutation."""
    train: np.ndarray
    """bool (texts,)."""
    folds: np.ndarray
    """Scenarios (texts,): what cross-validation leaves out together."""
    norms: np.ndarray
    """Mean residual norm of each text's content tokens, float32 (texts,)."""
    names: dict[str, np.ndarray]
    """scenario, generator and voice of each text (texts,), empty where unknown."""
    texts: list[str]
    """The texts, or nothing where the cache does not hold them."""
    inputs: dict[str, str]
    """What determined the cache: model digest, data digest, pooling."""

    def training_sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The training activations of the positive and of the negative side."""
        return self.activations[self.train & self.labels], self.activations[self.train & ~self.labels]


def read_layer(path: Path, layer: int, ablation: int = 0) -> LayerActivations:
    """Read one layer of an activation cache: only its own columns; with `ablation`, that draw of the ablated texts.

    Raises InputError for a missing layer or column, a split without both labels, and values that are not finite.
    """
    wanted = {**ROW_COLUMNS, layer_column(layer): "vector", norm_column(layer): "number"}
    known = column_names(path)
    table = read_table(path, [*wanted, *(name for name in OPTIONAL_COLUMNS if name in known)], wanted)
    if "ablation" in table.column_names:
        table = table.filter(pc.equal(table["ablation"], ablation))

    def names(column: str) -> np.ndarray:
        values = table[column].to_pylist() if column in table.column_names else [None] * len(table)
        return np.asarray(["" if value is None else value for value in values], dtype=str)

    flat = table[layer_column(layer)].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    activations = flat.reshape(len(table), -1)
    labels = table["positive"].to_numpy().astype(bool)
    train = names("split") == "train"
    for split, rows in (("train", train), ("test", ~train)):
        if len(set(labels[rows])) < 2:
            raise InputError(f"{path}: the {split} split needs texts of both labels")
    if not np.isfinite(activations).all():
        text = int(np.argmax(~np.isfinite(activations).all(1)))
        raise InputError(f"{path}: row {text} of {layer_column(layer)} holds NaN or Inf; use a wider dtype")
    return LayerActivations(
        activations=activations,
        labels=labels,
        groups=names("cluster" if "cluster" in known else "id"),
        train=train,
        folds=names("scenario"),
        norms=table[norm_column(layer)].to_numpy(),
        names={name: names(name) for name in ("scenario", "generator", "voice")},
        texts=table["text"].to_pylist() if "text" in known else [],
        inputs=read_inputs(path),
    )


def count_ablations(path: Path) -> int:
    """How many draws of ablated texts a cache holds."""
    return pc.max(read_table(path, ["ablation"])["ablation"]).as_py() if "ablation" in column_names(path) else 0
