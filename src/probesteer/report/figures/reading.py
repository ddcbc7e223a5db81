"""Figures of what is read: AUROC by layer, against chance, without the words, and where in depth each model reads it."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.report.figures.style import (
    COLOURS,
    FAINT,
    INK,
    PAPER,
    SOFT,
    WIDTH,
    Drawn,
    first_models,
    forest,
    label_lines,
    layer_ticks,
    look,
    name_rows,
)
from probesteer.report.views import bounds_of, sceptic_table
from probesteer.study.options import EMBEDDINGS

NULLS = {  # columns of the council's table, what they are, and how they are drawn
    "random_auroc": ("random directions", {"color": SOFT, "marker": "s"}),
    "matched_auroc": ("random, of the activations' covariance", {"color": COLOURS[4], "marker": "D"}),
    "permutation_auroc": ("refitted on permuted labels", {"color": COLOURS[3], "marker": "^"}),
}
WITHOUT = {
    "auroc": ("as it is", {"color": COLOURS[0], "marker": "o"}),
    "ablated_auroc": ("telling words replaced", {"color": COLOURS[1], "marker": "s"}),
    "residualised_auroc": ("length and formatting taken out", {"color": COLOURS[2], "marker": "D"}),
    "best_surface": ("best surface baseline, no model", {"color": SOFT, "marker": "X"}),
}


def auroc_by_layer(detection: pd.DataFrame, council: pd.DataFrame, bar: float) -> Drawn:
    """Held-out AUROC against the layer, a line per model with its 95 % interval; the selected block is filled.

    Models after the first MOST_PANELS are thin grey lines.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    axis = figure.subplots()
    selected, named = council.set_index("model")["layer"], first_models(detection)
    ends = []
    for number, (model, rows) in enumerate(detection.sort_values("layer").groupby("model")):
        if model not in named:
            axis.plot(rows["layer"], rows["auroc"], color=FAINT, linewidth=0.5, zorder=1)
            continue
        style = look(number)
        axis.fill_between(rows["layer"], rows["auroc_lower"], rows["auroc_upper"], color=style["color"], alpha=0.1, linewidth=0)
        axis.plot(rows["layer"], rows["auroc"], markerfacecolor=PAPER, **style)
        chosen = rows[rows["layer"] == selected[model]]
        axis.plot(chosen["layer"], chosen["auroc"], linestyle="none", markersize=7, **style)
        ends.append((str(model), float(rows["layer"].iloc[-1]), float(rows["auroc"].iloc[-1]), style["color"]))
    null = detection.groupby("layer")["permutation_auroc"].mean()
    axis.plot(null.index, null, color=SOFT, linestyle=":", linewidth=1.2)
    axis.axhline(bar, color=SOFT, linewidth=0.8, linestyle="--")
    first = float(detection["layer"].min())
    for text, y in ((f"bar {bar:g}", bar), ("permuted labels", float(null.iloc[0]))):
        axis.annotate(text, (first, y), xytext=(-2, 3), textcoords="offset points", color=SOFT, size=7.5)
    layer_ticks(axis, detection["layer"].unique())
    axis.set(xlabel="block (output of)", ylabel="held-out AUROC", ylim=(min(0.3, float(detection["auroc"].min()) - 0.05), 1.03))
    label_lines(axis, ends)
    shown = ["model", "layer", *bounds_of("auroc"), "permutation_auroc"]
    return Drawn(figure, detection[shown].assign(selected=detection["layer"] == detection["model"].map(selected)))


def random_baseline(council: pd.DataFrame) -> Drawn:
    """Each model's probe, with its 95 % interval, among directions that know nothing: mean and central 95 % of each kind."""
    kinds = {column: NULLS[column] for column in NULLS if column in council}
    kinds["auroc"] = ("the probe", {"color": COLOURS[0], "marker": "o"})
    return _beside(council, kinds)


