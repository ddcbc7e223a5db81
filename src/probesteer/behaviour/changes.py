"""How far a rate changes between two conditions that share their samples, with its interval."""

from collections.abc import Iterable

import numpy as np

from probesteer.stats import difference_interval, wilson_interval

Interval = tuple[float, float, float]  # estimate, lower, upper


def paired_change(low: np.ndarray, high: np.ndarray) -> Interval:
    """The rate of `high` minus that of `low`, outcomes (samples,) of 0 and 1, NaN for none, with its 95 % interval.

    Newcombe 1998, Statistics in Medicine 17, 2635, method 10: Wilson's interval of each rate, squared and added less what
    they share by phi, which is corrected for continuity. Where samples lack one of the outcomes, each rate has its own size,
    and only the samples with both share their errors. NaN where a side has no outcome.
    """
    known = [~np.isnan(side) for side in (low, high)]
    if not all(map(np.any, known)):
        return float("nan"), float("nan"), float("nan")
    sides = []
    for side, there in zip((low, high), known, strict=True):
        (lower,), (upper,) = wilson_interval(side[there].sum(keepdims=True), there.sum(keepdims=True))
        sides.append((float(side[there].mean()), float(lower), float(upper)))
    both = known[0] & known[1]
    shared = both.sum() / np.sqrt(known[0].sum() * known[1].sum()) * phi(low[both], high[both])
    return difference_interval(sides[1], sides[0], shared)


def phi(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of two outcomes of 0 and 1 (samples,), 0 where one does not vary; less half a count if it is positive."""
    count, own, its = len(first), first.sum(), second.sum()
    product = count * first @ second - own * its
    corrected = product if product < 0 else max(0.0, product - count / 2)
    margins = own * (count - own) * its * (count - its)
    return float(corrected / np.sqrt(margins)) if margins else 0.0


def mean_change(changes: Iterable[Interval]) -> Interval:
    """The mean of independent changes, with its interval by square-and-add (MOVER; Zou and Donner 2008, Stat. Med. 27)."""
    estimates, lower, upper = np.array(list(changes)).T
    mean, count = estimates.mean(), len(estimates)
    below, above = (np.sqrt(((estimates - bound) ** 2).sum()) / count for bound in (lower, upper))
    return float(mean), float(mean - below), float(mean + above)


def bounded(name: str, interval: Interval) -> dict[str, float]:
    """An estimate and its bounds as the columns of a table."""
    return dict(zip((name, f"{name}_lower", f"{name}_upper"), interval, strict=True))
