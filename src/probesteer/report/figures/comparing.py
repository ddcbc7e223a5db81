"""Figures of what models have in common."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.compare.agreement import matrix
from probesteer.report.figures.style import INK, PAPER, Drawn

MOST_ANNOTATED = 12  # models whose cells have their numbers


def agreement(agreed: pd.DataFrame, models: list[str]) -> Drawn:
    """How well the probes of two models, each on its own activations of the same texts, agree: correlation of their scores."""
    return Drawn(heat(matrix(agreed, models), "correlation of scores", (-1, 1)), agreed)


def heat(values: pd.DataFrame, label: str, limits: tuple[float, float]) -> Figure:
    """A matrix of values as colours, with its numbers where there are few models; what is not known is left blank."""
    side = max(2.4, min(8.0, 0.55 * len(values) + 1))
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
