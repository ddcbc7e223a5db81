"""Every number of a model's detection: from its activation cache to one long table."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.data import activations_path, pair_sets
from probesteer.concepts.words import load_words
from probesteer.detection.activations import LayerActivations, count_ablations, read_layer
from probesteer.detection.crossed import crossed
from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, metric_row
from probesteer.detection.heldout import NUMERICS, measure
from probesteer.detection.robustness import (
    ablation,
    beyond,
    control_concept,
    erased,
    held_out_auroc,
    held_out_scores,
    layer_cosines,
    left_out,
    methods,
    residualised,
    scored,
)
from probesteer.detection.selection import PERMUTATIONS, LayerNull, Selection, select
from probesteer.detection.surface import form, surface_scores, told_by
from probesteer.directions import load_planted
from probesteer.directions.methods import cosine, fitted
from probesteer.files.digests import file_digest
from probesteer.files.tables import read_inputs, write_table
from probesteer.files.whole import refuse_overwrite
from probesteer.jobs import detect_settings
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS

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
    study: Study, model: Model, words: Sequence[str], caches: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Everything that determines a model's detection table, given what determines the caches of its concepts."""
    planted = [file_digest(path) for path in model.planted()]
    inputs = {"numerics": NUMERICS, "caches": dict(caches), "words": list(words), "planted": planted}
    return {**inputs, **detect_settings(study, model)}


def detect_model(study: Study, model: Model) -> None:
    """Measure every layer of a model and write the table. Raises InputError."""
    sets = pair_sets(study)
    caches = {concept: activations_path(study, model, pairs) for concept, pairs in sets.items()}
    words, planted = sets[study.concept].words, [load_planted(path) for path in model.planted()]
    rows = detection_rows(
        caches[study.concept],
        study.layers_of(model),
        study.seed,
        words,
        planted[0] if planted else None,
        caches[study.control_concept] if study.control_concept else None,
        study.detection_permutations,
        sets[study.concept].factors,
    )
    made_from = {concept: read_inputs(path) for concept, path in caches.items()}
    write_detection(rows, study.paths.detection(model.name), detection_inputs(study, model, words, made_from))


def detect_file(
    activations: Path,
    layers: Sequence[int],
    seed: int,
    words: Path | None,
    planted: Path | None,
    control: Path | None,
    output: Path,
) -> None:
    """Measure layers of a cache and write the table; the files but the first may be left out. Raises InputError."""
    refuse_overwrite(output, activations)
    known, direction = load_words(words) if words else [], load_planted(planted) if planted else None
    write_detection(detection_rows(activations, layers, seed, known, direction, control), output)


def write_detection(rows: Sequence[Mapping[str, Any]], path: Path, inputs: Mapping[str, Any] | None = None) -> None:
    """Write the rows of a detection."""
    write_table(pa.Table.from_pylist(rows, DETECTION_SCHEMA), path, inputs)


def detection_rows(
    path: Path,
    layers: Sequence[int],
    seed: int,
    words: Sequence[str] = (),
    planted: np.ndarray | None = None,
    control: Path | None = None,
    permutations: int = PERMUTATIONS,
    factors: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Rows (layer, metric, of, estimate, lower, upper) of a cache; the layer is null for what concerns the whole model.

    `words` are the concept's keywords; `planted` is the unit vector (hidden,) along which an organism's stance was planted;
    `control` is the cache of another concept, whose direction is tried on this one's held-out pairs; `factors` are the levels
    of crossed factors in their order.
    """
    caches = {layer: read_layer(path, layer) for layer in layers}
    draws = range(1, count_ablations(path) + 1)
    first = caches[layers[0]]
    design = first.design
    chosen = select({layer: cache.activations for layer, cache in caches.items()}, design, seed, permutations)
    directions = {layer: fitted(*cache.training_sides()) for layer, cache in caches.items()}
    surface = surface_scores(first.texts, design, words) if first.texts else {}
    ablated = [read_layer(path, layers[0], draw).texts for draw in draws] if first.texts else []
    whole = [*selection_rows(chosen, first), *surface_rows(surface, ablated, design, words)]
    rows = [{"layer": None, **row} for row in whole]
    embedded = held_out_scores(caches[EMBEDDINGS].activations, design) if EMBEDDINGS in caches else None
    for layer, cache in caches.items():
        own = [*layer_rows(cache, chosen.by_layer[layer], seed), *layer_cosines(directions, layer)]
        own += crossed(cache, factors)
        own += beyond(cache.activations, design, surface, embedded if layer != EMBEDDINGS else None)
        if draws:
            left = [held_out_auroc(read_layer(path, layer, draw).activations, design).estimate for draw in draws]
            own.append(metric_row("ablated_auroc", ablation(left)))
        if planted is not None:
            own.append(metric_row("cos_planted", Estimate(cosine(directions[layer], planted))))
        if control is not None:
            own += control_concept(cache.activations, design, fitted(*read_layer(control, layer).training_sides()))
        rows += [{"layer": layer, **row} for row in own]
    return rows


def selection_rows(chosen: Selection, cache: LayerActivations) -> Iterator[dict[str, Any]]:
    """Rows of the choice of a block, of the groups that both splits hold, and of what the texts' generators tell."""
    design, generators = cache.design, cache.names["generator"]
    leaking = set(design.groups[design.train]) & set(design.groups[design.test])
    yield metric_row("selected_layer", Estimate(chosen.layer))
    yield metric_row("selection_p", Estimate(chosen.p))
    yield metric_row("nested_auroc", Estimate(chosen.nested_auroc))
    yield metric_row("leaking_groups", Estimate(float(len(leaking))))
    if set(generators) != {""}:
        yield metric_row("generator_auroc", scored(told_by(generators, design), design))


def layer_rows(cache: LayerActivations, null: LayerNull, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of one layer that need nothing but its own activations."""
    yield from measure(cache.activations, cache.design, null, seed).rows()
    yield from methods(cache.activations, cache.design)
    yield from erased(cache.activations, cache.design)
    yield from left_out(cache.activations, cache.design, cache.names)
    if cache.texts:
        plain = residualised(cache.activations, form(cache.texts), cache.design.train)
        yield metric_row("residualised_auroc", held_out_auroc(plain, cache.design))


def surface_rows(
    surface: Mapping[str, np.ndarray], ablated: Sequence[Sequence[str]], design: Design, words: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows `surface_auroc` and, where there are ablated texts, `surface_auroc_ablated` of every surface baseline."""
    for name, scores in surface.items():
        yield metric_row("surface_auroc", scored(scores, design), name)
    after = [surface_scores(texts, design, words) for texts in ablated]
    for name in after[0] if after else []:
        yield metric_row("surface_auroc_ablated", ablation([scored(own[name], design).estimate for own in after]), name)
