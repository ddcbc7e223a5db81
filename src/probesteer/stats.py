"""Estimators: AUROC, means and shares with intervals over clusters, permutation p-values, Holm's correction."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, norm, rankdata, t

LEVEL = 0.95


def auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, ties counted half: scores and boolean labels (texts,) or (texts, draws) to () or (draws,)."""
    labels = labels if scores.ndim == labels.ndim else labels[:, None]
    ranks = rankdata(scores, axis=0)
    positive = labels.sum(0)
    return ((ranks * labels).sum(0) - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def wins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Who wins each comparison: 1, 0, or 1/2 for a tie, as (positives, negatives); its mean is the AUROC."""
    positive, negative = scores[labels][:, None], scores[~labels][None]
    return (positive > negative) + 0.5 * (positive == negative)


def clusters(groups: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Of clusters by name (texts,): each text's cluster as a number, how many there are in effect, and degrees of freedom.

    In effect (Kish): square of the sum of the sizes over the sum of their squares. The degrees of freedom of a variance
    between clusters, (k - 1) / (1 - k / n) with k of n in effect, are Student's k - 1 where one cluster holds most texts and
    infinite where all are alike: a rule found by simulation, for intervals whose logit makes up for few clusters.
    """
    names, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    effective = float(sizes.sum() ** 2 / (sizes**2).sum())
    uneven = 1 - effective / len(names)
    return group, effective, (effective - 1) / uneven if uneven > 1e-9 else float("inf")


def auroc_influence(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """AUROC, and each text's influence on it (texts,) from DeLong's placements; the influences sum to zero."""
    placements = wins(scores, labels)
    area = float(placements.mean())
    influence = np.empty(len(scores))
    influence[labels] = (placements.mean(1) - area) / labels.sum()
    influence[~labels] = (placements.mean(0) - area) / (~labels).sum()
    return area, influence


def auroc_interval(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """AUROC with its 95 % interval, `area_interval`; a cluster is a group of texts, a contrastive pair for us."""
    area, influence = auroc_influence(scores, labels)
    return area, *area_interval(area, influence, groups)


def mean_auroc_interval(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    """The mean of the AUROCs of parts, each scores, labels and groups (texts,), with its 95 % interval, `worth_interval`."""
    areas, influences = zip(*(auroc_influence(scores, labels) for scores, labels, _ in parts), strict=True)
    groups = [part for *_, part in parts]
    strata = np.repeat(np.arange(len(parts)), [len(part) for part in groups])
    mean, influence = float(np.mean(areas)), np.concatenate(influences) / len(parts)
    return mean, *worth_interval(mean, influence, np.concatenate(groups), strata)


def worth_interval(
    area: float, influence: np.ndarray, groups: np.ndarray, strata: np.ndarray, z: float = float(norm.ppf((1 + LEVEL) / 2))
) -> tuple[float, float]:
    """95 % interval of the mean AUROC of strata (texts,) of few clusters: Wilson's on the comparisons that it is worth.

    They are worth area (1 - area) over the variance of the mean: that of the influence between clusters, k / (k - 1) with
    the k clusters in effect of each stratum. Two or three clusters say little of it, so it is pooled, by degrees of freedom,
    with that of as many comparisons as there are clusters in effect, which counts for four fifths of a cluster a stratum (a
    number found by simulation) and is its upper bound: a U-statistic varies no more than the mean of comparisons of which
    each has clusters of its own (Hoeffding 1948, Annals of Mathematical Statistics 19). At AUROC 1 (or 0) the bound is that
    of one lost comparison among independent pairs, or Clopper and Pearson's of one comparison a cluster, and no other AUROC
    has a tighter one. `z` is the quantile. NaN with a single cluster, or scores that are all the same.
    """
    group = clusters(groups)[0]
    count, parts = group.max() + 1, strata.max() + 1
    if count < 2 or not (influence.any() or area in (0.0, 1.0)):
        return float("nan"), float("nan")
    effective = float(1 / (np.bincount(group, 1 / np.bincount(strata)[strata] / parts) ** 2).sum())
    known, freedom = 0.8 * parts, max(0, count - parts)

    def bounds(mean: float, variance: float) -> tuple[float, float]:
        most = mean * (1 - mean) / effective
        worth = mean * (1 - mean) * (freedom + known) / (freedom * min(variance, most) + known * most)
        lower, upper = wilson_interval(np.array([mean * worth]), np.array([worth]), z)
        return float(lower[0]), float(upper[0])

    lost = 1 / max(2.0, effective**2 / parts)
    end = max(bounds(1 - lost, 2 * lost**2)[0], clopper_pearson_interval(1.0, effective)[0])
    if area in (0.0, 1.0):
        return (end, 1.0) if area == 1 else (0.0, 1 - end)
    worth = np.array([clusters(groups[strata == part])[1] for part in range(parts)])
    sums = np.bincount(group, influence * np.sqrt(worth / np.maximum(worth - 1, 0.5))[strata])
    lower, upper = bounds(area, float((sums**2).sum()))
    return min(end, lower), max(1 - end, upper)


def area_interval(area: float, influence: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of an AUROC: of its logit, with the cluster variance of its influence (texts,).

    DeLong et al. 1988, Biometrics 44; clusters after Obuchowski 1997, Biometrics 53; k / (k - 1) with the k clusters in effect.
    The quantile is Student's with the degrees of freedom of `clusters`. An AUROC that is too near its end by
    chance has too small a variance as well, so the bound towards one half has those of the variance where they are fewer:
    2 n / (kurtosis of the n clusters' influence - 1), after Satterthwaite 1946, Biometrics Bulletin 2, and at least 4. The
    variance is at least that of one lost comparison among as many independent pairs as there are clusters in effect; at AUROC
    1 (or 0) it is the bound, and no other AUROC has a tighter one. The bounds are NaN where nothing can be said: with a
    single cluster, or scores that are all the same.
    """
    group, effective, freedom = clusters(groups)
    count = group.max() + 1
    if count < 2:
        return float("nan"), float("nan")
    one_lost = np.sqrt(2 * effective / (effective - 1))  # the deviation of a logit
    compared = max(2, effective**2)
    end = float(expit(logit(1 - 1 / compared) - t.ppf((1 + LEVEL) / 2, effective - 1) * one_lost))
    if area in (0.0, 1.0):
        return (end, 1.0) if area == 1 else (0.0, 1 - end)
    if not influence.any():
        return float("nan"), float("nan")
    sums = np.bincount(group, influence * np.sqrt(effective / max(effective - 1, 0.5)))
    squares = (sums**2).sum()
    spread = count * (sums**4).sum() / squares**2 - 1 if squares > 1e-24 else count - 1.0
    towards_half = min(freedom, max(4.0, 2 * count / max(spread, 1e-9)))
    degrees = (towards_half, freedom) if area >= 0.5 else (freedom, towards_half)
    slope = 1 / (area * (1 - area))  # of the logit
    below, above = t.ppf((1 + LEVEL) / 2, degrees) * max(np.sqrt(squares) * slope, one_lost * min(1, slope / compared))
    return min(end, float(expit(logit(area) - below))), max(1 - end, float(expit(logit(area) + above)))


def auroc_difference(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """The AUROC of `first` less that of `second`, scores (texts,) of the same texts, with its 95 % interval.

    DeLong's paired comparison with clusters; its variances are recovered from the intervals of the two, `difference_interval`,
    so that it holds at AUROC 1 too. These are `worth_interval`, with Student's quantile: a variance that is pooled as there has
    about as many degrees of freedom as there are clusters. Scores that are all the same have AUROC 1/2 and no error.
    """
    group = clusters(groups)[0]
    (area, own), (other, its) = auroc_influence(first, labels), auroc_influence(second, labels)
    if not group.any():
        return area - other, float("nan"), float("nan")
    sums = np.bincount(group, own), np.bincount(group, its)
    scale = np.sqrt((sums[0] ** 2).sum() * (sums[1] ** 2).sum())
    correlation = sums[0] @ sums[1] / scale if scale > 1e-24 else 0.0
    sides, quantile = [], float(t.ppf((1 + LEVEL) / 2, group.max() + 1))
    for value, influence in ((area, own), (other, its)):
        bounds = worth_interval(value, influence, groups, np.zeros(len(groups), dtype=int), quantile)
        sides.append((value, value, value) if np.isnan(bounds[0]) else (value, *bounds))
    first_side, second_side = sides
    return difference_interval(first_side, second_side, correlation)


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float], correlation: float
) -> tuple[float, float, float]:
    """An estimate with its interval less another, whose errors correlate (MOVER: Zou and Donner 2008, Stat. Med. 27)."""
    (one, lower, upper), (other, its_lower, its_upper) = first, second
    sides = (one - lower, its_upper - other), (upper - one, other - its_lower)
    down, up = (np.sqrt(max(0.0, a**2 + b**2 - 2 * correlation * a * b)) for a, b in sides)
    return one - other, float(one - other - down), float(one - other + up)


def jackknife_interval(statistic: Callable[[np.ndarray], float], groups: np.ndarray) -> tuple[float, float, float]:
    """A statistic of texts, given which are kept (texts,) bool, with its 95 % interval: cluster jackknife, Student's t.

    Each cluster is left out once (Efron and Stein 1981, Annals of Statistics 9); Kish's effective number of clusters less 1
    degrees of freedom. The bounds are NaN with a single cluster, or where a value is not finite.
    """
    group, effective, _ = clusters(groups)
    estimate = float(statistic(np.ones(len(groups), dtype=bool)))
    count = group.max() + 1
    if count < 2:
        return estimate, float("nan"), float("nan")
    without = np.array([statistic(group != left) for left in range(count)])
    deviation = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    half = float(t.ppf((1 + LEVEL) / 2, effective - 1) * deviation)
    return estimate, estimate - half, estimate + half


def mean_interval(values: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float, float]:
    """The mean of values (n,) with its 95 % interval by Student's t, over clusters where `groups` (n,) names them."""
    return jackknife_interval(lambda kept: values[kept].mean(), np.arange(len(values)) if groups is None else groups)


def share_interval(hits: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """A share of texts, bool (texts,), with its 95 % interval: Wilson's on the number of texts that the clusters are worth.

    That is share (1 - share) over the variance between clusters, at most twice the texts (those of a pair can err in turn);
    and Kish's number of clusters where no text differs. The quantile is Student's over clusters (Korn and Graubard 1998,
    Survey Methodology 24). NaN with one cluster.
    """
    group, effective, _ = clusters(groups)
    share = float(hits.mean())
    count = group.max() + 1
    if count < 2:
        return share, float("nan"), float("nan")
    variance = count / (count - 1) * (np.bincount(group, hits - share) ** 2).sum() / len(hits) ** 2
    worth = min(2 * len(hits), share * (1 - share) / variance) if variance > 1e-15 else effective
    quantile = float(t.ppf((1 + LEVEL) / 2, effective - 1))
    lower, upper = wilson_interval(np.array([share * worth]), np.array([worth]), quantile)
    return share, float(lower[0]), float(upper[0])


def defined_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean of the defined values along an axis, NaN where there are none."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis) / known.sum(axis)


def percentile_interval(draws: np.ndarray) -> tuple[float, float]:
    """The central 95 % of bootstrap draws, undefined draws left out; NaN where none is defined."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    lower, upper = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lower), float(upper)


def permutation_p(observed: float, null: np.ndarray) -> float:
    """One-sided p: (b + 1) / (m + 1) with b of m null draws at least as large; an undefined draw counts as large."""
    return float(((~(null < observed - 1e-12)).sum() + 1) / (len(null) + 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down correction: adjusted p-values in the given order."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def clopper_pearson_interval(share: float, trials: float) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a proportion (1934, Biometrika 26)."""
    hits, tail = share * trials, (1 - LEVEL) / 2
    lower = float(beta.ppf(tail, hits, trials - hits + 1)) if share > 0 else 0.0
    return lower, float(beta.ppf(1 - tail, hits + 1, trials - hits)) if share < 1 else 1.0


def wilson_interval(
    successes: np.ndarray, trials: np.ndarray, z: float = float(norm.ppf((1 + LEVEL) / 2))
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a proportion; `z` is its quantile."""
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    low, high = (np.clip((centre + side * half).round(12), 0, 1) for side in (-1, 1))  # no success: 0, not 1e-17
    return low, high
