"""The activation cache: one row per text, one fixed-size list column per layer."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts import Concept, Pair
from probesteer.errors import InputError
from probesteer.study import EMBEDDINGS
from probesteer.tables import peak_memory_mb, read_inputs, read_table, write_row_groups

NUMERICS = 1  # bump by hand when the same inputs give other activations
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


def write_activations(
    card: Mapping[str, Any], pairs: Sequence[Pair], concept: Concept, data_digest: str, pooling: str, output: Path
) -> None:
    """Capture both sides of every pair at the embeddings and all blocks, one forward pass per text.

    Pooling "response" reads a text as the model's answer to the scenario of its pair, under the neutral system prompt.
    """
    from probesteer.lm.capture import Captured, Text, captured_windows
    from probesteer.lm.load import load_card, render_prompt

    started = time.monotonic()
    model, tokenizer = load_card(card)
    loaded = time.monotonic()
    layers = [EMBEDDINGS, *range(card["blocks"])]
    sides = [(pair, positive) for pair in pairs for positive in (True, False)]

    def text(pair: Pair, positive: bool) -> Text:
        side = pair.positive if positive else pair.negative
        if pooling != "response":
            return side
        user = concept.scenarios[pair.scenario].user_prompt()
        return render_prompt(tokenizer, concept.system_prompts.neutral, user, card["chat_template"]), side

    def row_groups(windows: Iterable[Captured]) -> Iterator[pa.Table]:
        start = 0
        for window in windows:
            rows = sides[start : start + len(window.norms)]
            start += len(rows)
            columns: dict[str, pa.Array] = {
                name: pa.array([getattr(pair, name) for pair, _ in rows], pa.string())
                for name in ("id", "scenario", "split", "voice", "generator")
            }
            columns["positive"] = pa.array([positive for _, positive in rows])
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

    windows = captured_windows(model, tokenizer, [text(*side) for side in sides], layers, [pooling])
    write_row_groups(row_groups(windows), output, cache_inputs(card, data_digest, pooling), cost)


@dataclass(frozen=True)
class LayerActivations:
    """The texts of a cache at one layer."""

    activations: np.ndarray
    """float32 (texts, hidden)."""
    labels: np.ndarray
    """bool (texts,): True for the positive side."""
    groups: np.ndarray
    """Pair ids (texts,): the unit of resampling and permutation."""
    train: np.ndarray
    """bool (texts,)."""
    folds: np.ndarray
    """Scenarios (texts,): what cross-validation leaves out together."""
    norms: np.ndarray
    """Mean residual norm of each text's content tokens, float32 (texts,)."""
    inputs: dict[str, str]
    """What determined the cache: model digest, data digest, pooling."""

    def training_sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The training activations of the positive and of the negative side."""
        return self.activations[self.train & self.labels], self.activations[self.train & ~self.labels]


def read_layer(path: Path, layer: int) -> LayerActivations:
    """Read one layer of an activation cache: only its own columns.

    Raises InputError for a missing layer or column, a split without both labels, and values that are not finite.
    """
    wanted = {**ROW_COLUMNS, layer_column(layer): "vector", norm_column(layer): "number"}
    table = read_table(path, wanted, wanted)
    flat = table[layer_column(layer)].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    activations = flat.reshape(len(table), -1)
    labels = table["positive"].to_numpy().astype(bool)
    train = np.asarray(table["split"].to_pylist()) == "train"
    for split, rows in (("train", train), ("test", ~train)):
        if len(set(labels[rows])) < 2:
            raise InputError(f"{path}: the {split} split needs texts of both labels")
    if not np.isfinite(activations).all():
        text = int(np.argmax(~np.isfinite(activations).all(1)))
        raise InputError(f"{path}: row {text} of {layer_column(layer)} holds NaN or Inf; use a wider dtype")
    return LayerActivations(
        activations=activations,
        labels=labels,
        groups=np.asarray(table["id"].to_pylist()),
        train=train,
        folds=np.asarray(table["scenario"].to_pylist()),
        norms=table[norm_column(layer)].to_numpy(),
        inputs=read_inputs(path),
    )
