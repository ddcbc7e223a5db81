"""Does a direction of one model mean the same in another one? Carried by maps, and ranked against maps of shuffled texts."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.compare.corpus import candidate_layers, corpora_inputs
from probesteer.compare.maps import METHODS, Space, carried, shuffles, space, unit
from probesteer.concepts.data import activations_path, pair_set
from probesteer.detection.activations import norm_column, read_layer, read_vectors
from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate
from probesteer.detection.robustness import difference, scored
from probesteer.detection.selection import contrast, permuted_labels
from probesteer.directions.methods import fitted
from probesteer.files.digests import digest
from probesteer.files.seal import is_whole
from probesteer.files.tables import peak_memory_mb, read_table, write_table
from probesteer.jobs import transfer_settings
from probesteer.stats import auroc, mean_interval, permutation_p
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 2  # bump by hand when the same inputs give other numbers
TWIN_DRAWS = 20  # shuffled maps into the twin, which say how many canonical variates are kept


@dataclass(frozen=True)
class Layer:
    """What a model gives at a layer."""

    activations: np.ndarray
    """Of the pairs: (texts, hidden)."""
    design: Design
    corpus: np.ndarray
    """Of the neutral texts, the same in every model: (texts, hidden)."""
    gradients: np.ndarray
    """Of the log-odds of held-out pairs, per mean residual norm of what is added: (pairs, hidden); none of a twin."""

    @cached_property
    def space(self) -> Space:
        return space(self.corpus)

    @cached_property
    def direction(self) -> np.ndarray:
        """Its own direction, fitted on the training pairs: a unit vector, or zero."""
        return fitted(*self.design.sides(self.activations)).astype(np.float64)

    @cached_property
    def held_out(self) -> np.ndarray:
        return self.activations[self.design.test].astype(np.float64)


Layers = Mapping[int, Layer]


@dataclass(frozen=True)
class Draws:
    """A direction carried between a pair of layers by a method, for every draw; the observed order of texts is the first."""

    layers: tuple[int, int]
    directions: np.ndarray
    """Unit coordinates on the target's axes (draws, axes)."""
    cosine: np.ndarray
    """With the target's own direction (draws,)."""
    apart: np.ndarray
    """The same of `halves`: one half of the source's with the other half of the target's, mean of both ways (draws,)."""
    flipped: np.ndarray
    """That of the observed order with halves of the target that are fitted on labels under the null (draws,)."""


def transfer(source: Layers, target: Layers, twin: Layers, maps: int, seed: int) -> list[dict[str, Any]]:
    """A row per method: the source's direction carried into the target, against `maps` shuffled maps and the target's twin.

    In every draw the pair of layers is the one at which the carried direction has the largest cosine with the target's own,
    which training pairs give: the p-values count this choice. It is chosen by, and ranked, as cosine_apart, of directions that
    have no pair in common (`halves`): models that read the same words of the same pairs make the same errors, and would agree
    in these. cosine_p is the larger of two: its rank among shuffled maps, and among cosines with the target's halves
    refitted on flipped labels, since shuffled maps need not carry as much along the target's own noise as the observed one.

    auroc is that of the held-out texts. slope is the change of the log-odds of held-out pairs by a push of a mean residual
    norm, at the layer of the target at which its own direction changes those of other held-out pairs most, and the best source
    layer for it in every draw; with Student's t interval over pairs.
    """
    texts = len(next(iter(source.values())).corpus)
    orders = shuffles(texts, maps, seed)
    labels = labels_under_null(next(iter(target.values())).design, maps, seed)
    found, beside = best(source, target, orders, labels), best(source, twin, orders[: TWIN_DRAWS + 1], labels[:, :1])
    rows = []
    for method in METHODS:
        row = {"method": method, "texts": texts, **read(source, target, found[method])}
        rows.append(
            row | steered(target, found[method]) | twins(target, twin, row["target_layer"], found[method], beside[method])
        )
    return rows


def labels_under_null(design: Design, draws: int, seed: int) -> np.ndarray:
    """The labels as they are, and `draws` in which those of random groups are flipped: bool (texts, draws + 1)."""
    rng = np.random.default_rng(seed)
    return np.hstack([design.labels[:, None], permuted_labels(design.labels, design.groups, draws, rng)])


