"""What chance gives: random directions, permuted labels, halves of the data, clusters that know no labels."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, spread
from probesteer.detection.selection import PERMUTATIONS, contrast, permuted_labels
from probesteer.stats import auroc, permutation_p

SPLITS, KMEANS_SEEDS, CONTROL_TASKS = 100, 10, 100


def matched_directions(activations: np.ndarray, design: Design, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random directions with the covariance of the training texts (texts, hidden) within class: (hidden, count)."""
    activations, labels = activations[design.train], design.labels[design.train]
    within = activations - np.where(labels[:, None], activations[labels].mean(0), activations[~labels].mean(0))
    return within.T @ rng.standard_normal((len(within), count))


def split_cosines(activations: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Cosines of directions fitted on two random halves of the training groups: (SPLITS,), NaN where a class is empty."""
    activations, labels = activations[design.train], design.labels[design.train]
    names, group = np.unique(design.groups[design.train], return_inverse=True)
    half = rng.permuted(np.tile(np.arange(len(names)) % 2 == 0, (SPLITS, 1)), axis=1).T[group]
    both = np.repeat(labels[:, None], SPLITS, axis=1)
    first, second = (activations.T @ contrast(both, inside) for inside in (half, ~half))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(0) / (np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0))


def permuted_dprimes(activations: np.ndarray, design: Design, rng: np.random.Generator) -> np.ndarray:
    """Held-out d' of probes refitted on permuted labels: (PERMUTATIONS,), NaN where a class has fewer than two texts."""
    draws = permuted_labels(design.labels, design.groups, PERMUTATIONS, rng)
    scores = activations[design.test] @ (activations[design.train].T @ contrast(draws[design.train]))
    positive = draws[design.test]
    with np.errstate(invalid="ignore", divide="ignore"):
        sizes = [positive.sum(0), (~positive).sum(0)]
        means = [(scores * side).sum(0) / size for side, size in zip((positive, ~positive), sizes, strict=True)]
        squares = [
            (side * (scores - mean) ** 2).sum(0) / (size - 1)
            for side, mean, size in zip((positive, ~positive), means, sizes, strict=True)
        ]
        return (means[0] - means[1]) / np.sqrt((squares[0] + squares[1]) / 2)


def clustering_purity(
    activations: np.ndarray, design: Design, seed: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate, Estimate]:
    """Purity of k-means with k = 2 on all texts, mean over KMEANS_SEEDS seeds; its permutation null and p.

    It has no interval: a resample of texts would be clustered otherwise, and purity is at least 1/2 whatever the truth.
    """
    labels = design.labels
    seeds = [(seed + number) % 2**32 for number in range(KMEANS_SEEDS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all texts may be one point, as their last tokens may be
        clusters = [KMeans(2, n_init=1, random_state=s).fit_predict(activations).astype(bool) for s in seeds]

    def purity(agree: np.ndarray) -> np.ndarray:
        return np.maximum(agree, 1 - agree)

    permuted = permuted_labels(labels, design.groups, PERMUTATIONS, rng)
    null = np.mean([purity((cluster[:, None] == permuted).mean(0)) for cluster in clusters], axis=0)
    estimate = float(np.mean([purity((cluster == labels).mean()) for cluster in clusters]))
    return Estimate(estimate), spread(null), Estimate(permutation_p(estimate, null))


def control_task(activations: np.ndarray, design: Design, rng: np.random.Generator) -> Estimate:
    """How well the probe learns labels that mean nothing: mean AUROC over CONTROL_TASKS tasks, with the central 95 %.

    Hewitt and Liang 2019, "Designing and interpreting probes with control tasks": a type gets one random label wherever it
    occurs. Here a type is a group of texts: the probe is fitted on its positive texts and scored on its negative ones.
    """
    names, group = np.unique(design.groups, return_inverse=True)
    drawn = rng.permuted(np.tile(np.arange(len(names)) % 2 == 0, (CONTROL_TASKS, 1)), axis=1).T[group]
    fit, out = design.labels, ~design.labels
    with np.errstate(invalid="ignore", divide="ignore"):
        return spread(auroc(activations[out] @ (activations[fit].T @ contrast(drawn[fit])), drawn[out]))
