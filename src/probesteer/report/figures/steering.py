"""Figures of what a push does: dose-response beside control arms, baselines, scenarios that resist, blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probesteer.report.figures.style import (
    COLOURS,
    SOFT,
    WIDTH,
    Drawn,
    below,
    dose_ticks,
    first_models,
    forest,
    label_lines,
    layer_ticks,
    look,
    name_rows,
    panels,
)
from probesteer.report.views import MOST_PANELS, bounds_of
from probesteer.study.cells import FLIPPED, PROBE_ARM

AT = ["model", "layer"]
ARM_LOOKS: dict[str, dict[str, Any]] = {
    "flipped": {"color": COLOURS[4], "marker": "x"},
    "random": {"color": COLOURS[3], "marker": "+"},
}


def shown_panels(arms: pd.DataFrame) -> list[tuple[str, int]]:
    """The (model, layer) that a figure with a panel each shows.

    Where there would be more than MOST_PANELS, each model's block at which the probe's rate changes most, and the first
    MOST_PANELS models.
    """
    probe = arms[arms["arm"] == PROBE_ARM]
    change = probe.groupby(AT)["rate"].agg(np.ptp)
    if len(change) <= MOST_PANELS:
        return list(change.index)
    return list(change.groupby("model").idxmax().head(MOST_PANELS))


def dose_response(arms: pd.DataFrame, rates: pd.DataFrame, unit: str) -> Drawn:
    """The rate of positive and coherent texts against alpha, mean over scenarios with its interval: the probe's direction

    beside the control ones; dashed the share of coherent texts, faint the scenarios.
    """
    shown = shown_panels(arms)
    figure, axes = panels(len(shown), 2.3, sharey=True)
    for axis, (model, layer) in zip(axes, shown, strict=True):
        own = rates[(rates["model"] == model) & (rates["layer"] == layer)]
        for _scenario, rows in own.groupby("scenario"):
            axis.plot(rows["alpha"], rows["positive_coherent"], color=COLOURS[5], linewidth=0.7, alpha=0.55, zorder=1)
        coherent = own.groupby("alpha")["coherent"].mean()
        axis.plot(coherent.index, coherent, color=SOFT, linestyle="--", linewidth=1, label="coherent texts")
        _arms(axis, arms[(arms["model"] == model) & (arms["layer"] == layer)])
        _dose_axis(axis, own["alpha"], unit)
        axis.set(title=f"{model}, block {layer}", ylim=(-0.03, 1.03))
    axes[0].plot([], [], color=COLOURS[5], linewidth=0.7, label="one scenario")
    axes[0].set_ylabel("share of texts")
    below(figure, axes[0], 5)
    return Drawn(figure, arms)


def _arms(axis: Axes, arms: pd.DataFrame) -> None:
    """The probe's line with its band, and what every control arm does at the doses it was tried at."""
    probe = arms[arms["arm"] == PROBE_ARM].sort_values("alpha")
    axis.fill_between(probe["alpha"], probe["rate_lower"], probe["rate_upper"], color=COLOURS[0], alpha=0.15, linewidth=0)
    for kind, style in ARM_LOOKS.items():
        rows = arms[arms["arm"].str.startswith(f"{kind}-")]
        name = f"{'shuffled-label' if kind == FLIPPED else kind} directions"
        axis.plot(rows["alpha"], rows["rate"], linestyle="none", alpha=0.8, markersize=4, zorder=3, label=name, **style)
    axis.plot(probe["alpha"], probe["rate"], zorder=4, label="the probe", **look(0))


def _dose_axis(axis: Axes, alphas: pd.Series, unit: str) -> None:
    if (alphas != 0).any():
        axis.set_xscale("symlog", linthresh=alphas[alphas != 0].abs().min())
    ticks = dose_ticks(alphas)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=7)
    axis.minorticks_off()
    axis.set_xlabel(f"alpha ({unit})")


def baseline_behaviour(rates: pd.DataFrame) -> Drawn:
    """What each model does unsteered: the rate of positive texts per scenario with Wilson's interval."""
    unsteered = rates[rates["alpha"] == 0].drop_duplicates(["model", "scenario"])
    data = unsteered.rename(columns={"lower": "positive_lower", "upper": "positive_upper"})
    data = data[["model", "scenario", "samples", *bounds_of("positive")]]
    return Drawn(_by_scenario(data, "positive", "rate, unsteered", (-0.03, 1.03)), data)


def resistance_by_scenario(scenarios: pd.DataFrame, success: pd.DataFrame) -> Drawn:
    """How far the push moves each scenario: the change of the rate from the lowest to the highest alpha of the trend range.

    At each model's block with the largest mean change. Hollow: the baseline is at the ceiling or the floor, so that half of the
    alphas have nothing to do.
    """
    best = scenarios.groupby(AT)["rate_change"].mean().groupby("model").idxmax()
    own = scenarios[pd.MultiIndex.from_frame(scenarios[AT]).isin(list(best))]
    stuck = success.drop_duplicates([*AT, "scenario"])[[*AT, "scenario", "stuck"]]
    data = own.merge(stuck, on=[*AT, "scenario"], how="left")[[*AT, "scenario", *bounds_of("rate_change"), "stuck"]]
    data = data.assign(stuck=data["stuck"].fillna(""))
    return Drawn(_by_scenario(data, "rate_change", "change of the rate", (-1.05, 1.05)), data)


