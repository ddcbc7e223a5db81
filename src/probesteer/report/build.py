"""The council report of a study: results verified, joined, judged, drawn and written."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from probesteer.concepts.data import pair_set, study_concept
from probesteer.files.whole import atomic, write_text
from probesteer.report import figures
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import Evidence, data_table, detection_tables, effects_tables, verified_cards, verify
from probesteer.report.history import HISTORY, reassess
from probesteer.report.page import render, to_html
from probesteer.report.published import replication
from probesteer.report.tables import cost_table, models_table
from probesteer.study.experiment import Study
from probesteer.study.paths import TABLES


def build_report(study: Study, output: Path) -> dict[str, str]:
    """Verify the study's results, write `output`/{tables,figures,report.md,report.html}; returns model: verdict.

    Raises InputError where a result is missing, broken, or was made from other inputs than the study's.
    """
    concept, pairs = study_concept(study), pair_set(study)
    cards = verified_cards(study)
    tables: dict[str, pd.DataFrame] = {
        "models": models_table(cards),
        "cells": verify(study, concept, cards),
        "data": data_table(study, pairs),
        "cost": cost_table(study, pairs),
        **detection_tables(study),
        **effects_tables(study),
    }
    tables["council"] = select_layers(tables["detection"], tables["selection"], study.criteria)
    tables["trends"] = judge_trends(tables["trends"], tables["dose_response"], study.criteria)
    tables["checks"], tables["verdict"] = deliberate(evidence_of(study, tables))
    tables["published"] = replication(study.models, tables["detection"], tables["steering"])
    tables["reassessment"] = reassess(study, tables["verdict"], output.parent / HISTORY)
    write_report(study, output, tables)
    markdown = render(study, concept, tables, bool(pairs.words))
    write_text(output / "report.md", markdown)
    write_text(output / "report.html", to_html(markdown, output, f"{study.study}: council report"))
    return dict(zip(tables["verdict"]["model"], tables["verdict"]["verdict"], strict=True))


def evidence_of(study: Study, tables: Mapping[str, pd.DataFrame]) -> Evidence:
    """What the council reads of the tables; of success, what the deciding scorer says."""
    success = tables["steering"]
    return Evidence(
        criteria=study.criteria,
        council=tables["council"],
        detection=tables["detection"],
        details=tables["details"],
        trends=tables["trends"],
        controls=tables["controls"],
        rates=tables["dose_response"],
        success=success[success["scorer"] == study.scorers[0]] if len(success) else success,
        cells=tables["cells"],
        cost=tables["cost"],
        models=tables["models"],
    )


def write_report(study: Study, output: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write tables and figures; a study without steering has no dose-response."""
    for name in TABLES:
        with atomic(output / "tables" / f"{name}.csv") as beside:
            tables[name].to_csv(beside, index=False, float_format="%.6g")
    curves = figures.auroc_by_layer(tables["detection"], tables["council"], study.criteria.auroc)
    figures.save(curves, output / "figures/auroc_by_layer")
    if not tables["dose_response"].empty:
        figures.save(figures.dose_response(tables["dose_response"], study.alpha_unit), output / "figures/dose_response")
