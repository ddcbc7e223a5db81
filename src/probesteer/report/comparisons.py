"""The report's tables and figures of what models have in common."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.compare.agreement import AGREEMENT, agreement, matrix
from probesteer.compare.emergence import emergence
from probesteer.compare.readings import read_readings
from probesteer.study.experiment import Study

MOST_ANNOTATED = 12  # models whose cells have their numbers


def comparisons(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of `compare`, given those of the models, the detection and the council."""
    blocks = tables["models"].set_index("name")["blocks"].to_dict()
    names = sorted(model.name for model in study.models)
    agreed = pd.DataFrame(columns=AGREEMENT)
    if study.compared:
        readings = {name: read_readings(study.paths.compared(name, "readings")) for name in names}
        agreed = agreement(readings, blocks, tables["council"].set_index("model")["layer"].to_dict())
    return {"agreement": agreed, "emergence": emergence(tables["detection"], tables["details"], blocks)}


def comparison_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """The figures of these tables, by name."""
    figures, names = {}, sorted(tables["council"]["model"])
    if len(tables["agreement"]):
        figures["agreement"] = heat(matrix(tables["agreement"], names), "correlation of scores", (-1, 1))
    return figures


def heat(values: pd.DataFrame, label: str, limits: tuple[float, float]) -> Figure:
    """A matrix of values as colours, with its numbers where there are few models; what is not known is left blank."""
    side = max(2.4, min(8.0, 0.55 * len(values) + 1))
    figure, axis = plt.subplots(figsize=(side + 1.2, side))
    image = axis.imshow(values.to_numpy(float), cmap="RdBu_r" if limits[0] < 0 else "viridis", vmin=limits[0], vmax=limits[1])
    figure.colorbar(image, ax=axis, label=label, shrink=0.8)
    axis.set_xticks(range(len(values.columns)), values.columns, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(values)), values.index, fontsize=7)
    axis.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values.to_numpy(float)) if len(values) <= MOST_ANNOTATED else ():
        if np.isfinite(value):
            dark = abs(value) > 0.7 * limits[1] if limits[0] < 0 else value < sum(limits) / 2
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return figure
