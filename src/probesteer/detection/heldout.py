"""Is the behaviour linearly readable at a layer, on pairs that the probe has not seen?"""

from collections.abc import Callable

import numpy as np

from probesteer.detection.design import Design
from probesteer.detection.estimate import Detection, Estimate, spread
from probesteer.detection.nulls import clustering_purity, control_task, matched_directions, permuted_dprimes, split_cosines
from probesteer.detection.robustness import out_of
from probesteer.detection.selection import LayerNull, select
from probesteer.directions.methods import fitted
from probesteer.stats import auroc, auroc_interval, jackknife_interval, share_interval

NUMERICS = 8  # bump by hand when the same inputs give other numbers
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
    held_out = _held_out_metrics(activations, design, direction)
    purity, purity_null, purity_p = clustering_purity(activations, design, seed, rng)
    left_out_auroc, left_out_dprime = out_of(activations, design, design.folds)
    control = control_task(activations, design, rng)
    largest = np.sort(direction**2)[::-1][: max(1, round(TOP_SHARE * len(direction)))]
    return Detection(
        **held_out,
        out_of_scenario_auroc=left_out_auroc,
        out_of_scenario_dprime=left_out_dprime,
        **_random_metrics(activations, design, rng),
        dprime_null=spread(permuted_dprimes(activations, design, rng)),
        purity=purity,
        purity_null=purity_null,
        purity_p=purity_p,
        permutation_auroc=spread(null.null),
        permutation_p=Estimate(null.p),
        permutation_p_max=Estimate(null.p_max),
        control_task_auroc=control,
        selectivity=Estimate(held_out["auroc"].estimate - control.estimate),
        cv_auroc=Estimate(null.cv_auroc),
        participation_ratio=Estimate(float(1 / (direction**4).sum()) if direction.any() else float("nan")),
        top_share=Estimate(float(largest.sum())),
        split_cosine=spread(split_cosines(activations, design, rng)) if direction.any() else Estimate(float("nan")),
        test_groups=Estimate(float(len(np.unique(design.groups[design.test])))),
    )


def _random_metrics(activations: np.ndarray, design: Design, rng: np.random.Generator) -> dict[str, Estimate]:
    """Metrics of random directions, isotropic and with the covariance of the activations."""
    held_out, truth = activations[design.test], design.labels[design.test]
    random = rng.standard_normal((RANDOM_DIRECTIONS, activations.shape[1]))
    aurocs = auroc(held_out @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T, truth)
    matched = auroc(held_out @ matched_directions(activations, design, MATCHED_DIRECTIONS, rng), truth)
    return {
        "random_auroc": spread(aurocs),
        "random_auroc_std": Estimate(float(aurocs.std())),
        "random_auroc_p95": Estimate(float(np.quantile(aurocs, 0.95))),
        "matched_auroc": spread(matched),
        "matched_auroc_p95": Estimate(float(np.quantile(matched, 0.95))),
    }


def _held_out_metrics(activations: np.ndarray, design: Design, direction: np.ndarray) -> dict[str, Estimate]:
    """Metrics of the held-out projections, with intervals over groups where there is an honest one."""
    truth, units, inside = design.labels[design.test], design.groups[design.test], design.labels[design.train]
    scores, on_train = activations[design.test] @ direction, activations[design.train] @ direction
    apart = separation(on_train, inside)
    threshold = (on_train[inside].mean() + on_train[~inside].mean()) / 2

    def fitted(bar: float) -> Estimate:
        return Estimate(float(((scores > bar) == truth).mean()))

    def jackknifed(metric: Callable[[np.ndarray, np.ndarray], float]) -> Estimate:
        return Estimate(*jackknife_interval(lambda kept: metric(scores[kept], truth[kept]), units))

    return {
        "auroc": Estimate(*auroc_interval(scores, truth, units)),
        "accuracy": Estimate(*share_interval((scores > threshold) == truth, units)),
        "accuracy_test_midpoint": fitted((scores[truth].mean() + scores[~truth].mean()) / 2),
        "accuracy_test_median": fitted(np.median(scores)),
        "separation": jackknifed(separation),
        "std_positive": Estimate(float(scores[truth].std())),
        "std_negative": Estimate(float(scores[~truth].std())),
        "dprime": jackknifed(dprime),
        "dprime_published": Estimate(float(apart / on_train.std()) if on_train.std() else float("nan")),
    }


def separation(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean score of the positive texts less that of the negative ones; NaN where a side is empty."""
    return float(scores[labels].mean() - scores[~labels].mean()) if labels.any() and not labels.all() else float("nan")


def dprime(scores: np.ndarray, labels: np.ndarray) -> float:
    """d' = separation / sqrt(mean of the two unbiased variances); NaN where a side has fewer than two texts, or none varies."""
    if min(labels.sum(), (~labels).sum()) < 2:
        return float("nan")
    pooled = np.sqrt((scores[labels].var(ddof=1) + scores[~labels].var(ddof=1)) / 2)
    return separation(scores, labels) / float(pooled) if pooled > 0 else float("nan")