def _by_scenario(data: pd.DataFrame, column: str, what: str, limits: tuple[float, float]) -> Figure:
    """A panel per model, in it a row per scenario."""
    names, scenarios = first_models(data), sorted(data["scenario"].unique())
    height = 0.75 + 0.2 * len(scenarios)
    figure, axes = panels(len(names), height, sharey=True, sharex=True)
    for number, (axis, (model, rows)) in enumerate(zip(axes, _models(data, names), strict=True)):
        rows = rows.set_index("scenario").reindex(scenarios).reset_index()
        hollow = rows["stuck"].isin(["ceiling", "floor"]) if "stuck" in rows else None
        axis.axvline(0, color=SOFT, linewidth=0.8, linestyle=":")
        forest(axis, range(len(rows)), rows, column, hollow, **look(number))
        layer = f", block {rows['layer'].dropna().iloc[0]:.0f}" if "layer" in rows else ""
        axis.set(title=f"{model}{layer}", xlim=limits, xlabel=what)
    name_rows(axes[0], scenarios)
    return figure


def _models(data: pd.DataFrame, names: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in names:
        yield name, data[data["model"] == name]


def steering_by_layer(trends: pd.DataFrame, specificity: pd.DataFrame) -> Drawn:
    """The change of the rate by the block that is steered at, a line per model with its interval.

    The ticks beside each are the largest change, up or down, of a direction of shuffled labels there.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axis = figure.subplots()
    largest = specificity[[*AT, "flipped_largest"]] if len(specificity) else pd.DataFrame(columns=[*AT, "flipped_largest"])
    data = trends.merge(largest, on=AT, how="left")[[*AT, *bounds_of("rate_change"), "flipped_largest"]]
    names, ends = first_models(data), []
    for number, (model, rows) in enumerate(_models(data, names)):
        style = look(number)
        x = rows["layer"] + (number - (len(names) - 1) / 2) * 0.5 / max(len(names), 4)  # models side by side
        axis.vlines(x, rows["rate_change_lower"], rows["rate_change_upper"], color=style["color"], linewidth=1.2)
        axis.plot(x, rows["rate_change"], linewidth=0.9, **style)
        axis.plot(x, rows["flipped_largest"], linestyle="none", marker="_", color=SOFT, markersize=9, markeredgewidth=1.6)
        ends.append((str(model), float(x.iloc[-1]), float(rows["rate_change"].iloc[-1]), style["color"]))
    axis.plot(
        [], [], linestyle="none", marker="_", color=SOFT, markersize=9, label="largest change by a shuffled-label direction"
    )
    axis.axhline(0, color=SOFT, linewidth=0.8, linestyle=":")
    layers = data["layer"].unique()
    layer_ticks(axis, layers)
    axis.set(xlabel="steered block", ylabel="change of the rate", xlim=(layers.min() - 0.6, layers.max() + 0.6))
    label_lines(axis, ends)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.12), fontsize=8)
    return Drawn(figure, data)


def behavioural_correlation(correlation: pd.DataFrame) -> Drawn:
    """How what is read goes with the score of a text, or the deed of a game: Pearson's correlation with its interval.

    Over all texts, and within scenarios; columns model, author (who wrote), against, texts, block, scope, pearson. What has no
    interval is left out: of two texts a correlation is 1 or -1, whatever they are.
    """
    scopes = {"overall": look(0), "within scenarios": look(1)}
    data = correlation[correlation["scope"].isin(list(scopes)) & correlation["pearson_lower"].notna()]
    keys = ["model", "author", "against", "texts", "block"]
    groups = data.loc[data["model"].isin(first_models(data)), keys].drop_duplicates().reset_index(drop=True)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.32 * len(groups)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color=SOFT, linewidth=0.8, linestyle=":")
    for offset, (scope, style) in zip((-0.15, 0.15), scopes.items(), strict=True):
        rows = groups.merge(data[data["scope"] == scope], on=keys, how="left")
        forest(axis, np.arange(len(rows)) + offset, rows, "pearson", **style)
        axis.plot([], [], linestyle="none", label=scope, **style)
    kinds = {"score": "texts", "deed": "games"}
    authors = ["" if row.author == row.model else f" of {row.author}" for row in groups.itertuples()]
    named = [f"{row.model}, block {row.block}: {row.texts} {kinds[row.against]}" for row in groups.itertuples()]
    name_rows(axis, [row + author for row, author in zip(named, authors, strict=True)])
    axis.set(xlabel="correlation of projection with score or deed", xlim=(-1.05, 1.05))
    below(figure, axis, 2)
    return Drawn(figure, data[[*keys, "scope", *bounds_of("pearson")]])
