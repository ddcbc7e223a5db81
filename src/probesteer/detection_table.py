"""Every number of a model's detection: from its activation cache to one long table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.activations import LayerActivations, count_ablations, read_layer
from probesteer.detection import NUMERICS, Estimate, evaluate, metric_row
from probesteer.directions import mean_difference
from probesteer.robustness import ablation, direction_auroc, held_out_auroc, layer_cosines, left_out, methods, residualised
from probesteer.selection import select
from probesteer.surface import form, surface_aurocs

DETECTION_SCHEMA = pa.schema(
    {
        "layer": pa.int32(),
        "metric": pa.string(),
        "of": pa.string(),
        "estimate": pa.float64(),
        "lower": pa.float64(),
        "upper": pa.float64(),
    }
)


def detection_inputs(
    cache: Mapping[str, Any], layers: Sequence[int], seed: int, words: Sequence[str], control: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything that determines a detection table, given what determines the activation caches."""
    inputs = {"numerics": NUMERICS, "activations": dict(cache), "layers": list(layers), "seed": seed, "words": list(words)}
    return inputs | ({"control": dict(control)} if control else {})


def detection_rows(
    path: Path,
    layers: Sequence[int],
    seed: int,
    words: Sequence[str] = (),
    planted: np.ndarray | None = None,
    control: Path | None = None,
) -> list[dict[str, Any]]:
    """Rows (layer, metric, of, estimate, lower, upper) of a cache; the layer is null for what concerns the whole model.

    `words` are the concept's keywords; `planted` is the unit vector (hidden,) along which an organism's stance was planted;
    `control` is the cache of another concept, whose direction is tried on this one's held-out pairs.
    """
    caches = {layer: read_layer(path, layer) for layer in layers}
    draws = range(1, count_ablations(path) + 1)
    first = caches[layers[0]]
    at = first.labels, first.groups, first.train
    chosen = select({layer: cache.activations for layer, cache in caches.items()}, *at, first.folds, seed)
    directions = {layer: mean_difference(*cache.training_sides())[0] for layer, cache in caches.items()}
    whole = [
        metric_row("selected_layer", Estimate(chosen.layer)),
        metric_row("selection_p", Estimate(chosen.p)),
        metric_row("nested_auroc", Estimate(chosen.nested_auroc)),
        metric_row("leaking_groups", Estimate(float(len(set(first.groups[first.train]) & set(first.groups[~first.train]))))),
        *surface_rows(first, [read_layer(path, layers[0], draw) for draw in draws], words),
    ]
    rows = [{"layer": None, **row} for row in whole]
    for layer, cache in caches.items():
        result = evaluate(cache.activations, *at, first.folds, seed, chosen.by_layer[layer])
        own = [*result.rows(), *methods(cache.activations, *at), *layer_cosines(directions, layer)]
        own += left_out(cache.activations, cache.labels, cache.groups, cache.names)
        if cache.texts:
            plain = residualised(cache.activations, form(cache.texts), cache.train)
            own.append(metric_row("residualised_auroc", held_out_auroc(plain, *at)))
        if draws:
            ablated = [held_out_auroc(read_layer(path, layer, draw).activations, *at).estimate for draw in draws]
            own.append(metric_row("ablated_auroc", ablation(ablated)))
        if planted is not None:
            own.append(metric_row("cos_planted", Estimate(float(directions[layer] @ planted))))
        if control is not None:
            other = mean_difference(*read_layer(control, layer).training_sides())[0]
            own.append(metric_row("cos_control_concept", Estimate(float(directions[layer] @ other))))
            own.append(metric_row("control_concept_auroc", direction_auroc(cache.activations, *at, other)))
        rows += [{"layer": layer, **row} for row in own]
    return rows


def surface_rows(
    cache: LayerActivations, ablated: Sequence[LayerActivations], words: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows `surface_auroc` and, where there are ablated texts, `surface_auroc_ablated` of every surface baseline."""
    if not cache.texts:
        return
    at = cache.labels, cache.groups, cache.train
    for name, interval in surface_aurocs(cache.texts, *at, words).items():
        yield metric_row("surface_auroc", Estimate(*interval), name)
    after = [surface_aurocs(draw.texts, *at, words) for draw in ablated]
    for name in after[0] if after else []:
        yield metric_row("surface_auroc_ablated", ablation([draw[name][0] for draw in after]), name)
