"""The evidence that the council reads: every result verified against the study, and what the stages wrote joined."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from probesteer.behaviour.judging import judge_card, judge_inputs
from probesteer.behaviour.outcomes import effects_inputs
from probesteer.behaviour.scoring import scores_inputs
from probesteer.concepts.card import pairs_inputs
from probesteer.concepts.concept import Concept
from probesteer.concepts.data import PairSet, pair_sets
from probesteer.detection.activations import cache_inputs
from probesteer.detection.fit import probe_inputs
from probesteer.detection.summary import detection_inputs
from probesteer.directions.probe import Probe, is_fresh_probe, load_probe
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.seal import is_whole
from probesteer.files.tables import FOREIGN, read_table, require_fresh
from probesteer.report.views import wide
from probesteer.steering.texts import texts_inputs, verified_cells
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import EFFECTS
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
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The trends of the control arms."""
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)
    success: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Success rates by the deciding scorer, under both rules."""
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Verified cells per model."""
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)


def verified_cards(study: Study) -> dict[str, dict[str, Any]]:
    """The card of every model. Raises InputError for one that is broken."""
    cards = {}
    for model in study.models:
        path = study.paths.card(model.name, model.key)
        cards[model.name] = read_card(path)
        if not is_whole(path):
            raise InputError(f"{path}: {FOREIGN}; delete it and run again")
    return cards


def verify(study: Study, concept: Concept, cards: Mapping[str, Card]) -> pd.DataFrame:
    """Verify that everything the report rests on was made from what the study says; a row of counts per model.

    Raises InputError that names the first file that is missing, broken or foreign: a report on a mixture would be wrong.
    """
    sets = pair_sets(study)
    for pairs in sets.values():
        require_fresh(study.paths.pairs(pairs.concept, pairs.key), pairs_inputs(pairs))
        require_fresh(study.paths.data_card(pairs.concept, pairs.key), pairs_inputs(pairs))
    judge = judge_inputs(study, judge_card(study)) if "rubric" in study.scorers else {}
    rows = []
    for model in study.models:
        card = cards[model.name]
        caches = {name: cache_inputs(card, pairs, study) for name, pairs in sets.items()}
        detection = detection_inputs(study, model, sets[study.concept].words, caches)
        require_fresh(study.paths.detection(model.name), detection)
        probes = verified_probes(study, model, caches[study.concept])
        cells = verified_cells(study, concept, model, card, probes)
        if cells:
            verify_effects(study, concept, model, probes, texts_inputs(study, model, cells), judge)
        rows.append({"model": model.name, "verified_cells": len(cells)})
    return pd.DataFrame(rows)


def verified_probes(study: Study, model: Model, cache: Mapping[str, Any]) -> dict[int, Probe]:
    """The probes that a model is steered with, by layer. Raises InputError for a foreign one."""
    probes = {}
    for layer in study.steering_layers_of(model):
        path = study.paths.probe(model.name, layer)
        probes[layer] = load_probe(path, layer)
        if not is_fresh_probe(path, probe_inputs(study, model, layer, cache)):
            raise InputError(f"{path}: {FOREIGN}; delete it and run again")
    return probes


def verify_effects(
    study: Study,
    concept: Concept,
    model: Model,
    probes: Mapping[int, Probe],
    texts: Mapping[str, Any],
    judge: Mapping[str, Any],
) -> None:
    """Verify a steered model's texts, scores and effects. Raises InputError for a foreign one."""
    require_fresh(study.paths.texts(model.name), texts)
    scores: dict[str, str] = {}
    for scorer in study.scorers:
        inputs = scores_inputs(scorer, concept, digest(texts), judge)
        require_fresh(study.paths.scores(model.name, scorer), inputs)
        scores[scorer] = digest(inputs)
    for name in EFFECTS:
        require_fresh(study.paths.effects(model.name, name), effects_inputs(study, model, scores, probes))


def data_table(study: Study, pairs: PairSet) -> pd.DataFrame:
    """The data card of the study's pairs."""
    return read_table(study.paths.data_card(pairs.concept, pairs.key)).to_pandas()


def effects_tables(study: Study) -> dict[str, pd.DataFrame]:
    """The tables of effects, all models together in order of their names; empty where none is steered."""
    tables = {}
    for name in EFFECTS:
        parts = [
            read_table(study.paths.effects(model.name, name)).to_pandas().pipe(_with_model, model.name)
            for model in sorted(study.steered, key=lambda model: model.name)
        ]
        parts = [part for part in parts if len(part)]
        tables[name] = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return tables


def _with_model(table: pd.DataFrame, model: str) -> pd.DataFrame:
    table.insert(0, "model", model)
    return table


def detection_tables(study: Study) -> dict[str, pd.DataFrame]:
    """What `detection.summary.detection_rows` found, of all models.

    detection: a row per (model, layer), every metric of `detection.evaluate` with its interval. selection: a row per model.
    details: the metrics that come several times, long.
    """
    tables = [read_table(study.paths.detection(model.name)).to_pandas().assign(model=model.name) for model in study.models]
    long = pd.concat(tables, ignore_index=True)
    single = long[long["of"] == ""]
    columns = ["model", "layer", "metric", "of", "estimate", "lower", "upper"]
    return {
        "detection": wide(single[single["layer"].notna()].astype({"layer": int}), ["model", "layer"]),
        "selection": wide(single[single["layer"].isna()], ["model"]),
        "details": long.loc[long["of"] != "", columns].astype({"layer": "Int64"}).reset_index(drop=True),
    }
