"""What a dose of the direction does to the rate of the behaviour: dose-response, and success by two rules."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from probesteer.errors import InputError
from probesteer.stats import percentile_interval, wilson_interval
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM

CELL = ["model", "layer", "scenario"]
SCORE_COLUMNS = {
    "model": "text",
    "layer": "number?",
    "scenario": "text",
    "alpha": "number",
    "sample": "number",
    "positive": "bool?",
    "negative": "bool?",
    "coherent": "bool",
    "coherent_published": "bool",
}
FLAGS = ["distinct_2", "repeated", "empty", "code_like"]
OPTIONAL_COLUMNS = {"arm": "text", "evidence": "number?", "ended": "bool", "nll": "number?", "distinct_2": "number"}
MEANS = ["nll", "kl", "perplexity"]
OPTIONAL_COLUMNS |= dict.fromkeys(["kl", "perplexity"], "number?")
OPTIONAL_COLUMNS |= dict.fromkeys(["repeated", "empty", "code_like"], "bool")
DRAWS = 2000  # of a bootstrap
CEILING, FLOOR = 0.95, 0.05  # baseline rates that leave a direction nothing to do on one side


def of_arm(scores: pd.DataFrame, arm: str = PROBE_ARM) -> pd.DataFrame:
    """The steered rows of an arm with the baseline they are measured against; every row where there are no arms.

    Rows without a layer, which no push was added to, and rows without a rating are left out.
    """
    rows = scores[scores["arm"].isin([arm, BASELINE_ARM])] if "arm" in scores else scores
    return rated(rows[rows["layer"].notna()]).astype({"layer": int})


def rated(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a rating: a judge may have failed on some."""
    return scores[scores["positive"].notna()].astype({"positive": bool, "negative": bool})


def dose_response(scores: pd.DataFrame) -> pd.DataFrame:
    """Rates per (model, layer, scenario, alpha) with the Wilson interval of the positive rate.

    positive, negative, coherent, coherent_published, ended: shares of the samples. positive_coherent, negative_coherent:
    shares that are both; a text that is not coherent is neither, and counts in `incoherent`. coherent_rate: positive among
    the coherent, NaN where none is. Means of what else the texts carry: nll, distinct_2, repeated, empty, code_like; and kl and
    perplexity of `lm.likelihood.Shift`, one value in a cell.
    """
    both = scores.assign(
        positive_coherent=scores["positive"] & scores["coherent"],
        negative_coherent=scores["negative"] & scores["coherent"],
        incoherent=~scores["coherent"],
    )
    kinds = ["positive", "negative", "coherent", "coherent_published", "positive_coherent", "negative_coherent", "incoherent"]
    kinds += [kind for kind in ("ended", *MEANS, *FLAGS) if kind in scores]
    grouped = both.groupby([*CELL, "alpha"], sort=True)
    rates = grouped[kinds].mean()
    rates.insert(0, "samples", grouped.size())
    rates["coherent_rate"] = (rates["positive_coherent"] / rates["coherent"]).where(rates["coherent"] > 0)
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

    success_rate comes with its bootstrap interval over samples (`success_intervals`); coherence is the share of coherent texts
    over all alphas; baseline the positive rate at 0, and `stuck` says "ceiling" or "floor" where it leaves one sign of alpha
    nothing to do; rate_span is the highest less the lowest positive rate: at 0 the scorer sees nothing happen.
    Raises InputError for an unknown rule or a (model, layer, scenario) without alpha = 0 or without another alpha.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: choose one of {', '.join(RULES)}")
    rates = dose_response(scores)
    at_zero = rates[rates["alpha"] == 0].set_index(CELL).drop(columns="alpha").add_suffix("_at_0")
    rates = rates.join(at_zero, on=CELL)
    if (lost := rates["samples_at_0"].isna()).any():
        raise InputError(f"{_named(rates[lost].iloc[0])}: no rows with alpha 0, which effects are measured against")
    steered = rates[rates["alpha"] != 0]
    if (flat := rates.groupby(CELL)["alpha"].transform("nunique") < 2).any():
        raise InputError(f"{_named(rates[flat].iloc[0])}: no rows with an alpha other than 0")
    steered = steered.assign(success=RULES[rule](steered).astype(float))
    grouped = steered.groupby(CELL, sort=True)
    table = grouped["success"].mean().rename("success_rate").to_frame().join(success_intervals(scores, rule))
    table["success_positive"] = steered[steered["alpha"] > 0].groupby(CELL)["success"].mean()
    table["success_negative"] = steered[steered["alpha"] < 0].groupby(CELL)["success"].mean()
    table["baseline"] = grouped["positive_at_0"].first()
    table["stuck"] = np.select([table["baseline"] >= CEILING, table["baseline"] <= FLOOR], ["ceiling", "floor"], "")
    table["rate_span"] = rates.groupby(CELL)["positive"].agg(np.ptp)
    table["coherence"] = rates.groupby(CELL)["coherent"].mean()
    table["alphas"] = grouped.size()
    table["samples"] = grouped["samples"].sum()
    return table.reset_index().assign(rule=rule)


def _named(row: pd.Series) -> str:
    """The cell of a row, for a message."""
    return ", ".join(f"{name} {row[name]}" for name in CELL)


def success_intervals(scores: pd.DataFrame, rule: str, seed: int = 0) -> pd.DataFrame:
    """Per (model, layer, scenario) the bootstrap interval of the success rate, over samples; NaN for a single sample.

    A sample is drawn with all its alphas, since these share random numbers.
    """
    rng = np.random.default_rng(seed)
    bounds = {}
    for cell, own in scores.groupby(CELL, sort=True):
        number, samples = pd.factorize(own["sample"])
        weights = rng.multinomial(len(samples), np.full(len(samples), 1 / len(samples)), DRAWS) if len(samples) > 1 else None
        bounds[cell] = (np.nan, np.nan) if weights is None else percentile_interval(_redrawn(own, weights[:, number], rule))
    index = pd.MultiIndex.from_tuples(bounds, names=CELL)
    return pd.DataFrame(list(bounds.values()), index, ["success_rate_lower", "success_rate_upper"])


def _redrawn(own: pd.DataFrame, weights: np.ndarray, rule: str) -> np.ndarray:
    """The success rate of one cell's texts, each counted as often as `weights` (draws, texts) says: (draws,)."""
    sides = {side: (own[side] & own["coherent"]).to_numpy() for side in ("positive", "negative")}
    marks = {"positive": own["positive"].to_numpy(), **{f"{side}_coherent": both for side, both in sides.items()}}

    def rates(alpha: float) -> dict[str, np.ndarray]:
        at = (own["alpha"] == alpha).to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: weights[:, at] @ mark[at] / weights[:, at].sum(1) for name, mark in marks.items()}

    at_zero = {f"{name}_at_0": rate for name, rate in rates(0).items()}
    alphas = [alpha for alpha in sorted(own["alpha"].unique()) if alpha != 0]
    return np.mean([RULES[rule](pd.DataFrame({"alpha": alpha, **rates(alpha), **at_zero})) for alpha in alphas], axis=0)


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
