"""Write docs/real.md from the council report of config/studies/real.yaml: python workflow/scripts/real_page.py

What real_games.yaml and cross_model.yaml found, the latter on the behaviour too, stands there as well where they were run.
"""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from probesteer.concepts.data import study_concept
from probesteer.report.page import escape_markdown, markdown_table
from probesteer.report.views import by_dose, selected_details, wide
from probesteer.study import load_study

RESULTS = Path("results")
PAGE, PICTURES = Path("docs/real.md"), Path("docs/real")
SHOWN_FIGURES = ["auroc_by_layer", "dose_response"]
SHOWN = 300  # characters of an example
KEPT = ("model", "layer", "auroc", "dprime", "p_holm", "above_embeddings", "above_control_concept", "out_of_scenario_auroc")
BOUNDS = ("lower", "upper")
GAMES, BETWEEN = "real_games", ("cross_model", "cross_model_empathy")  # studies
CROSSED = ["within_level_auroc", "across_level_auroc", "factor_auroc", "factor_tells_auroc", "cos_factor"]


def main() -> None:
    """Write the page and copy its pictures."""
    found = council("real")
    tables = found["tables"]
    models, details = tables["models"], selected_details(tables["details"], tables["council"])
    surface = tables["details"].query("metric == 'surface_auroc'")
    environment = Environment(
        loader=FileSystemLoader("workflow/report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"table": markdown_table, "doses": by_dose, "md": lambda text: escape_markdown(text[:SHOWN])}
    text = environment.get_template("real.md.j2").render(
        command="python workflow/scripts/real_page.py",
        **found,
        games=council(GAMES),
        between=[other for name in BETWEEN if (other := council(name))],
        models=models.to_dict("records"),
        largest=models["parameters"].max(),
        pairs=int(tables["data"]["pairs"].sum()),
        readable=readable(tables["council"], surface, details),
        factors=factors(details),
        depth=depth(tables["detection"], models),
        examples=tables["examples"].to_dict("records") if len(tables["examples"]) else [],
    )
    PICTURES.mkdir(exist_ok=True)
    for picture in (RESULTS / "real/council/figures").glob("*.png"):
        if picture.stem in SHOWN_FIGURES:
            shutil.copy(picture, PICTURES / picture.name)
    PAGE.write_text(text, encoding="utf-8")


def council(name: str) -> dict[str, Any]:
    """A study, its concept and the tables of its report; nothing where it was not run."""
    folder = RESULTS / name / "council"
    if not folder.exists():
        return {}
    study = load_study(folder / "study.json")
    tables = {path.stem: read(path) for path in (folder / "tables").glob("*.csv")}
    return {"study": study, "concept": study_concept(study), "tables": tables}


def read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def readable(council: pd.DataFrame, surface: pd.DataFrame, details: pd.DataFrame) -> pd.DataFrame:
    """A row per model: the probe beside the best surface baseline, and how far it is above what needs no block."""
    rows: list[dict[str, Any]] = []
    for model in council.to_dict("records"):
        best = surface.loc[surface[surface["model"] == model["model"]]["estimate"].idxmax()]
        above = (
            details[(details["model"] == model["model"]) & (details["metric"] == "above_surface")]
            .set_index("of")
            .loc[best["of"]]
        )
        row = {name: value for name, value in model.items() if name.removesuffix("_lower").removesuffix("_upper") in KEPT}
        row |= {"best_surface": best["of"], "surface_auroc": best["estimate"], "above_surface": above["estimate"]}
        rows.append(row | {f"above_surface_{end}": above[end] for end in BOUNDS})
    return pd.DataFrame(rows)


def factors(details: pd.DataFrame) -> pd.DataFrame | None:
    """What crossing shows, a row per model and level or factor; none where nothing is crossed."""
    rows = details[details["metric"].isin(CROSSED)]
    return wide(rows, ("model", "of")) if len(rows) else None


def depth(detection: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """A row per model: the first block that is above chance by its interval, and the best one."""
    blocks = models.set_index("name")["blocks"]
    rows = []
    for model, own in detection[detection["layer"] >= 0].groupby("model"):
        clear = own[own["auroc_lower"] > 0.5]["layer"]
        peak = own.loc[own["auroc"].idxmax()]
        first = int(clear.min()) if len(clear) else None
        row = {"model": model, "blocks": int(blocks[model]), "first": first, "peak": int(peak["layer"])}
        rows.append(row | {"peak_auroc": peak["auroc"], **{f"peak_auroc_{end}": peak[f"auroc_{end}"] for end in BOUNDS}})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
