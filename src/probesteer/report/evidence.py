"""The evidence that the council reads: every result verified against the study, and what the stages wrote joined."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from probesteer.concepts.data import PairSet, pair_sets
from probesteer.directions.sites import block_of, dose_files
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.seal import is_whole
from probesteer.files.tables import FOREIGN, read_fingerprint, read_table
from probesteer.report.implied import Result, Shared, implied, implied_pairs
from probesteer.report.views import wide
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import CORRELATION, EFFECTS, GAME_TABLES
from probesteer.study.sections import Criteria

Card = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """The tables that the council reads."""

    criteria: Criteria
    council: pd.DataFrame
    """One row per model: its selected layer's detection."""
    detection: pd.DataFrame
    details: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Metrics that come several times: model, layer, metric, of, estimate, lower, upper."""
    trends: pd.DataFrame = field(default_factory=pd.DataFrame)
    specificity: pd.DataFrame = field(default_factory=pd.DataFrame)
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The trends of the random arms."""
    prompting: pd.DataFrame = field(default_factory=pd.DataFrame)
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)
    success: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Success rates by the deciding scorer, under both rules."""
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Verified cells per model."""
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)
    agreement: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Agreement of scorers with each other and with people (`behaviour.agreement.of_scorers`)."""
    scorer: str = ""
    """The one that decides."""
    deeds: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What was done and said in games, by dose; and what the push changes (`behaviour.deeds`)."""
    deed_changes: pd.DataFrame = field(default_factory=pd.DataFrame)


def verified_cards(study: Study) -> dict[str, dict[str, Any]]:
    """The card of every model. Raises InputError for one that is broken."""
    cards = {}
    for model in study.models:
        path = study.paths.card(model.name, model.key)
        cards[model.name] = read_card(path)
        if not is_whole(path):
            raise InputError(f"{path}: {FOREIGN}; delete it and run again")
    return cards


def verify(study: Study, cards: Mapping[str, Card]) -> None:
    """Verify that everything the report rests on was made from what the study says.

    Raises InputError that names the first file that is missing, broken or foreign: a report on a mixture would be wrong.
    """
    shared = Shared(study)
    _require(implied_pairs(shared))
    for model in study.models:
        _require(implied(shared, model, cards[model.name]))


def cells_table(study: Study) -> pd.DataFrame:
    """How many cells of each model were verified."""
    rows = [{"model": model.name, "verified_cells": len(list(study.all_cells(model)))} for model in study.models]
    return pd.DataFrame(rows)


def _require(results: Iterable[Result]) -> None:
    for result in results:
        if result.rested_on and not result.fresh:
            raise InputError(f"{result.path}: {FOREIGN}; delete it and run again")


def fingerprints(study: Study) -> dict[str, str]:
    """What a report rests on: the fingerprint of every table that it reads, by path."""
    paths = [study.paths.data_card(pairs.concept, pairs.key) for pairs in pair_sets(study).values()]
    paths += [study.paths.detection(model.name) for model in study.models]
    paths += [study.paths.effects(model.name, name) for model in study.steered for name in EFFECTS]
    paths += [study.paths.forecast(model.name) for model in study.steered]
    paths += [path for model in study.models for path in study.comparisons(model)]
    paths += [study.paths.compared(model.name, "causes") for model in study.models if study.compare.causes]
    paths += [study.paths.correlation(model.name, name) for model in study.steered for name in CORRELATION if study.correlation]
    paths += [study.paths.deeds(model.name, name) for model in study.players for name in GAME_TABLES]
    return {str(path): read_fingerprint(path) for path in paths}


def data_table(study: Study, pairs: PairSet) -> pd.DataFrame:
    """The data card of the study's pairs."""
    return read_table(study.paths.data_card(pairs.concept, pairs.key)).to_pandas()


def parts_of(models: Iterable[Model], path: Callable[[str], Path]) -> list[pd.DataFrame]:
    """A table of each model, in order of their names, with its model as the first column."""
    names = sorted(model.name for model in models)
    return [_with_model(read_table(path(name)).to_pandas(), name) for name in names]


def together(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables as one, with their columns though none has rows; without columns where there is no table."""
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True) if parts else pd.DataFrame()


def effects_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The tables of effects, all models together; empty where none is steered."""
    parts = {table: parts_of(study.steered, partial(study.paths.effects, table=table)) for table in EFFECTS}
    return {table: together(own) for table, own in parts.items()}


def correlation_tables(study: Study) -> dict[str, pd.DataFrame]:
    """What models read in texts against their scores, all models together; empty in a study without `correlation`."""
    models = study.steered if study.correlation else []
    return {table: together(parts_of(models, partial(study.paths.correlation, table=table))) for table in CORRELATION}


def game_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The tables of deeds, all models together; none of a study without games."""
    tables = GAME_TABLES if study.players else []
    return {table: together(parts_of(study.players, partial(study.paths.deeds, table=table))) for table in tables}


def forecast_table(study: Study) -> pd.DataFrame:
    """What each block of the steered models promised (`detection.forecast.forecast_model`), and which ones are steered at."""
    parts = []
    for model in sorted(study.steered, key=lambda model: model.name):
        blocks = [block_of(study, model, site) for site in study.steering_layers_of(model)]
        own = read_table(study.paths.forecast(model.name)).to_pandas()
        parts.append(own.assign(steered=own["layer"].isin(blocks)).pipe(_with_model, model.name))
    return together(parts)


def doses_table(study: Study) -> pd.DataFrame:
    """The push that is alpha 1 (`dosing.dose.find_doses`): a row per (model, layer, unit), where the study's unit was found."""
    columns, parts = ["model", "layer", "unit", "push", "positive", "negative"], []
    for model in sorted(study.steered, key=lambda model: model.name):
        for site in study.steering_layers_of(model):
            for path in dose_files(study, model, site):
                own = read_table(path).to_pandas().assign(model=model.name, layer=block_of(study, model, site))
                parts.append(own[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _with_model(table: pd.DataFrame, model: str) -> pd.DataFrame:
    table.insert(0, "model", model)
    return table


def detection_tables(study: Study) -> dict[str, pd.DataFrame]:
    """What `detection.summary.detection_rows` found, of all models.

    detection: a row per (model, layer), every metric of `detection.evaluate` with its interval. selection: a row per model.
    details: the metrics that come several times, long.
    """
    tables = [read_table(study.paths.detection(model.name)).to_pandas().assign(model=model.name) for model in study.models]
    return of_metrics(pd.concat(tables, ignore_index=True))


def of_metrics(long: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The same of the long table: model, layer, metric, of, estimate, lower, upper."""
    single = long[long["of"] == ""]
    columns = ["model", "layer", "metric", "of", "estimate", "lower", "upper"]
    return {
        "detection": wide(single[single["layer"].notna()].astype({"layer": int}), ["model", "layer"]),
        "selection": wide(single[single["layer"].isna()], ["model"]),
        "details": long.loc[long["of"] != "", columns].astype({"layer": "Int64"}).reset_index(drop=True),
    }
