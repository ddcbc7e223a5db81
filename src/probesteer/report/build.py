"""The council report of a study: results verified, joined, judged, drawn and written."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from probesteer.behaviour.power import least_change
from probesteer.concepts.data import pair_set, study_concept
from probesteer.files.whole import write_json, write_text
from probesteer.report.about import about
from probesteer.report.comparisons import comparisons
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import (
    Evidence,
    cells_table,
    correlation_tables,
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
from probesteer.report.explorer import explorer
from probesteer.report.history import HISTORY, Report, add_report, read_reports, reassess, report_of
from probesteer.report.html import to_html
from probesteer.report.manifest import write_manifest
from probesteer.report.overview import overview
from probesteer.report.page import render
from probesteer.report.published import replication
from probesteer.report.tables import cost_table, models_table
from probesteer.report.views import with_forecast
from probesteer.study.experiment import Study
from probesteer.study.paths import ABOUT, EVIDENCE, EXPLORER, GAME_TABLES, PAGE, SAVED


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
    """Verify the study's results, write the report and its manifest into `output`; returns model: verdict.

    What was there stays until the new report is whole. Raises InputError where a result is missing, broken, or was made
    from other inputs than the study's.
    """
    verify(study, verified_cards(study))
    history = output.parent / HISTORY
    with replaced(output) as beside:
        report = make_report(study, beside, read_reports(history), about())
        add_report(report, history)
        write_manifest(study, beside, [history])
    return report["verdict"]


def make_report(study: Study, folder: Path, earlier: Sequence[Report], made: Mapping[str, str]) -> Report:
    """Write tables, figures and pages into an empty folder, from results as they are, earlier reports, and `about` this one.

    The same results give the same bytes, so that `report.recompute` can tell what was changed since.
    """
    concept, pairs = study_concept(study), pair_set(study)
    tables: dict[str, pd.DataFrame] = {
        "models": models_table(verified_cards(study)),
        "cells": cells_table(study),
        "data": data_table(study, pairs),
        "cost": cost_table(study, pairs),
        **detection_tables(study),
        **effects_tables(study),
        **game_tables(study),
    }
    tables |= correlation_tables(study)
    tables |= {"forecast": forecast_table(study), "doses": doses_table(study)}
    tables["council"] = select_layers(tables["detection"], tables["selection"], study.criteria)
    tables["trends"] = judge_trends(with_power(study, tables["trends"]), tables, study.criteria)
    tables["trends"] = with_forecast(tables["trends"], tables["forecast"], tables["dose_response"], study.criteria.trend_alpha)
    tables["checks"], tables["verdict"] = deliberate(evidence_of(study, tables))
    tables |= comparisons(study, tables)
    correlated = {name: tables[name] for name in ("correlation", "binary")}
    tables["published"] = replication(study.models, tables["detection"], tables["steering"], correlated)
    current = report_of(study, tables["verdict"])
    tables["reassessment"] = reassess(current, earlier)
    study.save(folder / SAVED)
    write_json(folder / EVIDENCE, fingerprints(study))
    write_json(folder / ABOUT, made)
    write_report(study, folder, tables)
    write_text(folder / EXPLORER, explorer(study, tables))
    seen = overview(study, concept.title, tables)
    markdown = render(study, concept, tables, bool(pairs.words), seen)
    write_text(folder / "report.md", markdown)
    write_text(folder / PAGE, to_html(study, concept, seen, made, markdown, folder))
    return current


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
        agreement=tables["scorer_agreement"],
        scorer=study.scorers[0] if study.steered else "",
        **{name: tables[name] for name in GAME_TABLES if name in tables},
    )


def write_report(study: Study, output: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables and figures."""
    from probesteer.report import figures  # matplotlib takes a second to load

    (output / "tables").mkdir()
    for name in study.tables:
        tables[name].to_csv(output / "tables" / f"{name}.csv", index=False, float_format="%.6g")
    for name, drawn in figures.draw(study, tables).items():
        figures.save(drawn, output / "figures" / name)
