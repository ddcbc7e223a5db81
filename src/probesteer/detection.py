"""Is the behaviour linearly readable at a layer, on pairs that the probe has not seen?"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from probesteer.directions import mean_difference
from probesteer.selection import PERMUTATIONS, LayerNull, contrast, permuted_labels, select
from probesteer.stats import auroc, auroc_interval, bootstrap_weights, percentile_interval, permutation_p, wins

NUMERICS = 3  # bump by hand when the same inputs give other numbers
RANDOM_DIRECTIONS, MATCHED_DIRECTIONS, BOOTSTRAPS, SPLITS, KMEANS_SEEDS = 100, 1000, 2000, 100, 10
TOP_SHARE = 0.01  # of the dimensions


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the bounds are NaN where none is defined."""

    estimate: float
    lower: float = float("nan")
    upper: float = float("nan")


@dataclass(frozen=True)
class Detection:
    """Held-out metrics of one layer; the direction and the threshold come from the training split alone."""

    auroc: Estimate
    """AUROC of the test projections; logit interval with pair-clustered DeLong variance."""
    accuracy: Estimate
    """Share of test texts on their side of the training threshold, the midpoint of the class means."""
    accuracy_test_midpoint: Estimate
    """As published for two models: the threshold is the midpoint of the test class means."""
    accuracy_test_median: Estimate
    """As published for one model: the threshold is the median of the test projections."""
    separation: Estimate
    """Difference of the test projections' class means."""
    std_positive: Estimate
    """Population standard deviation of the positive test projections."""
    std_negative: Estimate
    """Population standard deviation of the negative test projections."""
    dprime: Estimate
    """Separation over the pooled standard deviation (unbiased variances), both held out."""
    dprime_published: Estimate
    """The published d': on the training texts that the direction was fitted on, over their total SD, so at most 2."""
    dprime_null: Estimate
    """Mean held-out d' of probes refitted on permuted labels, with the central 95 % of the null."""
    purity: Estimate
    """Share of all texts in a k-means cluster (k = 2) whose majority has their label: mean over seeds."""
    purity_null: Estimate
    """Mean purity under label permutation, with the central 95 % of the null."""
    purity_p: Estimate
    """One-sided permutation p of the purity."""
    random_auroc: Estimate
    """Mean test AUROC of random unit directions, with the central 95 % of them."""
    random_auroc_std: Estimate
    """Population standard deviation of the random directions' AUROC."""
    random_auroc_p95: Estimate
    """95th percentile of the random directions' AUROC."""
    matched_auroc: Estimate
    """Mean test AUROC of random directions with the covariance of the training texts within class, and the central 95 %."""
    matched_auroc_p95: Estimate
    """95th percentile of the covariance-matched directions' AUROC."""
    gap: Estimate
    """AUROC minus the mean AUROC of random directions."""
    permutation_auroc: Estimate
    """Mean AUROC of probes refitted on permuted labels, with the central 95 % of the null; 0.5 is chance."""
    permutation_p: Estimate
    """One-sided p of the AUROC against that null: (b + 1) / (m + 1)."""
    permutation_p_max: Estimate
    """The same against the best block of each permutation: corrected for looking at all blocks."""
    cv_auroc: Estimate
    """Mean AUROC over folds of the training split, a fold leaving out whole scenarios and clusters: selects the layer."""
    participation_ratio: Estimate
    """Dimensions that carry the direction: 1 / sum of its fourth powers, from 1 to the hidden size."""
    top_share: Estimate
    """Share of the direction's squared norm in the largest 1 % of its dimensions."""
    split_cosine: Estimate
    """Mean cosine of directions fitted on two random halves of the training groups, with the central 95 %."""
    test_groups: Estimate
    """Number of test groups: pairs, or clusters of near-duplicate pairs."""

    def rows(self) -> list[dict[str, float | str]]:
        """One row per metric."""
        return [metric_row(field.name, getattr(self, field.name)) for field in fields(self)]


def metric_row(metric: str, value: Estimate, of: str = "") -> dict[str, Any]:
    """A row of a detection table; `of` names the instance of a metric that comes several times."""
    return {"metric": metric, "of": of, "estimate": value.estimate, "lower": value.lower, "upper": value.upper}


