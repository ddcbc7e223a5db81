"""How far an interval of agreement, and the share of samples that move the other way, can be trusted."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd

from probesteer.behaviour.agreement import interval, kappa
from probesteer.behaviour.anti_steered import anti_steered

Run = Callable[[partial, int], list]


def simulated_levels(seed: int, clusters: int, true: float, copies: int = 3) -> tuple[float, tuple[float, float, float]]:
    """Cohen's kappa of two raters of an endless supply of texts, and its interval from so many clusters of texts.

    The raters see the same level with probability `true`, and else guess each by themselves, so that this is kappa; texts of a
    cluster share whether they are clear, and their level, with probability 1/2.
    """
    rng = np.random.default_rng([seed, clusters, int(100 * true)])

    def shared(own: np.ndarray, common: np.ndarray) -> np.ndarray:
        return np.where(rng.random(own.shape) < 0.5, common[:, None], own).ravel()

    size = (clusters, copies)
    clear = shared(rng.random(size) < true, rng.random(clusters) < true).astype(bool)
    level = shared(rng.integers(-1, 2, size), rng.integers(-1, 2, clusters))
    first, second = (np.where(clear, level, rng.integers(-1, 2, clusters * copies)) for _ in range(2))
    groups = np.repeat(np.arange(clusters), copies).astype(str)
    return true, interval(kappa, np.array([first, second], dtype=float), groups)


def agreements(run: Run, sets: int) -> Iterator[str]:
    """Intervals of Cohen's kappa, from clusters of three texts."""
    yield "| kappa | clusters of 3 texts | covers | too high | too low | mean width |\n|---|---|---|---|---|---|"
    for true in (0.0, 0.4, 0.6, 0.8, 0.95):
        for clusters in (20, 60, 100):
            found = run(partial(simulated_levels, clusters=clusters, true=true), sets)
            high = np.mean([lower > truth for truth, (_, lower, _) in found])
            low = np.mean([upper < truth for truth, (*_, upper) in found])
            width = np.mean([upper - lower for _, (_, lower, upper) in found])
            yield f"| {true} | {clusters} | {1 - high - low:.3f} | {high:.3f} | {low:.3f} | {width:.2f} |"


def planted(seed: int, share: float, samples: int, noise: float, doses: Sequence[float]) -> pd.DataFrame:
    """Scores of samples that follow the push, but for a share that move the other way; noise as often as `noise`."""
    rng = np.random.default_rng(seed)
    against = np.repeat(rng.random(samples) < share, len(doses))
    alphas, sample = np.tile(doses, samples), np.repeat(np.arange(samples), len(doses))
    evidence = np.sign(np.where(against, -alphas, alphas))
    evidence = np.where(rng.random(len(alphas)) < noise, rng.choice([-1, 0, 1], len(alphas)), evidence).astype(int)
    table = pd.DataFrame({"model": "m", "layer": 3, "alpha": alphas, "sample": sample, "evidence": evidence, "coherent": True})
    table = table.assign(arm=np.where(alphas == 0, "baseline", "probe"), scenario=np.where(sample % 2, "a", "b"))
    return table.assign(positive=evidence > 0, negative=evidence < 0)


def found_share(seed: int, share: float, samples: int, noise: float, doses: Sequence[float]) -> tuple[float, bool]:
    """The share of those that move which move the other way, and whether its interval holds the planted one."""
    row = anti_steered(planted(seed, share, samples, noise, doses), 5).iloc[-1]
    return row["anti_of_moved"], bool(row["anti_of_moved_lower"] <= share <= row["anti_of_moved_upper"])


def anti_shares(run: Run, sets: int) -> Iterator[str]:
    """A planted share of samples that move the other way, by the noise of the score and the number of doses."""
    yield "| planted | samples | noise | doses | mean found | farther than 5 points | interval holds it |"
    yield "|---|---|---|---|---|---|---|"
    for share in (0.1, 0.3):
        for samples, noise, half in ((100, 0.0, 1), (1000, 0.0, 1), (1000, 0.2, 1), (1000, 0.5, 1), (1000, 0.5, 3)):
            doses = np.arange(-half, half + 1.0)
            rows = run(partial(found_share, share=share, samples=samples, noise=noise, doses=doses), sets)
            shares, held = (np.array(column) for column in zip(*rows, strict=True))
            far = np.mean(np.abs(shares - share) > 0.05)
            yield f"| {share} | {samples} | {noise} | {len(doses)} | {shares.mean():.3f} | {far:.3f} | {held.mean():.3f} |"
