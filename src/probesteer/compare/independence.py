"""Is the behaviour another concept in disguise? What is read of each without the other one, and does steering move both?"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from probesteer.concepts.data import activations_path, pair_sets
from probesteer.detection.activations import LayerActivations, read_layer
from probesteer.detection.reading import OF_CONTROL
from probesteer.detection.robustness import difference, held_out_scores, scored
from probesteer.directions.methods import coincide, cosine, fitted
from probesteer.files.tables import read_inputs, write_table
from probesteer.jobs import independence_settings
from probesteer.stats import jackknife_interval
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 2  # bump by hand when the same inputs give other numbers
CHANGE = ["reading_change", "reading_change_lower", "reading_change_upper"]


def independence_inputs(study: Study, model: Model, caches: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that determines a model's table, given what determines the caches of its concepts."""
    return {"numerics": NUMERICS, "caches": dict(caches), **independence_settings(study, model)}


def write_independence(study: Study, model: Model) -> None:
    """Write what is read of the behaviour and of the control concept, each without the other. Raises InputError."""
    paths = {name: activations_path(study, model, pairs) for name, pairs in pair_sets(study).items()}
    rows = []
    for layer in study.layers_of(model):
        caches = {name: read_layer(path, layer) for name, path in paths.items()}
        rows += [{"layer": layer, **row} for row in independence(caches)]
    made_from = {name: read_inputs(path) for name, path in paths.items()}
    output = study.paths.compared(model.name, "independence")
    write_table(pa.Table.from_pylist(rows), output, independence_inputs(study, model, made_from))


def independence(caches: Mapping[str, LayerActivations]) -> Iterator[dict[str, Any]]:
    """Of two concepts at a layer, each in turn: its AUROC, that after the other one was erased, and what was lost.

    Both probes are fitted on the concept's training texts and scored on its held-out ones. cos: of the two directions.
    """
    for what, without in ((first, second) for first in caches for second in caches if first != second):
        own, other = caches[what], caches[without]
        left = erased_of(own.activations, other)
        before, after = held_out_scores(own.activations, own.design), held_out_scores(left, own.design)
        row: dict[str, Any] = {"what": what, "without": without}
        for name, value in (
            ("auroc", scored(before, own.design)),
            ("erased_auroc", scored(after, own.design)),
            ("lost", difference(before, after, own.design)),
        ):
            row |= {name: value.estimate, f"{name}_lower": value.lower, f"{name}_upper": value.upper}
        directions = [fitted(*one.training_sides()) for one in (own, other)]
        yield row | {"cos": cosine(*directions)}


def erased_of(activations: np.ndarray, other: LayerActivations) -> np.ndarray:
    """Activations (texts, hidden) without what tells another concept's sides apart linearly, fitted on its training texts.

    LEACE (Belrose et al. 2023, `lm.erasure.erase`), in the span of those texts: what lies outside of it is left alone. It moves
    every text along the difference of that concept's sides, by what a least-squares reader makes of the text.
    """
    from probesteer.lm.erasure import erase

    wide, training = activations.astype(np.float64), other.activations[other.design.train].astype(np.float64)
    if coincide(*other.training_sides()):
        return wide
    centre = training.mean(0)
    _, sizes, axes = np.linalg.svd(training - centre, full_matrices=False)
    axes = axes[sizes > 1e-9 * sizes[0]]
    inside = np.concatenate([training, wide]) - centre
    before = inside @ axes.T
    labels = np.concatenate([other.design.labels[other.design.train], np.zeros(len(wide), dtype=bool)])
    after = erase(before, labels, np.arange(len(before)) < len(training))
    return wide + (after - before)[len(training) :] @ axes


def spill_over(points: pd.DataFrame, concept: str, control: str) -> pd.DataFrame:
    """How far steering for a concept moves what is read of it, and of the control concept, in a model's steered texts.

    points: the texts with what was read in them, as the correlation writes them. A row per model and per `what` of the two, at
    the block of the readings: reading_change, in class separations of `what`, is the least-squares slope by alpha within layers
    and scenarios times the span of the alphas; its jackknife interval is over samples, which share their random numbers. A text
    is read without the push.
    """
    rows, read = [], {concept: "projection", control: OF_CONTROL}
    written = points[(points["author"] == points["model"]) & points["variant"].isna()]  # not what was written in games
    for (model, block), own in written.groupby(["model", "block"]):
        unsteered, steered = (own[own["arm"] == arm] for arm in (BASELINE_ARM, PROBE_ARM))
        texts = pd.concat([steered, *(unsteered.assign(layer=at) for at in steered["layer"].unique())])
        for what, column in read.items():
            known = texts.dropna(subset=[column])
            rows.append({"model": model, "layer": block, "what": what, **_change(known, column)})
    return pd.DataFrame(rows, columns=["model", "layer", "what", *CHANGE])


def _change(texts: pd.DataFrame, column: str) -> dict[str, float]:
    """The change of a column over the span of the alphas, with its interval; NaN where no alpha differs."""
    stratum = texts.groupby(["layer", "scenario"]).ngroup().to_numpy()
    alpha, value = texts[["alpha", column]].to_numpy(dtype=float).T
    span = float(np.ptp(alpha)) if len(alpha) else 0.0
    if not span:
        return dict.fromkeys(CHANGE, float("nan"))

    def change(kept: np.ndarray) -> float:
        counts = np.maximum(np.bincount(stratum[kept]), 1)
        centred = alpha[kept] - (np.bincount(stratum[kept], alpha[kept]) / counts)[stratum[kept]]
        square = centred @ centred
        return float(centred @ value[kept] / square) * span if square > 1e-12 else float("nan")

    groups = (texts["scenario"].astype(str) + " " + texts["sample"].astype(str)).to_numpy(dtype=str)
    return dict(zip(CHANGE, jackknife_interval(change, groups), strict=True))
