"""How far a rate changes between two conditions that share their samples, with its interval."""

from collections.abc import Iterable

import numpy as np
from scipy.stats import norm

from probesteer.stats import LEVEL

Interval = tuple[float, float, float]  # estimate, lower, upper


def paired_change(low: np.ndarray, high: np.ndarray) -> Interval:
    """The rate of `high` minus that of `low`, outcomes (samples,) of 0 and 1, NaN for none, with its 95 % interval.

    The adjusted Wald interval of Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37: one discordant
    sample added each way. Where samples lack one of the outcomes, each rate has its own size, and only the samples with
    both share their variance. NaN where a side has no outcome.
    """
    known = [~np.isnan(side) for side in (low, high)]
    if not all(map(np.any, known)):
        return float("nan"), float("nan"), float("nan")
    sizes = [side.sum() + 2 for side in known]
    rates = [(side[there].sum() + 1) / size for side, there, size in zip((low, high), known, sizes, strict=True)]
    both = known[0] & known[1]
    shared = [(side[both].sum() + 1) / (both.sum() + 2) for side in (low, high)]
    covariance = low[both].dot(high[both]) - shared[0] * shared[1] * (both.sum() + 2)
    variance = sum(rate * (1 - rate) / size for rate, size in zip(rates, sizes, strict=True))
    variance -= 2 * covariance / (sizes[0] * sizes[1])
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt(max(0.0, variance))
    centre = rates[1] - rates[0]
    change = high[known[1]].mean() - low[known[0]].mean()
    return float(change), float(max(-1.0, centre - half)), float(min(1.0, centre + half))


def mean_change(changes: Iterable[Interval]) -> Interval:
    """The mean of independent changes, with its interval by square-and-add (MOVER; Zou and Donner 2008, Stat. Med. 27)."""
    estimates, lower, upper = np.array(list(changes)).T
    mean, count = estimates.mean(), len(estimates)
    below, above = (np.sqrt(((estimates - bound) ** 2).sum()) / count for bound in (lower, upper))
    return float(mean), float(mean - below), float(mean + above)


def bounded(name: str, interval: Interval) -> dict[str, float]:
    """An estimate and its bounds as the columns of a table."""
    return dict(zip((name, f"{name}_lower", f"{name}_upper"), interval, strict=True))
