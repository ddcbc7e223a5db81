"""Figures of the council report, each as PNG and SVG."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.files.whole import atomic
from probesteer.study.options import EMBEDDINGS

MOST_PANELS = 20
MOST_TICKS = 7  # on the axis of the dose
MOST_LAYERS = 18  # that have their number on the axis of the depth

plt.rcParams.update(
    {
        "svg.hashsalt": "probesteer",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "figure.dpi": 150,
        "savefig.bbox": "tight",
    }
)


def save(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.svg; the same data give the same bytes."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        with atomic(stem.with_suffix(suffix)) as beside:
            figure.savefig(beside, format=suffix[1:], metadata=metadata)
    plt.close(figure)


def auroc_by_layer(detection: pd.DataFrame, council: pd.DataFrame, bar: float) -> Figure:
    """Held-out AUROC against the layer, one line per model with its 95 % interval; the selected block is filled.

    Models after the first MOST_PANELS are thin grey lines.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    selected = council.set_index("model")["layer"]
    for number, (model, rows) in enumerate(detection.sort_values("layer").groupby("model")):
        if number >= MOST_PANELS:
            axis.plot(rows["layer"], rows["auroc"], color="grey", linewidth=0.4, alpha=0.5)
            continue
        colour = f"C{number}"
        axis.plot(rows["layer"], rows["auroc"], color=colour, marker="o", markerfacecolor="white", label=model)
        axis.fill_between(rows["layer"], rows["auroc_lower"], rows["auroc_upper"], color=colour, alpha=0.12, linewidth=0)
        chosen = rows[rows["layer"] == selected[model]]
        axis.plot(chosen["layer"], chosen["auroc"], color=colour, marker="o", linestyle="none")
    null = detection.groupby("layer")["permutation_auroc"].mean()
    axis.plot(null.index, null, color="grey", linestyle=":", label="permuted labels")
    axis.axhline(bar, color="grey", linewidth=0.8, linestyle="--")
    axis.annotate("bar", (1, bar), xycoords=("axes fraction", "data"), xytext=(3, -3), textcoords="offset points", color="grey")
    layers = sorted(detection["layer"].unique())
    axis.set_xticks(layers, minor=True)
    shown = layers[:: -(-len(layers) // MOST_LAYERS)]
    axis.set_xticks(shown, ["emb" if layer == EMBEDDINGS else str(layer) for layer in shown])
    axis.set(xlabel="block (output of)", ylabel="held-out AUROC", ylim=(0.3, 1.02))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.06, 0.5))
    return figure


def shown_panels(rates: pd.DataFrame) -> pd.DataFrame:
    """The rows that the dose-response figure shows: where it would have more than MOST_PANELS panels, each model's block

    with the largest change of the mean rate, and the first MOST_PANELS models.
    """
    if rates.groupby(["model", "layer"]).ngroups <= MOST_PANELS:
        return rates
    mean = rates.groupby(["model", "layer", "alpha"])["positive"].mean().groupby(["model", "layer"])
    largest = (mean.max() - mean.min()).groupby("model").idxmax().head(MOST_PANELS)
    return rates[pd.MultiIndex.from_frame(rates[["model", "layer"]]).isin(list(largest))]


def dose_ticks(alphas: pd.Series) -> list[float]:
    """At most MOST_TICKS of a grid's own alphas: 0, the extremes, and what lies between them evenly by rank."""
    grid = np.unique(alphas)
    sides = [grid[grid < 0][::-1], grid[grid > 0]]  # from the smallest push to the largest
    each = MOST_TICKS // 2 if all(map(len, sides)) else MOST_TICKS - 1
    picked = [side[np.linspace(len(side) - 1, 0, min(each, len(side))).round().astype(int)] for side in sides if len(side)]
    return sorted({0.0, *map(float, np.concatenate(picked))})


def dose_response(rates: pd.DataFrame, unit: str) -> Figure:
    """Positive rate against alpha: thin lines are scenarios, the thick one their mean, the dashed one coherent texts."""
    panels = list(shown_panels(rates).groupby(["model", "layer"]))
    columns = min(4, len(panels))
    height = int(np.ceil(len(panels) / columns))
    figure, axes = plt.subplots(
        height, columns, figsize=(2.6 * columns, 2.5 * height), squeeze=False, sharey=True, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, ((model, layer), rows) in zip(axes.flat, panels, strict=False):
        for number, (scenario, own) in enumerate(rows.groupby("scenario")):
            axis.plot(own["alpha"], own["positive"], color=f"C{number}", linewidth=0.8, alpha=0.8, label=scenario)
            axis.fill_between(own["alpha"], own["lower"], own["upper"], color=f"C{number}", alpha=0.07, linewidth=0)
        mean = rows.groupby("alpha")[["positive", "coherent"]].mean()
        axis.plot(mean.index, mean["positive"], color="black", linewidth=2, label="mean positive rate")
        axis.plot(mean.index, mean["coherent"], color="black", linestyle="--", linewidth=1, label="mean coherent rate")
        axis.set_xscale("symlog", linthresh=rows.loc[rows["alpha"] != 0, "alpha"].abs().min())
        ticks = dose_ticks(rows["alpha"])
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=7)
        axis.minorticks_off()
        axis.set(title=f"{model}, block {layer}", xlabel=f"alpha ({unit})", ylim=(-0.03, 1.03))
        axis.title.set_fontsize(9)
    for row in axes:
        row[0].set_ylabel("share of texts")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=4, fontsize=8)
    return figure