def halves(layer: Layer, labels: np.ndarray) -> np.ndarray:
    """Unit directions fitted on every other group of the training pairs, and on the rest: (2, draws, hidden).

    Of labels bool (texts, draws). Halves are the same in all models, which read the same pairs.
    """
    groups, train = layer.design.groups, layer.design.train
    first = np.isin(groups, np.unique(groups[train])[::2])
    wide = layer.activations.astype(np.float64)
    found = np.stack([contrast(labels, (train & half)[:, None]).T @ wide for half in (first, ~first)])
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)


def best(source: Layers, target: Layers, orders: np.ndarray, labels: np.ndarray) -> dict[str, list[Draws]]:
    """By method, the draws of all pairs of layers, of which `chosen` says the best one."""
    found: dict[str, list[Draws]] = {method: [] for method in METHODS}
    others = {to: halves(second, labels) @ second.space.axes.T for to, second in target.items()}
    for at, first in source.items():
        given = np.stack([first.direction, *halves(first, labels[:, :1])[:, 0]])
        for to, second in target.items():
            own, theirs = second.space.axes @ second.direction, others[to]
            for method, (whole, one, other) in unit(carried(first.space, second.space, given, orders)).items():
                apart = (one @ theirs[1, 0] + other @ theirs[0, 0]) / 2
                flipped = (theirs[1] @ one[0] + theirs[0] @ other[0]) / 2
                found[method].append(Draws((at, to), whole, whole @ own, apart, flipped))
    return found


def chosen(draws: Sequence[Draws]) -> np.ndarray:
    """For every draw the index of the pair of layers with the largest cosine of halves (draws,)."""
    return np.stack([one.apart for one in draws]).argmax(0)


def ranked(name: str, values: np.ndarray) -> dict[str, float]:
    """A statistic of every draw (draws,): the observed one, its one-sided p, and the 95 % quantile of the others."""
    null = float(np.quantile(values[1:], 0.95))
    return {name: float(values[0]), f"{name}_p": permutation_p(values[0], values[1:]), f"{name}_null": null}


def read(source: Layers, target: Layers, draws: Sequence[Draws]) -> dict[str, Any]:
    """The carried direction beside the target's own, and on its held-out texts."""
    picked = chosen(draws)
    areas = np.stack([held_out_areas(target[one.layers[1]], one) for one in draws])[picked, np.arange(len(picked))]
    at, to = draws[picked[0]].layers
    first, second = source[at], target[to]
    found: dict[str, Any] = {"layer": at, "target_layer": to, "axes": len(second.space.sizes)}
    found |= {"captured": first.space.captured(first.direction), "target_captured": second.space.captured(second.direction)}
    found |= {"cosine": float(draws[picked[0]].cosine[0])}
    found |= ranked("cosine_apart", np.stack([one.apart for one in draws]).max(0)) | ranked("auroc", areas)
    flipped = np.stack([one.flipped for one in draws]).max(0)
    found["cosine_p"] = max(found.pop("cosine_apart_p"), permutation_p(flipped[0], flipped[1:]))
    found |= _bounds("auroc", scored(scores(second, draws[picked[0]]), second.design))
    return found | {"native_auroc": scored(second.held_out @ second.direction, second.design).estimate}


def held_out_areas(target: Layer, draws: Draws) -> np.ndarray:
    """AUROC of every draw on the held-out texts (draws,)."""
    return auroc(target.held_out @ target.space.axes.T @ draws.directions.T, target.design.labels[target.design.test])


def scores(target: Layer, draws: Draws) -> np.ndarray:
    """Scores of the held-out texts by the observed direction (texts,)."""
    return target.held_out @ (draws.directions[0] @ target.space.axes)


