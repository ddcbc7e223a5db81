"""Figures of what models have in common."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.compare.agreement import matrix
from probesteer.compare.foretold import EVIDENCE
from probesteer.compare.verdicts import carried_matrix
from probesteer.report.figures.style import INK, PAPER, SOFT, WIDTH, Drawn, below, first_models, look, panels

SITES = ("block", "attention", "mlp")
MOST_ANNOTATED = 12  # models whose cells have their numbers


def agreement(agreed: pd.DataFrame, models: list[str]) -> Drawn:
    """How well the probes of two models, each on its own activations of the same texts, agree: correlation of their scores."""
    return Drawn(heat(matrix(agreed, models), "correlation of scores", (-1, 1)), agreed)


def transfer(carried: pd.DataFrame) -> Drawn:
    """The cosine of each model's direction, carried by ridge, with the own direction of each other model."""
    return Drawn(heat(carried_matrix(carried), "cosine with the target's direction", (-1, 1)), carried)


def causes(found: pd.DataFrame) -> Drawn:
    """A map per model: the share of the prompt's effect that each site's output brings (denoising, at the response)."""
    shown = found[(found["kind"] == "denoising") & (found["positions"] == "response")]
    models = first_models(shown)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.2 * len(models)), layout="constrained")
    axes = figure.subplots(len(models), 1, squeeze=False)
    for axis, model in zip(axes.flat, models, strict=True):
        own = shown[shown["model"] == model].pivot(index="site", columns="layer", values="share").loc[list(SITES)]
        image = axis.imshow(own.to_numpy(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axis.set_yticks(range(len(own)), own.index, fontsize=7)
        axis.set_title(model, fontsize=8)
        axis.spines[:].set_visible(False)
        axis.grid(visible=False)
    axes.flat[-1].set_xlabel("block")
    figure.colorbar(image, ax=axes, label="share of the effect")
    return Drawn(figure, shown)


def foretold(points: pd.DataFrame) -> Drawn:
    """Each kind of evidence beside the measured slope, a mark per (model, block); only the first models have colours."""
    kinds = [kind for kind in EVIDENCE if points[kind].notna().any()] or [next(iter(EVIDENCE))]
    figure, axes = panels(len(kinds), 2.3, sharey=True)
    named = {model: look(number) | {"label": model, "zorder": 3} for number, model in enumerate(first_models(points))}
    for axis, kind in zip(axes, kinds, strict=True):
        for model, own in points.groupby("model"):
            style = named.get(str(model), {"color": SOFT, "marker": ".", "alpha": 0.5})
            axis.plot(own[kind], own["measured_slope"], linestyle="none", **style)
        axis.set_xlabel(EVIDENCE[kind])
    axes[0].set_ylabel("measured slope, nats")
    below(figure, axes[0])
    return Drawn(figure, points)


def heat(values: pd.DataFrame, label: str, limits: tuple[float, float]) -> Figure:
    """A matrix of values as colours, with its numbers where there are few models; what is not known is left blank."""
    side = max(2.4, min(WIDTH - 1.2, 0.55 * len(values) + 1))
    figure = Figure(figsize=(side + 1.2, side))
    axis = figure.subplots()
    image = axis.imshow(values.to_numpy(float), cmap="RdBu_r" if limits[0] < 0 else "viridis", vmin=limits[0], vmax=limits[1])
    figure.colorbar(image, ax=axis, label=label, shrink=0.8)
    axis.set_xticks(range(len(values.columns)), values.columns, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(values)), values.index, fontsize=7)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    for (row, column), value in np.ndenumerate(values.to_numpy(float)) if len(values) <= MOST_ANNOTATED else ():
        if np.isfinite(value):
            dark = abs(value) > 0.7 * limits[1] if limits[0] < 0 else value < sum(limits) / 2
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=PAPER if dark else INK)
    return figure
