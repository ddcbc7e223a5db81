"""Is the behaviour linearly readable at a layer, on pairs that the probe has not seen?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from probesteer.directions import mean_difference
from probesteer.stats import auroc, auroc_interval, bootstrap_weights, percentile_interval, permutation_p, wins

NUMERICS = 1  # bump by hand when the same inputs give other numbers
PERMUTATIONS, RANDOM_DIRECTIONS, BOOTSTRAPS, GROUP_FOLDS = 1000, 100, 2000, 5


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
    separation: Estimate
    """Difference of the test projections' class means."""
    std_positive: Estimate
    """Population standard deviation of the positive test projections."""
    std_negative: Estimate
    """Population standard deviation of the negative test projections."""
    dprime: Estimate
    """Separation over the pooled standard deviation (unbiased variances), both held out."""
    purity: Estimate
    """Share of all texts in a k-means cluster (k = 2) whose majority has their label."""
    purity_null: Estimate
    """Mean purity under label permutation, with the central 95 % of the null."""
    random_auroc: Estimate
    """Mean test AUROC of random unit directions, with the central 95 % of them."""
    random_auroc_std: Estimate
    """Population standard deviation of the random directions' AUROC."""
    random_auroc_p95: Estimate
    """95th percentile of the random directions' AUROC."""
    gap: Estimate
    """AUROC minus the mean AUROC of random directions."""
    permutation_auroc: Estimate
    """Mean AUROC of probes refitted on permuted labels, with the central 95 % of the null; 0.5 is chance."""
    permutation_p: Estimate
    """One-sided p of the AUROC against that null: (b + 1) / (m + 1)."""
    cv_auroc: Estimate
    """Mean AUROC over folds of the training split, a fold leaving out whole scenarios: selects the layer."""
    test_groups: Estimate
    """Number of test groups (pairs)."""

    def rows(self) -> list[dict[str, float | str]]:
        """One row per metric."""
        return [
            {"metric": field.name, "estimate": value.estimate, "lower": value.lower, "upper": value.upper}
            for field in fields(self)
            for value in [getattr(self, field.name)]
        ]


def detection_inputs(cache: Mapping[str, Any], layer: int, seed: int) -> dict[str, Any]:
    """Everything that determines a detection, given what determines the activation cache."""
    return {"numerics": NUMERICS, "activations": dict(cache), "layer": layer, "seed": seed}


def evaluate(
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    train: np.ndarray,
    folds: np.ndarray,
    seed: int = 0,
) -> Detection:
    """Fit a probe on the training split and measure it on the rest.

    activations (texts, hidden); labels (texts,) bool, True for positive; groups (texts,), the unit of resampling and
    permutation, such as a contrastive pair; train (texts,) bool; folds (texts,), what cross-validation leaves out
    together, such as a scenario. Deterministic in `seed`.
    """
    rng = np.random.default_rng(seed)
    activations = activations.astype(np.float64)
    test = ~train
    held_out, truth, units = activations[test], labels[test], groups[test]
    direction, _ = mean_difference(activations[train & labels], activations[train & ~labels])
    scores = held_out @ direction
    on_train = activations[train] @ direction
    threshold = (on_train[labels[train]].mean() + on_train[~labels[train]].mean()) / 2
    random = rng.standard_normal((RANDOM_DIRECTIONS, activations.shape[1]))
    random_scores = held_out @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T
    random_aurocs = auroc(random_scores, truth)
    random_wins = np.mean([wins(column, truth) for column in random_scores.T], axis=0)
    weights = bootstrap_weights(units, BOOTSTRAPS, rng)

    def bootstrapped(metric: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        return Estimate(float(metric(np.ones((1, len(scores))))[0]), *percentile_interval(metric(weights)))

    null = permuted_aurocs(activations, labels, groups, train, rng)
    area = Estimate(*auroc_interval(scores, truth, units))
    purity, purity_null = clustering_purity(activations, labels, groups, seed, rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Detection(
            auroc=area,
            accuracy=bootstrapped(lambda w: (w @ ((scores > threshold) == truth)) / w.sum(1)),
            separation=bootstrapped(lambda w: np.subtract(*class_moments(scores, truth, w)[0])),
            std_positive=bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][0])),
            std_negative=bootstrapped(lambda w: np.sqrt(class_moments(scores, truth, w)[1][1])),
            dprime=bootstrapped(lambda w: dprime(scores, truth, w)),
            purity=purity,
            purity_null=purity_null,
            random_auroc=Estimate(float(random_aurocs.mean()), *percentile_interval(random_aurocs)),
            random_auroc_std=Estimate(float(random_aurocs.std())),
            random_auroc_p95=Estimate(float(np.quantile(random_aurocs, 0.95))),
            gap=bootstrapped(lambda w: weighted_mean_win(wins(scores, truth) - random_wins, truth, w)),
            permutation_auroc=Estimate(float(np.nanmean(null)), *percentile_interval(null)),
            permutation_p=Estimate(permutation_p(area.estimate, null)),
            cv_auroc=Estimate(cross_validated_auroc(activations[train], labels[train], leave_out(folds[train], groups[train]))),
            test_groups=Estimate(float(len(np.unique(units)))),
        )


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


def permuted_labels(labels: np.ndarray, groups: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Labels under the null, (texts, draws): each whole group keeps its labels or has all of them flipped."""
    names, group = np.unique(groups, return_inverse=True)
    flips = rng.random((len(names), draws)) < 0.5
    return labels[:, None] ^ flips[group]


def permuted_aurocs(
    activations: np.ndarray, labels: np.ndarray, groups: np.ndarray, train: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Test AUROC of mean-difference probes refitted on permuted labels: (PERMUTATIONS,), NaN where a class is empty."""
    permuted = permuted_labels(labels, groups, PERMUTATIONS, rng)
    fit, check = permuted[train].astype(np.float64), permuted[~train]
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast = fit / fit.sum(0) - (1 - fit) / (1 - fit).sum(0)
        scores = activations[~train] @ (activations[train].T @ contrast)
        return auroc(scores, check)


def leave_out(folds: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What each fold leaves out (texts,): the given folds, or five sets of whole groups where there is a single one."""
    if len(np.unique(folds)) > 1:
        return folds
    return np.unique(groups, return_inverse=True)[1] % GROUP_FOLDS


def cross_validated_auroc(activations: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Mean AUROC over folds, each scored by a probe fitted on the others; NaN for a single fold."""
    if len(np.unique(folds)) == 1:
        return float("nan")
    areas = []
    for fold in np.unique(folds):
        out = folds == fold
        direction, _ = mean_difference(activations[~out & labels], activations[~out & ~labels])
        areas.append(auroc(activations[out] @ direction, labels[out]))
    return float(np.mean(areas))


def clustering_purity(
    activations: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """Purity of k-means with k = 2 on all texts (group bootstrap), and its null under label permutation."""
    cluster = KMeans(2, n_init=10, random_state=seed).fit_predict(activations).astype(bool)

    def purity(agree: np.ndarray) -> np.ndarray:
        return np.maximum(agree, 1 - agree)

    weights = bootstrap_weights(groups, BOOTSTRAPS, rng)
    draws = purity(weights @ (cluster == labels) / weights.sum(1))
    null = purity((cluster[:, None] == permuted_labels(labels, groups, PERMUTATIONS, rng)).mean(0))
    estimate = float(purity((cluster == labels).mean()))
    return Estimate(estimate, *percentile_interval(draws)), Estimate(float(null.mean()), *percentile_interval(null))
