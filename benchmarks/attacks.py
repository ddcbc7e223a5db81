"""Attacks on the verdict of steering: how often is "steerable", or "specific", said of what is not; and the power beside it."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import binom, norm
from simulated import ALPHAS, judged, sweep

from probesteer.behaviour.changes import mean_change, paired_change
from probesteer.behaviour.effects import success_rates
from probesteer.behaviour.specificity import compared
from probesteer.behaviour.trends import centred_ranks, trends
from probesteer.stats import mean_interval
from probesteer.study.experiment import PERMUTATION_STEPS

Run = Callable[[partial, int], list]
ARMS = 19


def breaking(seed: int, low: float) -> bool:
    """A direction that does nothing, but breaks text sooner on its negative side."""
    return judged(sweep(seed, coherent=(low, 0.9))).steerable == "yes"


def private(seed: int, scenarios: int) -> bool:
    """One scenario that moves far, the others do not."""
    changes = [0.9] + [0.0] * (scenarios - 1)
    return judged(sweep(seed, changes=[changes[(number + 1) % scenarios] for number in range(scenarios)])).steerable == "yes"


def shuffled(seed: int) -> bool:
    """A sweep whose alphas are shuffled within (scenario, sample)."""
    scores = sweep(seed)
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(len(ALPHAS)), (len(scores) // len(ALPHAS), 1)), axis=1)
    return judged(scores.assign(alpha=np.array(ALPHAS)[order].ravel())).steerable == "yes"


def chance(seed: int, spread: float) -> bool:
    """The probe and the flipped directions move the rate by a sign and size of chance: steerable by its rate, and specific."""
    rng = np.random.default_rng(seed)
    change = rng.normal(0, spread, (ARMS + 1, 1))
    true = np.clip(0.5 + change * np.array([-0.5, -0.25, 0.25, 0.5]), 0, 1)
    rates = pd.DataFrame(rng.binomial(100, true) / 100, columns=[-5.0, -3.0, 3.0, 5.0])
    rates.index = ["probe", *(f"flipped-{number}" for number in range(ARMS))]
    found = compared(rates, [(-5.0, 5.0), (-3.0, 3.0)])
    return found["rate_change"] >= 0.2 and found["p"] <= 0.05


def true(seed: int, change: float, samples: int = 20) -> bool:
    """A change of the rate in five scenarios."""
    return judged(sweep(seed, changes=[change] * 5, samples=samples)).steerable == "yes"


def family(seed: int, cells: int) -> bool:
    """A perfect cell among many, with the permutations that a study of that size takes."""
    count = next(count for count in PERMUTATION_STEPS if count >= 100 * cells)
    return trends(sweep(seed, changes=[0.9] * 5), 5.0, seed, count)["p"].item() * cells <= 0.05


NULLS = {
    "alpha shuffled within (scenario, sample)": shuffled,
    "breaks text: coherent .2 at the lowest alpha, .9 at the highest": partial(breaking, low=0.2),
    "breaks text: coherent .5 at the lowest alpha, .9 at the highest": partial(breaking, low=0.5),
    "one scenario of two moves by .9": partial(private, scenarios=2),
    "one scenario of three moves by .9": partial(private, scenarios=3),
    "one scenario of five moves by .9": partial(private, scenarios=5),
    "probe and flipped directions move by chance, sd .3": partial(chance, spread=0.3),
    "the same, sd .8: most doses are saturated": partial(chance, spread=0.8),
}
TRUE = {
    "a change of .2 in five scenarios, 20 samples": partial(true, change=0.2),
    "a change of .4 in five scenarios, 20 samples": partial(true, change=0.4),
    "a change of .6 in five scenarios, 20 samples": partial(true, change=0.6),
    "a change of .4 in five scenarios, 10 samples": partial(true, change=0.4, samples=10),
    "a perfect cell of 101 (its p after Holm's correction)": partial(family, cells=101),
}


def attacks(run: Run, sets: int) -> Iterator[str]:
    """False claims in each null with the upper 95 % bound of their share, and the power."""
    for title, kinds in (("nothing is there", NULLS), ("something is there", TRUE)):
        yield f"| {title} | sets | claimed | upper 95 % bound |"
        yield "|---|---|---|---|"
        for name, kind in kinds.items():
            count = sum(run(kind, sets))
            yield f"| {name} | {sets} | {count / sets:.3f} | {upper_bound(count, sets):.3f} |"
        yield ""


def upper_bound(count: int, sets: int) -> float:
    """The one-sided upper 95 % bound of a share (Clopper and Pearson 1934, Biometrika 26)."""
    shares = np.linspace(count / sets, 1, 2001)
    return float(shares[np.argmax(binom.cdf(count, sets, shares) <= 0.05)])


def covered(seed: int, samples: int, scenarios: int, rates: tuple[float, float], correlation: float) -> list[bool]:
    """Whether the intervals hold the truth: the rate change, that among coherent texts (three in four are), the slope."""
    rng = np.random.default_rng([seed, samples, scenarios])
    steps = np.linspace(*rates, 7)
    ranks = centred_ranks(range(7))
    cells = []
    for _ in range(scenarios):
        shared = np.sqrt(correlation) * rng.standard_normal((samples, 1))
        cells.append((shared + np.sqrt(1 - correlation) * rng.standard_normal((samples, 7)) < norm.ppf(steps)).astype(float))
    ends = [cell[:, [0, -1]] for cell in cells]
    given = [np.where(rng.random(end.shape) < 0.75, end, np.nan) for end in ends]
    change, slope = rates[1] - rates[0], steps @ ranks / (ranks**2).sum()
    found = [(change, mean_change(paired_change(*end.T) for end in pairs)) for pairs in (ends, given)]
    found.append((slope, mean_interval(cells[0] @ ranks / (ranks**2).sum())))
    return [lower <= truth + 1e-12 and truth - 1e-12 <= upper for truth, (_, lower, upper) in found]


def change_intervals(run: Run, sets: int) -> Iterator[str]:
    """Coverage of the intervals of steering."""
    yield "| samples | scenarios | rates | correlation | sets | rate change | among coherent | slope (one scenario) |"
    yield "|---|---|---|---|---|---|---|---|"
    for samples in (10, 15, 30, 100):
        for scenarios, correlation in ((1, 0.0), (1, 0.5), (5, 0.0), (5, 0.5)):
            for rates in ((0.5, 0.5), (0.3, 0.7), (0.1, 0.9)):
                one = partial(covered, samples=samples, scenarios=scenarios, rates=rates, correlation=correlation)
                shares = " | ".join(f"{share:.3f}" for share in np.mean(run(one, sets), axis=0))
                yield f"| {samples} | {scenarios} | {rates[0]} to {rates[1]} | {correlation} | {sets} | {shares} |"


def success(seed: int, change: float) -> tuple[float, float]:
    """Success by the published and by the strict rule."""
    scores = sweep(seed, changes=[change] * 5)
    return tuple(float(success_rates(scores, rule)["success_rate"].mean()) for rule in ("published", "strict"))


def published(run: Run, sets: int) -> Iterator[str]:
    """What the success rates say of the same sweeps."""
    yield "| change in five scenarios | sets | published success | strict success |"
    yield "|---|---|---|---|"
    for change in (0.0, 0.2, 0.4, 0.6):
        means = np.mean(run(partial(success, change=change), max(1, sets // 10)), axis=0)
        yield f"| {change} | {max(1, sets // 10)} | {means[0]:.3f} | {means[1]:.3f} |"
