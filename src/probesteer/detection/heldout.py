"""Is the behaviour linearly readable at a layer, on pairs that the probe has not seen?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from probesteer.detection.design import Design
from probesteer.detection.estimate import Detection, Estimate, spread
from probesteer.detection.nulls import BOOTSTRAPS, clustering_purity, matched_directions, permuted_dprimes, split_cosines
from probesteer.detection.selection import LayerNull, select
from probesteer.directions.methods import fitted
from probesteer.stats import auroc, auroc_interval, bootstrap_weights, percentile_interval, wins

NUMERICS = 4  # bump by hand when the same inputs give other numbers
RANDOM_DIRECTIONS, MATCHED_DIRECTIONS = 100, 1000
TOP_SHARE = 0.01  # of the dimensions


def evaluate(
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    train: np.ndarray,
    folds: np.ndarray,
    seed: int = 0,
) -> Detection:
    """Fit a probe on the training split of one layer and measure it on the rest.

    activations (texts, hidden); the others are `Design`'s. Deterministic in `seed`.
    """
    design = Design(labels, groups, train, folds)
    return measure(activations, design, select({0: activations}, design, seed).by_layer[0], seed)


def measure(activations: np.ndarray, design: Design, null: LayerNull, seed: int = 0) -> Detection:
    """The same beside other layers: `null` is what `selection.select` found for this one among them."""
    rng = np.random.default_rng(seed)
    activations = activations.astype(np.float64)
    direction = fitted(*design.sides(activations)).astype(np.float64)
    random, random_wins = _random_metrics(activations, design, rng)
    held_out = _held_out_metrics(activations, design, direction, random_wins, rng)
    purity, purity_null, purity_p = clustering_purity(activations, design, seed, rng)
    largest = np.sort(direction**2)[::-1][: max(1, round(TOP_SHARE * len(direction)))]
    return Detection(
        **held_out,
        **random,
        dprime_null=spread(permuted_dprimes(activations, design, rng)),
        purity=purity,
        purity_null=purity_null,
        purity_p=purity_p,
        permutation_auroc=spread(null.null),
        permutation_p=Estimate(null.p),
        permutation_p_max=Estimate(null.p_max),
        cv_auroc=Estimate(null.cv_auroc),
        participation_ratio=Estimate(float(1 / (direction**4).sum()) if direction.any() else float("nan")),
        top_share=Estimate(float(largest.sum())),
        split_cosine=spread(split_cosines(activations, design, rng)) if direction.any() else Estimate(float("nan")),
        test_groups=Estimate(float(len(np.unique(design.groups[design.test])))),
    )


def _random_metrics(
    activations: np.ndarray, design: Design, rng: np.random.Generator
) -> tuple[dict[str, Estimate], np.ndarray]:
    """Metrics of random directions, and how often they win each comparison: (positives, negatives)."""
    held_out, truth = activations[design.test], design.labels[design.test]
    random = rng.standard_normal((RANDOM_DIRECTIONS, activations.shape[1]))
    scores = held_out @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T
    aurocs = auroc(scores, truth)
    matched = auroc(held_out @ matched_directions(activations, design, MATCHED_DIRECTIONS, rng), truth)
    metrics = {
        "random_auroc": spread(aurocs),
        "random_auroc_std": Estimate(float(aurocs.std())),
        "random_auroc_p95": Estimate(float(np.quantile(aurocs, 0.95))),
        "matched_auroc": spread(matched),
        "matched_auroc_p95": Estimate(float(np.quantile(matched, 0.95))),
    }
    return metrics, np.mean([wins(column, truth) for column in scores.T], axis=0)


def _held_out_metrics(
    activations: np.ndarray, design: Design, direction: np.ndarray, random_wins: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Metrics of the held-out projections, most of them with the bootstrap interval over groups."""
    truth, units, inside = design.labels[design.test], design.groups[design.test], design.labels[design.train]
    scores, on_train = activations[design.test] @ direction, activations[design.train] @ direction
    train_gap = on_train[inside].mean() - on_train[~inside].mean()
    threshold = (on_train[inside].mean() + on_train[~inside].mean()) / 2
    weights = bootstrap_weights(units, BOOTSTRAPS, rng)

    def bootstrapped(metric: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        with np.errstate(invalid="ignore", divide="ignore"):
            return Estimate(float(metric(np.ones((1, len(scores))))[0]), *percentile_interval(metric(weights)))

    def fitted(bar: float) -> Estimate:
        return Estimate(float(((scores > bar) == truth).mean()))

    return {
        "auroc": Estimate(*auroc_interval(scores, truth, units)),
        "accuracy": bootstrapped(lambda w: (w @ ((scores > threshold) == truth)) / w.sum(1)),
        "accuracy_test_midpoint": fitted((scores[truth].mean() + scores[~truth].mean()) / 2),
        "accuracy_test_median": fitted(np.median(scores)),
        "separation": bootstrapped(lambda w: np.subtract(*class_moments(scores, truth, w)[0])),
        "std_positive": bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][0])),
        "std_negative": bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][1])),
        "dprime": bootstrapped(lambda w: dprime(scores, truth, w)),
        "dprime_published": Estimate(float(train_gap / on_train.std()) if on_train.std() else float("nan")),
        "gap": bootstrapped(lambda w: weighted_mean_win(wins(scores, truth) - random_wins, truth, w)),
    }


def class_moments(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Weighted means, population variances and sizes of (positive, negative): each a pair of (draws,) arrays."""
    means, variances, sizes = [], [], []
    for side in (labels, ~labels):
        weight, score = weights[:, side], scores[side]
        size = weight.sum(1)
        mean = weight @ score / size
        means.append(mean)
        variances.append(np.maximum(weight @ score**2 / size - mean**2, 0))
        sizes.append(size)
    return means, variances, sizes


def dprime(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """d' = (mean of positive - mean of negative) / sqrt(mean of the two unbiased variances), per draw."""
    means, variances, sizes = class_moments(scores, labels, weights)
    unbiased = [variance * size / (size - 1) for variance, size in zip(variances, sizes, strict=True)]
    return (means[0] - means[1]) / np.sqrt((unbiased[0] + unbiased[1]) / 2)


def weighted_mean_win(wins_matrix: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of a (positives, negatives) matrix under resampling weights (draws, texts): (draws,)."""
    positive, negative = weights[:, labels], weights[:, ~labels]
    return ((positive @ wins_matrix) * negative).sum(1) / (positive.sum(1) * negative.sum(1))
