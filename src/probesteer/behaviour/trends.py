"""Does the rate rise with the dose? A stratified permutation test, for the probe and for every control direction."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata, spearmanr

from probesteer.behaviour.effects import of_arm
from probesteer.stats import percentile_interval, permutation_p

PERMUTATIONS, BOOTSTRAPS = 2000, 2000


def trends(scores: pd.DataFrame, limit: float, seed: int = 0) -> pd.DataFrame:
    """Does the rate rise with alpha, over |alpha| <= limit? One row per (model, layer).

    spearman_min and spearman_mean: rank correlation of alpha with (positive and coherent) over samples, per scenario.
    p: one-sided stratified permutation test. Samples share random numbers across alphas, so under the null the outcomes
    of one (scenario, sample) are exchangeable over alphas; the statistic is the summed covariance of alpha's rank with
    the outcome. rate_change: (positive and coherent) at the highest minus at the lowest alpha, mean over scenarios, with
    the bootstrap interval over samples within scenarios. detectable_change: the linear change that this test finds in 80 %
    of studies of this size, at the variance of independent samples with rate one half.
    """
    within = scores[scores["alpha"].abs() <= limit]
    within = within.assign(outcome=(within["positive"] & within["coherent"]).astype(float))
    rows = []
    for (model, layer), part in within.groupby(["model", "layer"], sort=True):
        outcomes = part.pivot_table(index=["scenario", "sample"], columns="alpha", values="outcome").dropna()
        if outcomes.empty:  # no sample has a rating at every alpha
            continue
        values, alphas = outcomes.to_numpy(), outcomes.columns.to_numpy()
        ranks = rankdata(alphas) - (len(alphas) + 1) / 2
        rng = np.random.default_rng(seed)
        null = np.array([(rng.permuted(values, axis=1) @ ranks).sum() for _ in range(PERMUTATIONS)])
        by_scenario = [_spearman(own["alpha"], own["outcome"]) for _, own in part.groupby("scenario")]
        scenario = outcomes.index.get_level_values("scenario")
        changes = [(values[scenario == name, -1] - values[scenario == name, 0]) for name in scenario.unique()]
        rows.append(
            {
                "model": model,
                "layer": layer,
                "spearman_min": min(by_scenario),
                "spearman_mean": float(np.mean(by_scenario)),
                "p": permutation_p(float((values @ ranks).sum()), null),
                **_rate_change(changes, rng),
                "detectable_change": detectable_change(ranks, len(values)),
                "scenarios": len(by_scenario),
                "units": len(values),
            }
        )
    return pd.DataFrame(rows)


def _rate_change(changes: Sequence[np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """The mean change over scenarios, each (samples,), with its bootstrap interval: none from one sample a scenario."""
    resampled = np.mean([rng.choice(change, (BOOTSTRAPS, len(change))).mean(1) for change in changes], axis=0)
    lower, upper = percentile_interval(resampled) if max(map(len, changes)) > 1 else (float("nan"), float("nan"))
    change = float(np.mean([change.mean() for change in changes]))
    return {"rate_change": change, "rate_change_lower": lower, "rate_change_upper": upper}


def detectable_change(ranks: np.ndarray, units: int, power: float = 0.8, level: float = 0.05) -> float:
    """The change from the lowest to the highest alpha that the trend test finds with this power; capped at 1.

    With p_a = 1/2 + change * rank_a / (A - 1), the summed covariance has mean change * U * S / (A - 1) and, for independent
    samples, variance U * S / 4, where S is the sum of the A squared centred ranks and U the number of (scenario, sample).
    """
    if len(ranks) < 2:
        return float("nan")
    needed = (norm.ppf(1 - level) + norm.ppf(power)) * (len(ranks) - 1) / (2 * np.sqrt(units * (ranks**2).sum()))
    return float(min(1.0, needed))


def _spearman(alpha: pd.Series, outcome: pd.Series) -> float:
    """Spearman's rho; 0 for a constant outcome, which shows no trend."""
    return float(spearmanr(alpha, outcome).statistic) if outcome.nunique() > 1 else 0.0


def control_trends(scores: pd.DataFrame, arms: Sequence[str], limit: float, seed: int = 0) -> pd.DataFrame:
    """The trend table of every control arm: `trends` with a column `arm`."""
    tables = [trends(of_arm(scores, arm), limit, seed).assign(arm=arm) for arm in arms]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