def evaluate(
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    train: np.ndarray,
    folds: np.ndarray,
    seed: int = 0,
    null: LayerNull | None = None,
) -> Detection:
    """Fit a probe on the training split and measure it on the rest.

    activations (texts, hidden); labels (texts,) bool, True for positive; groups (texts,), the unit of resampling and
    permutation, such as a contrastive pair; train (texts,) bool; folds (texts,), what cross-validation leaves out
    together, such as a scenario; null, what `selection.select` found for this layer beside others, else the layer stands
    alone. Deterministic in `seed`.
    """
    null = null or select({0: activations}, labels, groups, train, folds, seed).by_layer[0]
    rng = np.random.default_rng(seed)
    activations = activations.astype(np.float64)
    test = ~train
    held_out, truth, units = activations[test], labels[test], groups[test]
    direction = mean_difference(activations[train & labels], activations[train & ~labels])[0].astype(np.float64)
    scores = held_out @ direction
    on_train = activations[train] @ direction
    threshold = (on_train[labels[train]].mean() + on_train[~labels[train]].mean()) / 2
    random = rng.standard_normal((RANDOM_DIRECTIONS, activations.shape[1]))
    random_scores = held_out @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T
    random_aurocs = auroc(random_scores, truth)
    random_wins = np.mean([wins(column, truth) for column in random_scores.T], axis=0)
    matched_aurocs = auroc(held_out @ matched_directions(activations[train], labels[train], MATCHED_DIRECTIONS, rng), truth)
    weights = bootstrap_weights(units, BOOTSTRAPS, rng)

    def bootstrapped(metric: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        return Estimate(float(metric(np.ones((1, len(scores))))[0]), *percentile_interval(metric(weights)))

    def fitted(bar: float) -> Estimate:
        return Estimate(float(((scores > bar) == truth).mean()))

    area = Estimate(*auroc_interval(scores, truth, units))
    purity, purity_null, purity_p = clustering_purity(activations, labels, groups, seed, rng)
    largest = np.sort(direction**2)[::-1][: max(1, round(TOP_SHARE * len(direction)))]
    with np.errstate(invalid="ignore", divide="ignore"):
        return Detection(
            auroc=area,
            accuracy=bootstrapped(lambda w: (w @ ((scores > threshold) == truth)) / w.sum(1)),
            accuracy_test_midpoint=fitted((scores[truth].mean() + scores[~truth].mean()) / 2),
            accuracy_test_median=fitted(np.median(scores)),
            separation=bootstrapped(lambda w: np.subtract(*class_moments(scores, truth, w)[0])),
            std_positive=bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][0])),
            std_negative=bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][1])),
            dprime=bootstrapped(lambda w: dprime(scores, truth, w)),
            dprime_published=Estimate(
                float((on_train[labels[train]].mean() - on_train[~labels[train]].mean()) / on_train.std())
            ),
            dprime_null=spread(permuted_dprimes(activations, labels, groups, train, rng)),
            purity=purity,
            purity_null=purity_null,
            purity_p=purity_p,
            random_auroc=spread(random_aurocs),
            random_auroc_std=Estimate(float(random_aurocs.std())),
            random_auroc_p95=Estimate(float(np.quantile(random_aurocs, 0.95))),
            matched_auroc=spread(matched_aurocs),
            matched_auroc_p95=Estimate(float(np.quantile(matched_aurocs, 0.95))),
            gap=bootstrapped(lambda w: weighted_mean_win(wins(scores, truth) - random_wins, truth, w)),
            permutation_auroc=spread(null.null),
            permutation_p=Estimate(null.p),
            permutation_p_max=Estimate(null.p_max),
            cv_auroc=Estimate(null.cv_auroc),
            participation_ratio=Estimate(float(1 / (direction**4).sum())),
            top_share=Estimate(float(largest.sum())),
            split_cosine=spread(split_cosines(activations[train], labels[train], groups[train], rng)),
            test_groups=Estimate(float(len(np.unique(units)))),
        )


def spread(draws: np.ndarray) -> Estimate:
    """The mean of draws and their central 95 %."""
    return Estimate(float(np.nanmean(draws)), *percentile_interval(draws))


def matched_directions(activations: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random directions with the covariance of (texts, hidden) within class: (hidden, count)."""
    within = activations - np.where(labels[:, None], activations[labels].mean(0), activations[~labels].mean(0))
    return within.T @ rng.standard_normal((len(within), count))


def split_cosines(activations: np.ndarray, labels: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cosines of directions fitted on two random halves of the groups: (SPLITS,), NaN where a class is empty."""
    names, group = np.unique(groups, return_inverse=True)
    half = rng.permuted(np.tile(np.arange(len(names)) % 2 == 0, (SPLITS, 1)), axis=1).T[group]
    both = np.repeat(labels[:, None], SPLITS, axis=1)
    first, second = (activations.T @ contrast(both, inside) for inside in (half, ~half))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(0) / (np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0))


def permuted_dprimes(
    activations: np.ndarray, labels: np.ndarray, groups: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Held-out d' of probes refitted on permuted labels: (PERMUTATIONS,), NaN where a class has fewer than two texts."""
    draws = permuted_labels(labels, groups, PERMUTATIONS, rng)
    scores = activations[~train] @ (activations[train].T @ contrast(draws[train]))
    positive = draws[~train]
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = [positive.sum(0), (~positive).sum(0)]
        means = [(scores * side).sum(0) / size for side, size in zip((positive, ~positive), sizes, strict=True)]
        squares = [
            (side * (scores - mean) ** 2).sum(0) / (size - 1)
            for side, mean, size in zip((positive, ~positive), means, sizes, strict=True)
        ]
        return (means[0] - means[1]) / np.sqrt((squares[0] + squares[1]) / 2)


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


def clustering_purity(
    activations: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate, Estimate]:
    """Purity of k-means with k = 2 on all texts, mean over KMEANS_SEEDS seeds (group bootstrap); its permutation null and p."""
    seeds = range(seed, seed + KMEANS_SEEDS)
    clusters = [KMeans(2, n_init=1, random_state=s).fit_predict(activations).astype(bool) for s in seeds]

    def purity(agree: np.ndarray) -> np.ndarray:
        return np.maximum(agree, 1 - agree)

    weights = bootstrap_weights(groups, BOOTSTRAPS, rng)
    permuted = permuted_labels(labels, groups, PERMUTATIONS, rng)
    draws = np.mean([purity(weights @ (cluster == labels) / weights.sum(1)) for cluster in clusters], axis=0)
    null = np.mean([purity((cluster[:, None] == permuted).mean(0)) for cluster in clusters], axis=0)
    estimate = float(np.mean([purity((cluster == labels).mean()) for cluster in clusters]))
    return Estimate(estimate, *percentile_interval(draws)), spread(null), Estimate(permutation_p(estimate, null))
