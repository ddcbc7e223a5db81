"""How the report shows its tables: rows chosen, long metrics spread into columns, what belongs together side by side."""

from collections.abc import Sequence

import pandas as pd


def shown_success(success: pd.DataFrame, scorers: Sequence[str]) -> pd.DataFrame:
    """The rows of the report: the strict rule by the first scorer, the published one by its own scorer where it ran."""
    published = "published" if "published" in scorers else scorers[0]
    wanted = {("strict", scorers[0]), ("published", published)}
    return success[[pair in wanted for pair in zip(success["rule"], success["scorer"], strict=True)]]


def selected_details(details: pd.DataFrame, council: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's selected block."""
    return details.merge(council[["model", "layer"]], on=["model", "layer"])


def spread_details(details: pd.DataFrame, metrics: Sequence[str], by: Sequence[str] = ("model", "of")) -> pd.DataFrame:
    """The metrics by model and what each row is of, or by the latter alone, one column a metric, with the bounds."""
    rows = [
        {"model": row.model, "of": row.of, row.metric: row.estimate}
        | ({f"{row.metric}_lower": row.lower, f"{row.metric}_upper": row.upper} if pd.notna(row.lower) else {})
        for row in details[details["metric"].isin(metrics)].itertuples()
    ]
    return (
        pd.DataFrame(rows).drop(columns={"model", "of"} - {*by}).groupby([*by], sort=False).first().reset_index()
        if rows
        else pd.DataFrame()
    )


def sceptic_table(council: pd.DataFrame, details: pd.DataFrame) -> pd.DataFrame:
    """Each model's AUROC beside what is left of it without the words, the form or a scenario, and the best surface baseline."""
    kept = [
        f"{name}{bound}"
        for name in ("auroc", "ablated_auroc", "residualised_auroc")
        for bound in ("", "_lower", "_upper")
        if f"{name}{bound}" in council
    ]
    table = council[["model", "layer", *kept]].copy()
    surface = details[details["metric"] == "surface_auroc"].groupby("model")["estimate"].max()
    scenario = selected_details(details, council).query("metric == 'without_scenario'").groupby("model")["estimate"].min()
    return table.assign(best_surface=table["model"].map(surface), worst_scenario=table["model"].map(scenario))
