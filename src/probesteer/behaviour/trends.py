"""Does the rate rise with the dose? A stratified permutation test, for the probe and for every random direction."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from probesteer.behaviour.changes import Interval, bounded, mean_change, paired_change
from probesteer.behaviour.effects import of_arm
from probesteer.stats import mean_interval, permutation_p

PERMUTATIONS = 1000
AT = ["model", "layer"]


def trends(scores: pd.DataFrame, limit: float, seed: int = 0, permutations: int = PERMUTATIONS) -> pd.DataFrame:
    """Does the rate rise with alpha, over |alpha| <= limit? One row per (model, layer).

    spearman_min and spearman_mean: rank correlation of alpha with (positive and coherent) over samples, per scenario.
    p: one-sided stratified permutation test. Samples share random numbers across alphas, so under the null the outcomes
    of one (scenario, sample) are exchangeable over alphas; the statistic is the summed covariance of alpha's rank with
    the outcome. rate_change: of (positive and coherent) from the lowest to the highest alpha, mean over scenarios;
    coherent_rate_change: the same of positive among coherent texts, which breaking text does not move.
    """
    rows = []
    for model, layer, outcomes in _outcomes(scores, limit):
        values = outcomes["outcome"].to_numpy()
        ranks = centred_ranks(outcomes["outcome"].columns)
        rng = np.random.default_rng(seed)
        null = np.array([(rng.permuted(values, axis=1) @ ranks).sum() for _ in range(permutations)])
        own = scenario_rows(outcomes)
        spearmans = [row["spearman"] for row in own]
        row = {"spearman_min": min(spearmans), "spearman_mean": float(np.mean(spearmans))}
        row |= {"p": permutation_p(float((values @ ranks).sum()), null)}
        row |= bounded("rate_change", mean_change(_interval(one, "rate_change") for one in own))
        row |= bounded("coherent_rate_change", mean_change(_interval(one, "coherent_rate_change") for one in own))
        rows.append({"model": model, "layer": layer, **row, "scenarios": len(own), "units": len(values)})
    return pd.DataFrame(rows)


def scenario_trends(scores: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The same in each scenario: one row per (model, layer, scenario) of `scenario_rows`."""
    found = _outcomes(scores, limit)
    return pd.DataFrame([{"model": model, "layer": layer, **row} for model, layer, own in found for row in scenario_rows(own)])


def _outcomes(scores: pd.DataFrame, limit: float) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Per (model, layer) the outcomes by (scenario, sample) and alpha, of the samples that have a rating at every alpha.

    "outcome" is (positive and coherent), "given" is positive where the text is coherent and NaN elsewhere: 0 and 1.
    """
    within = scores[scores["alpha"].abs() <= limit]
    given = within["positive"].astype(float).where(within["coherent"])
    within = within.assign(outcome=given.fillna(0), given=given)
    for (model, layer), part in within.groupby(AT, sort=True):
        table = part.pivot(index=["scenario", "sample"], columns="alpha", values=["outcome", "given"])
        if len(table := table[table["outcome"].notna().all(axis=1)]):
            yield model, layer, table


def scenario_rows(outcomes: pd.DataFrame) -> list[dict[str, Any]]:
    """What `_outcomes` says of each scenario.

    rate, coherent and coherent_rate, which is positive among coherent texts, at the lowest and the highest alpha; their
    changes (`changes.paired_change`); slope: of the least-squares line of the rate on the rank of alpha, in rate per step of
    the grid, with Student's t interval over samples; spearman.
    """
    rows = []
    for scenario, own in outcomes.groupby(level="scenario", sort=True):
        outcome, given = own["outcome"], own["given"].to_numpy()
        values, ranks = outcome.to_numpy(), centred_ranks(outcome.columns)
        row: dict[str, Any] = {"scenario": scenario, "samples": len(own)}
        for name, at in (("low", 0), ("high", -1)):
            known = given[~np.isnan(given[:, at]), at]
            row |= {f"alpha_{name}": outcome.columns[at], f"rate_{name}": values[:, at].mean()}
            row |= {f"coherent_{name}": len(known) / len(own), f"coherent_rate_{name}": known.mean() if len(known) else np.nan}
        row |= bounded("rate_change", paired_change(values[:, 0], values[:, -1]))
        row |= bounded("coherent_rate_change", paired_change(given[:, 0], given[:, -1]))
        row |= bounded("slope", mean_interval(values @ ranks / (ranks**2).sum()))
        doses = np.tile(outcome.columns, len(values))
        row["spearman"] = float(spearmanr(doses, values.ravel()).statistic) if np.ptp(values) else 0.0
        rows.append(row)
    return rows


def centred_ranks(alphas: Sequence[float]) -> np.ndarray:
    """The ranks of the doses less their mean."""
    return rankdata(alphas) - (len(alphas) + 1) / 2


def _interval(row: dict[str, float], name: str) -> Interval:
    return row[name], row[f"{name}_lower"], row[f"{name}_upper"]


def control_trends(scores: pd.DataFrame, arms: Sequence[str], limit: float, seed: int = 0) -> pd.DataFrame:
    """The trend table of every random direction: `trends` with a column `arm`.

    Its p is that of any effect at all, up or down by chance, of this one direction: it says nothing of what is specific.
    """
    tables = [trends(of_arm(scores, arm), limit, seed).assign(arm=arm) for arm in arms]
    return pd.concat(tables, ignore_index=True).rename(columns={"p": "p_any_effect"}) if tables else pd.DataFrame()