def steered(target: Layers, draws: Sequence[Draws]) -> dict[str, Any]:
    """What a push along the carried direction does to the log-odds of every other held-out pair, where the rest say.

    Where the same pairs chose the layer, their noise along the target's own direction would be in the slope of whatever has a
    part in that direction.
    """
    native = {layer: one.gradients @ one.direction for layer, one in target.items()}
    at = max(native, key=lambda layer: native[layer][::2].mean())
    there = [one for one in draws if one.layers[1] == at]
    picked = chosen(there)
    along = target[at].gradients[1::2] @ target[at].space.axes.T  # (pairs, axes)
    slopes = np.stack([along.mean(0) @ one.directions.T for one in there])[picked, np.arange(len(picked))]
    bounds = mean_interval(along @ there[picked[0]].directions[0])[1:]
    found = {"steered_layer": at, **ranked("slope", slopes), "native_slope": float(native[at][1::2].mean())}
    return found | dict(zip(("slope_lower", "slope_upper"), bounds, strict=True))


def twins(target: Layers, twin: Layers, layer: int, draws: Sequence[Draws], beside: Sequence[Draws]) -> dict[str, Any]:
    """The same map into the target's twin, and how far the AUROC in the target, at its chosen layer, is above the twin's."""
    other = beside[chosen(beside)[0]]
    image = twin[other.layers[1]]
    own, others = scores(target[layer], draws[chosen(draws)[0]]), scores(image, other)
    above = difference(own, others, target[layer].design)
    found = {"twin_cosine": float(other.apart[0]), "twin_auroc": scored(others, image.design).estimate}
    return found | {"above_twin": above.estimate} | _bounds("above_twin", above)


def _bounds(name: str, value: Estimate) -> dict[str, float]:
    return {f"{name}_lower": value.lower, f"{name}_upper": value.upper}


def read_layers(study: Study, model: Model, twin: bool = False) -> dict[int, Layer]:
    """A model's layers, or its twin's. Raises InputError."""
    paths = study.paths
    pairs = paths.compared(model.name, "twin_pairs") if twin else activations_path(study, model, pair_set(study))
    corpus = paths.compared(model.name, "twin" if twin else "corpus")
    found = {}
    for layer in candidate_layers(study, model):
        cache, vectors = read_layer(pairs, layer), read_vectors(corpus, layer)
        gradients = np.empty((0, vectors.shape[1]))
        if not twin:
            norm = read_table(corpus, [norm_column(layer)])[norm_column(layer)].to_numpy().mean()
            gradients = read_vectors(paths.compared(model.name, "gradients"), layer) * norm
        found[layer] = Layer(cache.activations, cache.design, vectors, gradients)
    return found


def transfer_inputs(study: Study, model: Model, corpora: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Everything that determines a target's table, given `corpora_inputs`: of each source what both of them give."""
    own = digest(corpora[model.name])
    others = {
        one.name: [corpora[one.name]["corpus"], candidate_layers(study, one)] for one in study.models if one.name in corpora
    }
    return {
        "numerics": NUMERICS,
        "settings": transfer_settings(study, model),
        "pairs": {name: digest([own, given]) for name, given in others.items() if name != model.name},
    }


def write_transfer(study: Study, model: Model) -> None:
    """Write the directions of all other models carried into this one; rows that are up to date are kept. Raises InputError."""
    started, inputs = time.monotonic(), transfer_inputs(study, model, corpora_inputs(study))
    output = study.paths.compared(model.name, "transfer")
    made_from = {name: digest([inputs["numerics"], inputs["settings"], pair]) for name, pair in inputs["pairs"].items()}
    kept = _kept(output, made_from)
    target, twin = read_layers(study, model), read_layers(study, model, twin=True)
    for name in made_from.keys() - {row["source"] for row in kept}:
        rows = transfer(read_layers(study, study[name]), target, twin, study.compare.maps, study.seed)
        kept += [{"source": name, "target": model.name, **row, "made_from": made_from[name]} for row in rows]
        print(f"{name} into {model.name}: carried", file=sys.stderr)
    rows = sorted(kept, key=lambda row: (row["source"], METHODS.index(row["method"])))
    cost = {"seconds": time.monotonic() - started, "load_seconds": 0.0, "peak_memory_mb": peak_memory_mb()}
    write_table(pa.Table.from_pylist(rows), output, inputs, cost)


def _kept(path: Path, made_from: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a table that is there which are still what they should be."""
    if not is_whole(path):
        return []
    return [row for row in read_table(path).to_pylist() if made_from.get(row["source"]) == row["made_from"]]
