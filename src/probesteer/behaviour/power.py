"""What change of the rate a study of a given size would find: the rules of the verdict on simulated sweeps."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from math import isnan

import numpy as np
from scipy.stats import norm, t

from probesteer.behaviour.trends import centred_ranks
from probesteer.stats import LEVEL
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.sections import Criteria

STUDIES = 400
CHANGES = tuple(np.round(np.arange(0.1, 1.0, 0.05), 2))
CORRELATION = 0.5  # of the latent scores of one sample at two doses, which share random numbers
FOUND = 0.8


def least_change(study: Study, model: Model) -> float:
    """The least change of the rate that the study finds in a model. See `detectable_change`."""
    within = tuple(sorted({0.0, *(alpha for alpha in study.alphas_of(model) if abs(alpha) <= study.criteria.trend_alpha)}))
    size = len(study.scenario_names()), study.samples, study.trend_tests, study.controls.flipped
    return detectable_change(within, *size, study.criteria)


def steering_power(study: Study) -> list[str]:
    """What change of the rate the study would find, a line per distinct one, and what its design cannot show at all."""
    lines, least_p = [], 1 / (2 * (study.controls.flipped + 1))
    for change, models in groupby(
        sorted((least_change(study, model), model.name) for model in study.steered), lambda one: one[0]
    ):
        names = ", ".join(name for _, name in models)
        size = f"{len(study.scenario_names())} scenarios of {study.samples} samples"
        found = "no change of the rate up to 0.95 is" if isnan(change) else f"a change of the rate of {change:.2f} is"
        lines.append(f"power: with {size}, {found} called steerable and specific in 80 % of studies ({names})")
    if study.steered and not study.controls.flipped:
        lines.append("power: controls.flipped is 0, so nothing can be shown specific, and no verdict on steering is GREEN")
    elif study.steered and least_p > study.criteria.specificity_p:
        lines.append(
            f"power: {study.controls.flipped} flipped directions cannot reach p {study.criteria.specificity_p}; 9 reach 0.05"
        )
    return lines


@lru_cache
def detectable_change(
    alphas: tuple[float, ...], scenarios: int, samples: int, family: int, flipped: int, criteria: Criteria
) -> float:
    """The least change from the lowest to the highest alpha that 80 % of studies of this size call steerable and specific.

    NaN where none up to 0.95 is found so often. See `power`.
    """
    found = (change for change in CHANGES if power(change, alphas, scenarios, samples, family, flipped, criteria) >= FOUND)
    return float(next(found, float("nan")))


def power(
    change: float, alphas: Sequence[float], scenarios: int, samples: int, family: int, flipped: int, criteria: Criteria
) -> float:
    """The share of simulated studies that the rules of "steerable" and "specific" pass.

    The rate rises in a line over the ranks of the alphas, by `change` about one half, in every scenario; texts are coherent;
    flipped directions do nothing. Samples are thresholded Gaussians, correlated over the alphas. `family` is the number of
    (model, layer) that Holm's correction is for; p is that of the permutation test's normal limit.
    """
    if samples < 2:
        return 0.0
    rng = np.random.default_rng(0)
    ranks = centred_ranks(alphas)
    outcomes = simulated(rng, 0.5 + change * ranks / (len(ranks) - 1), (STUDIES, scenarios, samples))
    covariances = outcomes @ ranks
    spread = (outcomes.var(-1, ddof=1) * (ranks**2).sum()).sum((1, 2))  # of a permutation of each sample's outcomes
    significant = norm.sf(covariances.sum((1, 2)) / np.sqrt(np.maximum(spread, 1e-12))) * family <= criteria.trend_p
    slack = t.ppf((1 + LEVEL) / 2, samples - 1) * covariances.std(-1, ddof=1) / np.sqrt(samples)
    everywhere = (covariances.mean(-1) > slack).all(1)
    effect = (outcomes[..., -1] - outcomes[..., 0]).mean((1, 2))
    idle = simulated(rng, np.full(2, 0.5), (STUDIES, max(flipped, 1), scenarios * samples))
    larger = (np.abs((idle[..., 1] - idle[..., 0]).mean(-1)) >= effect[:, None]).sum(1)
    specific = (1 + larger) / (2 * (flipped + 1)) <= criteria.specificity_p if flipped else np.zeros(STUDIES, bool)
    return float((significant & everywhere & (effect >= criteria.rate_change) & specific).mean())


def simulated(rng: np.random.Generator, rates: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Outcomes of 0 and 1, correlated over the last axis, along which the rates lie: (*shape, len(rates))."""
    shared = np.sqrt(CORRELATION) * rng.standard_normal((*shape, 1))
    latent = shared + np.sqrt(1 - CORRELATION) * rng.standard_normal((*shape, len(rates)))
    return (latent < norm.ppf(np.clip(rates, 0.01, 0.99))).astype(float)
