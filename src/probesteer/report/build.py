"""The council report of a study: results verified, joined, judged, drawn and written."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from probesteer.behaviour.power import least_change
from probesteer.concepts.data import pair_set, study_concept
from probesteer.files.whole import write_json
from probesteer.report import figures
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import (
    Evidence,
    data_table,
    detection_tables,
    doses_table,
    effects_tables,
    fingerprints,
    forecast_table,
    game_tables,
    verified_cards,
    verify,
)
from probesteer.report.history import HISTORY, add_report, read_reports, reassess, report_of
from probesteer.report.page import render, to_html
from probesteer.report.published import replication
from probesteer.report.tables import cost_table, models_table
from probesteer.report.views import with_forecast
from probesteer.study.experiment import Study
from probesteer.study.paths import EVIDENCE, GAME_TABLES, PAGE, SAVED


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder`, whose files take their places there when the block ends well, the page last."""
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)  # what a killed writer left
    beside.mkdir(parents=True)
    try:
        yield beside
        for path in sorted((path for path in beside.rglob("*") if path.is_file()), key=lambda path: path.name == PAGE):
            place = folder / path.relative_to(beside)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def build_report(study: Study, output: Path) -> dict[str, str]:
    """Verify the study's results, write `output`/{tables,figures,report.md,report.html}; returns model: verdict.

    What was there stays until the new report is whole. Raises InputError where a result is missing, broken, or was made
    from other inputs than the study's.
    """
    concept, pairs = study_concept(study), pair_set(study)
    cards = verified_cards(study)
    tables: dict[str, pd.DataFrame] = {
        "models": models_table(cards),
        "cells": verify(study, cards),
        "data": data_table(study, pairs),
        "cost": cost_table(study, pairs),
        **detection_tables(study),
        **effects_tables(study),
        **game_tables(study),
    }
    tables |= {"forecast": forecast_table(study), "doses": doses_table(study)}
    tables["council"] = select_layers(tables["detection"], tables["selection"], study.criteria)
    tables["trends"] = judge_trends(with_power(study, tables["trends"]), tables, study.criteria)
    tables["trends"] = with_forecast(tables["trends"], tables["forecast"], tables["dose_response"], study.criteria.trend_alpha)
    tables["checks"], tables["verdict"] = deliberate(evidence_of(study, tables))
    tables["published"] = replication(study.models, tables["detection"], tables["steering"])
    history, current = output.parent / HISTORY, report_of(study, tables["verdict"])
    tables["reassessment"] = reassess(current, read_reports(history))
    with replaced(output) as beside:
        study.save(beside / SAVED)
        write_json(beside / EVIDENCE, fingerprints(study))
        write_report(study, beside, tables)
        markdown = render(study, concept, tables, bool(pairs.words))
        (beside / "report.md").write_text(markdown, encoding="utf-8")
        (beside / PAGE).write_text(to_html(markdown, beside, f"{study.study}: council report"), encoding="utf-8")
    add_report(current, history)
    return dict(zip(tables["verdict"]["model"], tables["verdict"]["verdict"], strict=True))


def with_power(study: Study, trends: pd.DataFrame) -> pd.DataFrame:
    """The trends with the change that a study of this size finds."""
    changes = {model.name: least_change(study, model) for model in study.steered}
    return trends.assign(detectable_change=trends["model"].map(changes)) if len(trends) else trends


def evidence_of(study: Study, tables: Mapping[str, pd.DataFrame]) -> Evidence:
    """What the council reads of the tables; of success, what the deciding scorer says."""
    success = tables["steering"]
    return Evidence(
        criteria=study.criteria,
        council=tables["council"],
        detection=tables["detection"],
        details=tables["details"],
        trends=tables["trends"],
        specificity=tables["specificity"],
        controls=tables["controls"],
        prompting=tables["prompting"],
        rates=tables["dose_response"],
        success=success[success["scorer"] == study.scorers[0]] if len(success) else success,
        cells=tables["cells"],
        cost=tables["cost"],
        models=tables["models"],
        **{name: tables[name] for name in GAME_TABLES if name in tables},
    )


def write_report(study: Study, output: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables and figures; a study without steering has no dose-response."""
    (output / "tables").mkdir()
    for name in study.tables:
        tables[name].to_csv(output / "tables" / f"{name}.csv", index=False, float_format="%.6g")
    curves = figures.auroc_by_layer(tables["detection"], tables["council"], study.criteria.auroc)
    figures.save(curves, output / "figures/auroc_by_layer")
    if not tables["dose_response"].empty:
        figures.save(figures.dose_response(tables["dose_response"], study.alpha_unit), output / "figures/dose_response")
