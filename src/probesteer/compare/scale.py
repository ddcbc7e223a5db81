"""Does it grow with the model, or with training? What was found, beside the size and, of organisms, the step."""

import pandas as pd

from probesteer.compare.foretold import rank_correlation

LEAST_MODELS = 5  # below which no correlation is given
SIZES = ["parameters", "training_step"]
MEASURES = ["auroc", "rate_change", "dose"]
AUROC, CHANGE = ([f"{name}{bound}" for bound in ("", "_lower", "_upper")] for name in ("auroc", "rate_change"))
SCALE = ["model", *SIZES, "layer", *AUROC, "steered_layer", *CHANGE, "dose"]
SCALING = ["against", "measure", "models", "spearman", "spearman_lower", "spearman_upper", "p"]


def scale(
    models: pd.DataFrame, council: pd.DataFrame, trends: pd.DataFrame, doses: pd.DataFrame, forecast: pd.DataFrame, unit: str
) -> pd.DataFrame:
    """A row per model, smallest and least trained first, of the tables of the report.

    auroc: at the block that cross-validation chose. rate_change: at the steered block at which it is largest, a description.
    dose: the push that is alpha 1 there, in mean residual norms, where the study's `unit` is one that is found.
    """
    table = models.rename(columns={"name": "model"}).reindex(columns=["model", *SIZES])
    table = table.merge(council.reindex(columns=["model", "layer", *AUROC]), on="model", how="left")
    changed = trends.reindex(columns=["model", "layer", *CHANGE]).rename(columns={"layer": "steered_layer"})
    changed = changed.sort_values("rate_change", na_position="first").drop_duplicates("model", keep="last")
    table = table.merge(changed, on="model", how="left")
    if len(pushed := doses[doses["unit"] == unit]):
        pushed = pushed.merge(forecast[["model", "layer", "residual_norm"]], on=["model", "layer"])
        pushed = pushed.assign(dose=pushed["push"] / pushed["residual_norm"], steered_layer=pushed["layer"])
        table = table.merge(pushed[["model", "steered_layer", "dose"]], on=["model", "steered_layer"], how="left")
    return table.reindex(columns=SCALE).sort_values([*SIZES, "model"]).reset_index(drop=True)


def scaling(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every measure of `scale` with the size and the step, where LEAST_MODELS have both."""
    rows = []
    for size in SIZES:
        for measure in MEASURES:
            known = table[[size, measure]].dropna()
            if len(known) >= LEAST_MODELS and known.nunique().min() > 1:
                rows.append([size, measure, len(known), *rank_correlation(known[size], known[measure])])
    return pd.DataFrame(rows, columns=SCALING)
