"""What a dose of the direction does to the rate of the behaviour: success rates, dose-response, trend test."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata, spearmanr

from probesteer.errors import InputError
from probesteer.stats import percentile_interval, permutation_p, wilson_interval
from probesteer.study import BASELINE_ARM, PROBE_ARM

CELL = ["model", "layer", "scenario"]
SCORE_COLUMNS = {
    "model": "text",
    "layer": "number?",
    "scenario": "text",
    "alpha": "number",
    "sample": "number",
    "positive": "bool",
    "negative": "bool",
    "coherent": "bool",
    "coherent_published": "bool",
}
FLAGS = ["distinct_2", "repeated", "empty", "code_like"]
PERMUTATIONS, BOOTSTRAPS = 2000, 2000
CEILING, FLOOR = 0.95, 0.05  # baseline rates that leave a direction nothing to do on one side


def of_arm(scores: pd.DataFrame, arm: str = PROBE_ARM) -> pd.DataFrame:
    """The steered rows of an arm with the baseline they are measured against; every row where there are no arms."""
    rows = scores[scores["arm"].isin([arm, BASELINE_ARM])] if "arm" in scores else scores
    return rows[rows["layer"].notna()].astype({"layer": int})


def mean_success(success: pd.DataFrame) -> pd.DataFrame:
    """Per (model, layer, rule, scorer) the mean success over the scenarios that are not stuck, and how many those are.

    `all_scenarios` is the mean over all of them, as the published tables give it.
    """
    by = ["model", "layer", "rule", "scorer"]
    free = success[success["stuck"] == ""]
    table = success.groupby(by)["success_rate"].mean().rename("all_scenarios").to_frame()
    table.insert(0, "success_rate", free.groupby(by)["success_rate"].mean())
    table["scenarios"] = free.groupby(by).size()
    return table.fillna({"scenarios": 0}).astype({"scenarios": int}).reset_index()


def control_trends(scores: pd.DataFrame, arms: Sequence[str], limit: float, seed: int = 0) -> pd.DataFrame:
    """The trend table of every control arm: `trends` with a column `arm`."""
    tables = [trends(of_arm(scores, arm), limit, seed).assign(arm=arm) for arm in arms]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def dose_response(scores: pd.DataFrame) -> pd.DataFrame:
    """Rates per (model, layer, scenario, alpha) with the Wilson interval of the positive rate.

    positive, negative, coherent, coherent_published, ended: shares of the samples. positive_coherent, negative_coherent:
    shares that are both; a text that is not coherent is neither, and counts in `incoherent`. Means of what else the texts
    carry: nll, distinct_2, repeated, empty, code_like.
    """
    both = scores.assign(
        positive_coherent=scores["positive"] & scores["coherent"],
        negative_coherent=scores["negative"] & scores["coherent"],
        incoherent=~scores["coherent"],
    )
    kinds = ["positive", "negative", "coherent", "coherent_published", "positive_coherent", "negative_coherent", "incoherent"]
    kinds += [kind for kind in ("ended", "nll", *FLAGS) if kind in scores]
    grouped = both.groupby([*CELL, "alpha"], sort=True)
    rates = grouped[kinds].mean()
    rates.insert(0, "samples", grouped.size())
    rates["lower"], rates["upper"] = wilson_interval(rates["positive"] * rates["samples"], rates["samples"])
    return rates.reset_index()


def published_success(rates: pd.DataFrame) -> pd.Series:
    """The published rule: for alpha != 0, (alpha > 0) == (effect > 0).

    effect = positive rate at alpha minus that at 0, coherent or not. A zero effect at a negative alpha counts as a
    success, so the rule's null success rate is one half.
    """
    return (rates["alpha"] > 0) == (rates["positive"] - rates["positive_at_0"] > 0)


def strict_success(rates: pd.DataFrame) -> pd.Series:
    """The strict rule: the coherent rate of the side that alpha pushes to must exceed its rate at 0.

    alpha > 0: P(positive and coherent | alpha) > P(positive and coherent | 0).
    alpha < 0: P(negative and coherent | alpha) > P(negative and coherent | 0).
    A zero effect is never a success, and neither is a breakdown. For a scorer whose evidence is a count, negative means
    evidence < 0, so an empty text is not negative.
    """
    up = rates["positive_coherent"] > rates["positive_coherent_at_0"]
    down = rates["negative_coherent"] > rates["negative_coherent_at_0"]
    return up.where(rates["alpha"] > 0, down)


RULES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {"published": published_success, "strict": strict_success}


def success_rates(scores: pd.DataFrame, rule: str) -> pd.DataFrame:
    """One row per (model, layer, scenario): the share of non-zero alphas that succeed under a rule, and of each sign.

    coherence is the share of coherent texts over all alphas; baseline the positive rate at 0, and `stuck` says "ceiling" or
    "floor" where it leaves one sign of alpha nothing to do.
    Raises InputError for an unknown rule or a (model, layer, scenario) without alpha = 0 or without another alpha.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: choose one of {', '.join(RULES)}")
    rates = dose_response(scores)
    at_zero = rates[rates["alpha"] == 0].set_index(CELL).drop(columns="alpha").add_suffix("_at_0")
    rates = rates.join(at_zero, on=CELL)
    if rates["samples_at_0"].isna().any():
        cell = rates.loc[rates["samples_at_0"].isna(), CELL].iloc[0].tolist()
        raise InputError(f"model, layer, scenario {cell}: no rows with alpha 0, which effects are measured against")
    steered = rates[rates["alpha"] != 0]
    if missing := set(map(tuple, rates[CELL].values)) - set(map(tuple, steered[CELL].values)):
        raise InputError(f"model, layer, scenario {list(min(missing))}: no rows with an alpha other than 0")
    steered = steered.assign(success=RULES[rule](steered).astype(float))
    grouped = steered.groupby(CELL, sort=True)
    table = grouped["success"].mean().rename("success_rate").to_frame()
    table["success_positive"] = steered[steered["alpha"] > 0].groupby(CELL)["success"].mean()
    table["success_negative"] = steered[steered["alpha"] < 0].groupby(CELL)["success"].mean()
    table["baseline"] = grouped["positive_at_0"].first()
    table["stuck"] = np.select([table["baseline"] >= CEILING, table["baseline"] <= FLOOR], ["ceiling", "floor"], "")
    table["coherence"] = rates.groupby(CELL)["coherent"].mean()
    table["alphas"] = grouped.size()
    table["samples"] = grouped["samples"].sum()
    return table.reset_index().assign(rule=rule)


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
        values, alphas = outcomes.to_numpy(), outcomes.columns.to_numpy()
        ranks = rankdata(alphas) - (len(alphas) + 1) / 2
        rng = np.random.default_rng(seed)
        null = np.array([(rng.permuted(values, axis=1) @ ranks).sum() for _ in range(PERMUTATIONS)])
        by_scenario = [_spearman(own["alpha"], own["outcome"]) for _, own in part.groupby("scenario")]
        scenario = outcomes.index.get_level_values("scenario")
        changes = [(values[scenario == name, -1] - values[scenario == name, 0]) for name in scenario.unique()]
        resampled = np.mean([rng.choice(change, (BOOTSTRAPS, len(change))).mean(1) for change in changes], axis=0)
        lower, upper = percentile_interval(resampled)
        rows.append(
            {
                "model": model,
                "layer": layer,
                "spearman_min": min(by_scenario),
                "spearman_mean": float(np.mean(by_scenario)),
                "p": permutation_p(float((values @ ranks).sum()), null),
                "rate_change": float(np.mean([change.mean() for change in changes])),
                "rate_change_lower": lower,
                "rate_change_upper": upper,
                "detectable_change": detectable_change(ranks, len(values)),
                "scenarios": len(by_scenario),
                "units": len(values),
            }
        )
    return pd.DataFrame(rows)


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
