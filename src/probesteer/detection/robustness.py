"""What is left of a detection when the words, the form, the scenario, the generator or the method changes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, metric_row
from probesteer.directions.methods import METHODS, cosine, fitted
from probesteer.errors import InputError
from probesteer.stats import auroc_interval


def held_out_auroc(activations: np.ndarray, design: Design, method: str = "mean_difference") -> Estimate:
    """AUROC, with its interval, of a probe fitted on the training texts and scored on the rest; activations (texts, hidden)."""
    return direction_auroc(activations, design, fitted(*design.sides(activations), method))


def direction_auroc(activations: np.ndarray, design: Design, direction: np.ndarray) -> Estimate:
    """AUROC, with its interval, of a direction (hidden,) on the held-out texts."""
    out = design.test
    return Estimate(*auroc_interval(activations[out] @ direction, design.labels[out], design.groups[out]))


def methods(activations: np.ndarray, design: Design) -> Iterator[dict[str, Any]]:
    """Rows `method_auroc` of every probe method."""
    for method in METHODS:
        try:
            yield metric_row("method_auroc", held_out_auroc(activations, design, method), method)
        except InputError:
            yield metric_row("method_auroc", Estimate(float("nan")), method)


def left_out(activations: np.ndarray, design: Design, by: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Rows `without_<what>`: each value of a column left out, and scored by a probe fitted on all texts of the other values.

    `by` maps what, such as scenario or generator, to (texts,) names, empty where unknown. Texts of a group that reaches into
    the value left out are not fitted on. A column with a single value gives no row, nor does a value without both labels.
    """
    labels, groups = design.labels, design.groups
    for what, names in by.items():
        values = sorted(set(names) - {""})
        for value in values if len(values) > 1 else []:
            out = names == value
            fit = (names != "") & ~np.isin(groups, groups[out])
            if len(set(labels[out])) == len(set(labels[fit])) == 2:
                direction = fitted(activations[fit & labels], activations[fit & ~labels])
                estimate = Estimate(*auroc_interval(activations[out] @ direction, labels[out], groups[out]))
                yield metric_row(f"without_{what}", estimate, value)


def residualised(activations: np.ndarray, form: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Activations less what length and formatting predict by least squares, fitted on the training texts: (texts, hidden).

    form (texts, features).
    """
    scale = form[train].std(0)
    kept = scale > 0
    design = np.column_stack([np.ones(len(form)), (form[:, kept] - form[train][:, kept].mean(0)) / scale[kept]])
    wide = activations.astype(np.float64)
    return wide - design @ np.linalg.lstsq(design[train], wide[train], rcond=None)[0]


def ablation(aurocs: Sequence[float]) -> Estimate:
    """Mean over seeds of an AUROC on ablated texts, with the lowest and the highest."""
    return Estimate(float(np.mean(aurocs)), min(aurocs), max(aurocs))


def layer_cosines(directions: Mapping[int, np.ndarray], layer: int) -> Iterator[dict[str, Any]]:
    """Rows `layer_cosine`: the cosine of a layer's direction with that of every other layer."""
    for other in sorted(directions):
        if other != layer:
            yield metric_row("layer_cosine", Estimate(cosine(directions[layer], directions[other])), str(other))
