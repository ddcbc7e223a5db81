"""How the report shows its tables: rows chosen, long metrics spread into columns, what belongs together side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probesteer.study.cells import PROBE_ARM, UNSTEERED_PLAYERS

MOST_PANELS = 20  # models that a figure shows in full


def bounds_of(column: str) -> list[str]:
    """A column of an estimate, and those of its bounds."""
    return [column, f"{column}_lower", f"{column}_upper"]


def shown_success(success: pd.DataFrame, scorers: Sequence[str]) -> pd.DataFrame:
    """The rows of the report: the strict rule by the first scorer, the published one by its own scorer where it ran."""
    published = "published" if "published" in scorers else scorers[0]
    wanted = {("strict", scorers[0]), ("published", published)}
    return success[[pair in wanted for pair in zip(success["rule"], success["scorer"], strict=True)]]


def moving(success: pd.DataFrame) -> pd.DataFrame:
    """The rows in which the rate is not the same at every alpha: the others say nothing."""
    return success[success["rate_span"] > 0]


def played(deeds: pd.DataFrame) -> pd.DataFrame:
    """The rows of the probe, of unsteered and of prompted games, all games together where there are several."""
    games = ["all"] if (deeds["game"] == "all").any() else deeds["game"].unique()
    return deeds[deeds["arm"].isin([PROBE_ARM, *UNSTEERED_PLAYERS]) & deeds["game"].isin(games)]


def by_dose(rates: pd.DataFrame) -> pd.DataFrame:
    """What each dose does to the predictions and to the texts, mean over scenarios; none without a divergence."""
    if "kl" not in rates:
        return rates.head(0)
    shown = ["dose_absolute", "kl", "perplexity", "positive", "coherent"]
    return rates.groupby(["model", "layer", "alpha"])[shown].mean().reset_index()


def selected_details(details: pd.DataFrame, council: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's selected block."""
    return details.merge(council[["model", "layer"]], on=["model", "layer"])


def coinciding(detection: pd.DataFrame) -> pd.DataFrame:
    """The layers at which the sides of the test pairs coincide, so that nothing can tell them apart."""
    return detection[(detection["separation"] == 0) & (detection["std_positive"] == 0) & (detection["std_negative"] == 0)]


def spread_details(details: pd.DataFrame, metrics: Sequence[str], by: Sequence[str] = ("model", "of")) -> pd.DataFrame:
    """The metrics by model and what each row is of, or by the latter alone, one column a metric, with the bounds."""
    rows = details[details["metric"].isin(metrics)].drop_duplicates([*by, "metric"])
    return wide(rows, by) if len(rows) else rows


def wide(long: pd.DataFrame, index: Sequence[str]) -> pd.DataFrame:
    """One row per `index`, and per metric a column with its estimate and, where they are known, its bounds; in order."""
    metrics, keys = long["metric"].unique(), long[[*index]].drop_duplicates()
    pivoted = long.pivot(index=[*index], columns="metric", values=["estimate", "lower", "upper"])
    columns = {}
    for metric in metrics:
        columns[metric] = pivoted["estimate", metric]
        if pivoted["lower", metric].notna().any():
            columns[f"{metric}_lower"], columns[f"{metric}_upper"] = pivoted["lower", metric], pivoted["upper", metric]
    return keys.merge(pd.DataFrame(columns).reset_index(), on=[*index], how="left").reset_index(drop=True)


def sceptic_table(council: pd.DataFrame, details: pd.DataFrame) -> pd.DataFrame:
    """Each model's AUROC beside what is left of it without the words, the form or a scenario, and the best surface baseline."""
    metrics = ("auroc", "ablated_auroc", "residualised_auroc")
    kept = [name for metric in metrics for name in bounds_of(metric) if name in council]
    table = council[["model", "layer", *kept]].copy()
    surface = details[details["metric"] == "surface_auroc"].groupby("model")["estimate"].max()
    scenario = selected_details(details, council).query("metric == 'without_scenario'").groupby("model")["estimate"].min()
    return table.assign(best_surface=table["model"].map(surface), worst_scenario=table["model"].map(scenario))


def with_forecast(trends: pd.DataFrame, forecast: pd.DataFrame, rates: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The trends with two slopes of log-odds, both in nats per mean residual norm of the push.

    forecast_slope: of a training pair's positive against its negative side, before anything was generated (the forecast's
    gain). measured_slope: `measured_slope` of the dose-response over |alpha| <= limit.
    """
    if trends.empty or forecast.empty:
        return trends
    at, names = ["model", "layer"], {f"gain{bound}": f"forecast_slope{bound}" for bound in ("", "_lower", "_upper")}
    within = rates[rates["alpha"].abs() <= limit]
    slopes = {key: measured_slope(own) for key, own in within.groupby(at)}
    measured = [slopes.get(key, float("nan")) for key in zip(trends["model"], trends["layer"], strict=True)]
    return trends.join(forecast.set_index(at)[[*names]].rename(columns=names), on=at).assign(measured_slope=measured)


def measured_slope(rates: pd.DataFrame) -> float:
    """The slope of the log-odds of positive among coherent texts of one (model, layer), scenarios together.

    From the lowest to the highest dose, per mean residual norm; half a text is added to each side (Haldane 1956), so that a
    rate of 0 or 1 has odds.
    """
    counts = rates[["positive_coherent", "coherent"]].mul(rates["samples"], axis=0).groupby(rates["alpha"]).sum()
    positive, negative = counts["positive_coherent"], counts["coherent"] - counts["positive_coherent"]
    odds = np.log((positive + 0.5) / (negative + 0.5)).to_numpy()
    doses = rates.groupby("alpha")["dose_residual"].first().to_numpy()
    return float((odds[-1] - odds[0]) / (doses[-1] - doses[0]))
