"""The report's tables and figures of what models have in common."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probesteer.compare.agreement import AGREEMENT, agreement, matrix
from probesteer.compare.emergence import emergence
from probesteer.compare.foretold import foretold, points
from probesteer.compare.readings import read_readings
from probesteer.compare.verdicts import carried_matrix, judged
from probesteer.files.tables import read_table
from probesteer.study.experiment import Study

SITES = ("block", "attention", "mlp")
MOST_ANNOTATED = 12  # models whose cells have their numbers


def comparisons(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of `compare`, given those of the models, the detection and the council."""
    blocks = tables["models"].set_index("name")["blocks"].to_dict()
    names = sorted(model.name for model in study.models)
    agreed = pd.DataFrame(columns=AGREEMENT)
    if study.compared:
        readings = {name: read_readings(study.paths.compared(name, "readings")) for name in names}
        agreed = agreement(readings, blocks, tables["council"].set_index("model")["layer"].to_dict())
    council, carried = tables["council"], pd.DataFrame()
    if study.compare.transfer:
        carried = tables_of(study, "transfer").drop(columns=["model", "made_from"])
        carried = carried.sort_values(["source", "target"], kind="stable").reset_index(drop=True)
        carried = judged(carried, set(council.loc[council["detected"], "model"]))
    independent = tables_of(study, "independence") if study.control_concept else pd.DataFrame()
    control = independent[independent["what"] == study.control_concept] if len(independent) else None
    return {
        "agreement": agreed,
        "emergence": emergence(tables["detection"], tables["details"], blocks, control),
        "foretold": foretold(points(*(tables[name] for name in ("trends", "forecast", "detection", "doses")))),
        "independence": independent,
        "causes": tables_of(study, "causes") if study.compare.causes else pd.DataFrame(),
        "transfer": carried,
    }


def tables_of(study: Study, table: str) -> pd.DataFrame:
    """A table of all models together, in order of their names."""
    files = {name: study.paths.compared(name, table) for name in sorted(model.name for model in study.models)}
    parts = [read_table(path).to_pandas().assign(model=name) for name, path in files.items()]
    whole = pd.concat(parts, ignore_index=True)
    return whole[["model", *(column for column in whole if column != "model")]]


def comparison_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """The figures of these tables, by name."""
    figures, names = {}, sorted(tables["council"]["model"])
    if len(tables["agreement"]):
        figures["agreement"] = heat(matrix(tables["agreement"], names), "correlation of scores", (-1, 1))
    if len(tables["transfer"]):
        figures["transfer"] = heat(carried_matrix(tables["transfer"]), "cosine with the target's direction", (-1, 1))
    if len(tables["causes"]):
        figures["causes"] = causes_maps(tables["causes"])
    return figures


def causes_maps(causes: pd.DataFrame) -> Figure:
    """A map per model: the share of the prompt's effect that each site's output brings (denoising, at the response)."""
    shown = causes[(causes["kind"] == "denoising") & (causes["positions"] == "response")]
    models = sorted(shown["model"].unique())
    figure, axes = plt.subplots(len(models), 1, figsize=(6, 0.4 + 1.3 * len(models)), squeeze=False, layout="constrained")
    for axis, model in zip(axes.flat, models, strict=True):
        own = shown[shown["model"] == model].pivot(index="site", columns="layer", values="share").loc[list(SITES)]
        image = axis.imshow(own.to_numpy(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axis.set_yticks(range(len(own)), own.index, fontsize=7)
        axis.set_title(model, fontsize=8)
        axis.spines[:].set_visible(False)
    axes.flat[-1].set_xlabel("block")
    figure.colorbar(image, ax=axes, label="share of the effect")
    return figure


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
