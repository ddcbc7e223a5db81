"""Where in a model something becomes readable: the first block, the peak, the plateau, at depths that models share."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from probesteer.compare.agreement import depth
from probesteer.study.options import EMBEDDINGS

BEHAVIOUR = "the behaviour"
# What is read, of the metrics that come several times: each has rows by what it is of.
READ = {"within_level_auroc": "within {}", "factor_auroc": "factor {}"}
EMERGENCE = ["model", "what", "first", "first_depth", "peak", "peak_depth", "auroc", "auroc_lower", "auroc_upper"]
EMERGENCE += ["plateau_from", "plateau_to", "plateau_from_depth", "plateau_to_depth", "embeddings"]


def emergence(
    detection: pd.DataFrame, details: pd.DataFrame, blocks: Mapping[str, int], control: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row per model and per what is read: the behaviour, crossed factors within their levels, the control concept.

    detection and details are those of the report; control, if there is one, has model, layer, what, auroc and its bounds.
    first: the first block whose interval lies above the central 95 % of the same block's permutation null. peak: the block of
    the largest held-out AUROC, a description. plateau: the blocks around it whose AUROC is not below the lower bound of its
    interval. Depths are shares of the blocks. embeddings: the AUROC of what the words alone give, where it was measured.
    """
    columns = ["model", "layer", "what", "estimate", "lower", "upper"]
    named = {"auroc": "estimate", "auroc_lower": "lower", "auroc_upper": "upper"}
    # a study in which nothing varies has no bounds
    detection = detection.reindex(columns=["model", "layer", *named, "permutation_auroc_upper"])
    parts = [detection.rename(columns=named).assign(what=BEHAVIOUR)[columns]]
    for metric, what in READ.items():
        own = details[details["metric"] == metric]
        parts.append(own.assign(what=own["of"].map(what.format))[columns])
    if control is not None and len(control):
        parts.append(control.rename(columns=named)[columns])
    read = pd.concat([part for part in parts if len(part)]).astype({"layer": int})
    read = read.merge(detection[["model", "layer", "permutation_auroc_upper"]], on=["model", "layer"])
    rows = [
        {"model": model, "what": what, **_places(own.set_index("layer").sort_index(), blocks[model])}
        for (model, what), own in read.groupby(["model", "what"], sort=False)
    ]
    return pd.DataFrame(rows, columns=EMERGENCE)


def _places(rows: pd.DataFrame, count: int) -> dict[str, Any]:
    """The places of a model's rows by layer; `count` is how many blocks it has."""
    words = rows["estimate"].get(EMBEDDINGS, float("nan"))
    rows = rows[rows.index != EMBEDDINGS]
    if rows["estimate"].isna().all():
        return {"embeddings": words}
    peak = int(rows["estimate"].idxmax())
    top = rows.loc[peak]
    high = (rows["estimate"] >= top["lower"]) | (rows.index == peak)
    run = (high != high.shift()).cumsum()
    plateau = rows.index[run == run[peak]]
    found = {"peak": peak, "plateau_from": plateau[0], "plateau_to": plateau[-1]}
    clears = rows.index[rows["lower"] > rows["permutation_auroc_upper"]]
    if len(clears):
        found["first"] = clears[0]
    depths = {f"{name}_depth": depth(layer, count) for name, layer in found.items()}
    values = {"auroc": top["estimate"], "auroc_lower": top["lower"], "auroc_upper": top["upper"], "embeddings": words}
    return {**found, **depths, **values}