def lexical_ablation(council: pd.DataFrame, details: pd.DataFrame) -> Drawn:
    """The AUROC of each model's selected block, and what is left of it without the words or the form; without any model."""
    table = sceptic_table(council, details)
    surface = details[details["metric"] == "surface_auroc"]
    best = surface.loc[surface.groupby("model")["estimate"].idxmax()].set_index("model")
    table = table.assign(**{f"best_surface_{bound}": table["model"].map(best[bound]) for bound in ("lower", "upper")})
    kinds = {column: kind for column, kind in WITHOUT.items() if column in table}
    return _beside(table, kinds)


def _beside(table: pd.DataFrame, kinds: dict[str, tuple[str, dict]]) -> Drawn:
    """A row per model, in it a dot with its interval per kind (column: what it is, its look)."""
    rows = table[table["model"].isin(first_models(table))].sort_values("model").reset_index(drop=True)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.16 * len(rows) * (len(kinds) + 1)), layout="constrained")
    axis = figure.subplots()
    offsets = np.linspace(-0.3, 0.3, len(kinds))
    for offset, (column, (name, style)) in zip(offsets, kinds.items(), strict=True):
        forest(axis, np.arange(len(rows)) + offset, rows, column, **style)
        axis.plot([], [], linestyle="none", label=name, **style)
    axis.axvline(0.5, color=SOFT, linewidth=0.8, linestyle=":")
    name_rows(axis, rows["model"].tolist())
    axis.set(xlabel="held-out AUROC of the selected block", xlim=(min(0.3, axis.get_xlim()[0]), 1.02))
    figure.legend(frameon=False, loc="outside lower center", ncols=2 if len(kinds) % 2 == 0 else 3, fontsize=8)
    shown = [name for column in kinds for name in bounds_of(column) if name in table]
    return Drawn(figure, table[["model", "layer", *shown]].sort_values("model"))


def cross_model_layers(detection: pd.DataFrame, council: pd.DataFrame) -> Drawn:
    """Where in depth each model reads it: the AUROC of every block by its share of the depth, the selected one framed.

    At the right the selected block's AUROC with its interval.
    """
    names, image = first_models(detection), None
    figure = Figure(figsize=(WIDTH, 1.3 + 0.3 * len(names)), layout="constrained")
    axis = figure.subplots()
    blocks = detection[detection["layer"] != EMBEDDINGS].sort_values(["model", "layer"])
    deepest = blocks.groupby("model")["layer"].transform("max")
    blocks = blocks.assign(depth=(blocks["layer"] + 0.5) / (deepest + 1))
    for place, row in enumerate(council.set_index("model").loc[names].itertuples()):
        own = blocks[blocks["model"] == row.Index].reset_index()
        if len(own):
            edges = np.append(own["layer"], own["layer"].iloc[-1] + 1) / (own["layer"].iloc[-1] + 1)
            values, sides = own["auroc"].to_numpy()[None], np.array([place - 0.38, place + 0.38])
            image = axis.pcolormesh(edges, sides, values, vmin=0.5, vmax=1, cmap="cividis")
            for index in own.index[own["layer"] == row.layer]:
                axis.plot(edges[index + np.array([0, 1, 1, 0, 0])], sides[[0, 0, 1, 1, 0]], color=COLOURS[1])
        interval = f" [{row.auroc_lower:.2f}, {row.auroc_upper:.2f}]" if pd.notna(row.auroc_lower) else ""
        axis.text(1.02, place, f"block {row.layer}: {row.auroc:.2f}{interval}", va="center", size=8, color=INK)
    name_rows(axis, names)
    axis.set(xlabel="share of the depth", xlim=(0, 1))
    axis.grid(visible=False)
    if image is not None:
        label = "held-out AUROC (1/2 and below: darkest)"
        figure.colorbar(image, ax=axis, location="bottom", shrink=0.4, aspect=30, label=label)
    return Drawn(figure, blocks[["model", "layer", "depth", *bounds_of("auroc")]])
