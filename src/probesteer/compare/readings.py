"""How each model reads the held-out texts: the scores of its probe, and of probes fitted on halves of the training pairs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.data import activations_path, pair_set
from probesteer.detection.activations import LayerActivations, read_layer
from probesteer.detection.selection import contrast
from probesteer.files.tables import read_inputs, read_table, write_table
from probesteer.jobs import readings_settings
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 1  # bump by hand when the same inputs give other scores
SPLITS = 10  # of the training groups into halves, the same for every model
NEEDS = {"layer": "number", "cluster": "text", "positive": "bool", "score": "number", "halves": "vector"}


@dataclass(frozen=True)
class Readings:
    """What a model's probes say of the held-out texts, which all models of a study share."""

    labels: np.ndarray
    """bool (texts,): True for the positive side."""
    groups: np.ndarray
    """Names of the texts' clusters (texts,)."""
    scores: Mapping[int, np.ndarray]
    """By layer, of the probe fitted on all training texts: (texts,)."""
    halves: Mapping[int, np.ndarray]
    """By layer, of probes fitted on two random halves of the training groups, SPLITS times: (texts, SPLITS, 2)."""


def readings_inputs(study: Study, model: Model, cache: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that determines a model's readings, given what determines its activations."""
    return {"numerics": NUMERICS, "cache": dict(cache), **readings_settings(study, model)}


def write_readings(study: Study, model: Model) -> None:
    """Write how a model reads the held-out texts at every layer. Raises InputError."""
    path = activations_path(study, model, pair_set(study))
    parts = [layer_table(read_layer(path, layer), layer, study.seed) for layer in study.layers_of(model)]
    inputs = readings_inputs(study, model, read_inputs(path))
    write_table(pa.concat_tables(parts), study.paths.compared(model.name, "readings"), inputs)


def layer_table(cache: LayerActivations, layer: int, seed: int) -> pa.Table:
    """A row per held-out text at a layer."""
    design, wide = cache.design, cache.activations.astype(np.float64)
    fits = np.column_stack([contrast(design.labels[design.train][:, None]), *half_contrasts(cache, seed)])
    scores = wide[design.test] @ (wide[design.train].T @ fits)
    halves = pa.FixedSizeListArray.from_arrays(pa.array(scores[:, 1:].ravel()), 2 * SPLITS)
    columns = {"cluster": design.groups[design.test], "positive": design.labels[design.test], "score": scores[:, 0]}
    return pa.table({"layer": np.full(len(scores), layer, dtype=np.int32), **columns, "halves": halves})


def half_contrasts(cache: LayerActivations, seed: int) -> Iterator[np.ndarray]:
    """Weights of the training texts that take a mean difference over a half of the groups: two (texts, 1) per split."""
    design = cache.design
    names, group = np.unique(design.groups[design.train], return_inverse=True)
    rng = np.random.default_rng(seed)
    labels = design.labels[design.train][:, None]
    for _ in range(SPLITS):
        half = rng.permutation(np.arange(len(names)) % 2 == 0)[group][:, None]
        yield contrast(labels, half)
        yield contrast(labels, ~half)


def read_readings(path: Path) -> Readings:
    """Read what `write_readings` wrote. Raises InputError."""
    table = read_table(path, needs=NEEDS)
    layer = table["layer"].to_numpy()
    score = table["score"].to_numpy()
    halves = table["halves"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(table), SPLITS, 2)
    layers = np.unique(layer)
    first = layer == layers[0]
    return Readings(
        labels=table["positive"].to_numpy()[first].astype(bool),
        groups=np.asarray(table["cluster"].to_pylist(), dtype=str)[first],
        scores={int(one): score[layer == one] for one in layers},
        halves={int(one): halves[layer == one] for one in layers},
    )
