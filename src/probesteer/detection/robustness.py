"""What is left of a detection when the words, the form, the scenario, the generator or the method changes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, metric_row
from probesteer.directions.methods import METHODS, coincide, cosine, fitted
from probesteer.errors import InputError
from probesteer.stats import auroc_difference, auroc_interval, mean_auroc_interval

ROUNDING = 1e-6  # of the class separation: what an erasure leaves of it by rounding


def held_out_scores(activations: np.ndarray, design: Design, direction: np.ndarray | None = None) -> np.ndarray:
    """Scores of the held-out texts by a direction (hidden,), or by the mean difference of the training texts."""
    return activations[design.test] @ (fitted(*design.sides(activations)) if direction is None else direction)


def held_out_auroc(activations: np.ndarray, design: Design) -> Estimate:
    """AUROC, with its interval, of a probe fitted on the training texts and scored on the rest; activations (texts, hidden)."""
    return scored(held_out_scores(activations, design), design)


def scored(scores: np.ndarray, design: Design) -> Estimate:
    """AUROC, with its interval, of scores of the held-out texts."""
    return Estimate(*auroc_interval(scores, design.labels[design.test], design.groups[design.test]))


def difference(first: np.ndarray, second: np.ndarray, design: Design) -> Estimate:
    """AUROC of the first scores of the held-out texts less that of the second, with its interval."""
    return Estimate(*auroc_difference(first, second, design.labels[design.test], design.groups[design.test]))


def methods(activations: np.ndarray, design: Design) -> Iterator[dict[str, Any]]:
    """Rows `method_auroc` of every probe method, and `method_gain`: how far above the mean difference, which is judged."""
    judged = held_out_scores(activations, design)
    for method in METHODS:
        try:
            scores = held_out_scores(activations, design, fitted(*design.sides(activations), method))
        except InputError:
            yield metric_row("method_auroc", Estimate(float("nan")), method)
            continue
        yield metric_row("method_auroc", scored(scores, design), method)
        if method != "mean_difference":
            yield metric_row("method_gain", difference(scores, judged, design), method)


def beyond(
    activations: np.ndarray, design: Design, surface: Mapping[str, np.ndarray], words: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    """Rows `above_surface` of every baseline and `above_embeddings`: the probe's AUROC less theirs, paired on the same texts.

    `surface` holds the baselines' scores of the held-out texts, `words` those of the probe of the embeddings.
    """
    own = held_out_scores(activations, design)
    for name, scores in surface.items():
        yield metric_row("above_surface", difference(own, scores, design), name)
    if words is not None:
        yield metric_row("above_embeddings", difference(own, words, design))


def control_concept(activations: np.ndarray, design: Design, other: np.ndarray) -> Iterator[dict[str, Any]]:
    """Rows of another concept's direction (hidden,): its AUROC, and how far the probe is above it, either way round."""
    scores = held_out_scores(activations, design, other)
    found = scored(scores, design)
    own = held_out_scores(activations, design)
    yield metric_row("cos_control_concept", Estimate(cosine(fitted(*design.sides(activations)), other)))
    yield metric_row("control_concept_auroc", found)
    yield metric_row("above_control_concept", difference(own, scores if found.estimate >= 0.5 else -scores, design))


def erased(activations: np.ndarray, design: Design) -> Iterator[dict[str, Any]]:
    """Row `erased_auroc`: the best of all probe methods after the sides were erased; all are fitted on the training texts.

    Least-squares concept erasure: Belrose et al. 2023, "LEACE". It leaves the training texts no difference of class means, so
    that a probe has a direction, and an AUROC other than 1/2, only where a single direction could not be erased. It happens in
    the span of the training texts, where every probe lies: its cost does not depend on the hidden size.
    """
    from probesteer.lm.erasure import erase

    training = activations[design.train].astype(np.float64)
    _, sizes, axes = np.linalg.svd(training - training.mean(0), full_matrices=False)
    if coincide(*design.sides(activations)):
        return
    before = activations @ axes[sizes > 1e-9 * sizes[0]].T
    left = erase(before, design.labels, design.train)
    apart = [np.linalg.norm(np.subtract(*(side.mean(0) for side in design.sides(of)))) for of in (before, left)]
    found = [Estimate(0.5)]
    for method in METHODS if apart[1] > ROUNDING * apart[0] else ():
        with suppress(InputError):
            found.append(scored(held_out_scores(left, design, fitted(*design.sides(left), method)), design))
    yield metric_row("erased_auroc", max(found, key=lambda one: one.estimate))


def left_out_scores(activations: np.ndarray, design: Design, names: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each name (texts,) in turn with its texts, bool (texts,), and their scores by a probe fitted on the texts of the others.

    Texts of a group that reaches into the name left out are not fitted on. Nothing comes of a single name, nor of one without
    both labels; an empty name is an unknown one.
    """
    labels, groups, names = design.labels, design.groups, names.astype(str)
    values = sorted(set(names) - {""})
    for value in values if len(values) > 1 else []:
        out = names == value
        fit = (names != "") & ~np.isin(groups, groups[out])
        if len(set(labels[out])) == len(set(labels[fit])) == 2:
            yield str(value), out, activations[out] @ fitted(activations[fit & labels], activations[fit & ~labels])


def left_out(activations: np.ndarray, design: Design, by: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Rows `without_<what>` of every value of a column; `by` maps what, such as scenario or generator, to (texts,) names."""
    for what, names in by.items():
        for value, out, scores in left_out_scores(activations, design, names):
            interval = auroc_interval(scores, design.labels[out], design.groups[out])
            yield metric_row(f"without_{what}", Estimate(*interval), value)


def out_of(activations: np.ndarray, design: Design, names: np.ndarray) -> tuple[Estimate, Estimate]:
    """AUROC and d' in names (texts,), such as scenarios, that are left out one by one: scores are compared within a name.

    The AUROC is the mean over names; its interval clusters their texts by group. d' is the mean separation over the root of
    the variance within sides, pooled over names by degrees of freedom. NaN where no name can be left out.
    """
    found = [(out, scores, design.labels[out]) for _, out, scores in left_out_scores(activations, design, names)]
    if not found:
        return Estimate(float("nan")), Estimate(float("nan"))
    area = mean_auroc_interval([(scores, labels, design.groups[out]) for out, scores, labels in found])
    sides = [(scores[labels], scores[~labels]) for _, scores, labels in found]
    apart = np.mean([positive.mean() - negative.mean() for positive, negative in sides])
    squares = sum(((side - side.mean()) ** 2).sum() for pair in sides for side in pair)
    freedom = sum(len(side) - 1 for pair in sides for side in pair)
    defined = freedom > 0 and squares > 0
    return Estimate(*area), Estimate(float(apart / np.sqrt(squares / freedom)) if defined else float("nan"))


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
