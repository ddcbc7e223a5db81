"""What each job of the DAG is given: the settings that determine its results, and which jobs are unfinished.

Light: the Snakefile imports it. A rule names the digest of its job's settings as a parameter, and the same settings go into
the fingerprint of what the job writes, so that an option that does not concern a job neither re-runs it nor slips past it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from probesteer.concepts.data import activations_path, pair_sets
from probesteer.files import seal
from probesteer.files.digests import digest
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import CONCEPTS, CORRELATION, EFFECTS, GAME_TABLES, PAGE, READINGS

Settings = dict[str, Any]


def card_settings(study: Study, model: Model) -> Settings:
    return {"blocks": model.block_count()}  # what else names the model is in the card's path


def probe_settings(study: Study, model: Model) -> Settings:
    return {"method": study.method, "controls": study.controls.arms(), "seed": study.seed}


def detect_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "seed": study.seed, "permutations": study.detection_permutations}


def forecast_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "method": study.method, "positions": study.positions}


def dose_settings(study: Study, model: Model) -> Settings:
    """What the texts of the unit coherence are drawn by is that of the unsteered cells which it reads."""
    return {"unit": study.alpha_unit, "positions": study.positions}


def baseline_settings(study: Study, model: Model) -> Settings:
    """Scenarios are in the paths of the cells."""
    return {"samples": study.samples, "seed": study.seed, "sampling": study.sampling_of(model).model_dump()}


def steer_settings(study: Study, model: Model) -> Settings:
    """Arms, scenarios and alphas are in the paths of the cells."""
    return {**baseline_settings(study, model), "unit": study.alpha_unit, "positions": study.positions}


def texts_settings(study: Study, model: Model) -> Settings:
    return {
        "scenarios": study.scenario_names(),
        "layers": study.steering_layers_of(model),
        "alphas": study.alphas_of(model),
        "arms": study.controls.arms(),
        "limit": study.criteria.trend_alpha,
    }


def judge_settings(study: Study, model: Model) -> Settings:
    return {"judge": study.judge.model_dump() if study.judge else None}


def effects_settings(study: Study, model: Model) -> Settings:
    settings = {
        "scorers": study.scorers,
        "arms": study.controls.arms(),
        "limit": study.criteria.trend_alpha,
        "permutations": study.trend_permutations,
        "seed": study.seed,
        "unit": study.alpha_unit,
    }
    return {**settings, "ratings": study.ratings} if study.ratings else settings


def reading_settings(study: Study, model: Model) -> Settings:
    """Who wrote the texts that every model reads, and which of them."""
    shared = study.steered[0].name if study.steered else ""
    return {"shared": shared, "limit": study.criteria.trend_alpha, "layers": study.layers_of(model)}


def correlation_settings(study: Study, model: Model) -> Settings:
    return {"scorer": study.scorers[:1], "seed": study.seed, **reading_settings(study, model)}


def readings_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "seed": study.seed}


def independence_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model)}


def corpus_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "positions": study.positions}


def causes_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "seed": study.seed}


def transfer_settings(study: Study, model: Model) -> Settings:
    return {"layers": study.layers_of(model), "maps": study.compare.maps, "seed": study.seed}


def unsteered_play_settings(study: Study, model: Model) -> Settings:
    """Which games is in the paths of the cells."""
    games = study.games.model_dump(exclude={"play"}) if study.games else {}
    drawn = study.sampling_of(model).model_dump(exclude={"max_new_tokens"})
    return {**games, "seed": study.seed, "sampling": drawn} if games else {}


def play_settings(study: Study, model: Model) -> Settings:
    """Arms, games and alphas are in the paths of the cells."""
    settings = unsteered_play_settings(study, model)
    return {**settings, "unit": study.alpha_unit, "positions": study.positions} if settings else {}


def transcripts_settings(study: Study, model: Model) -> Settings:
    """What lists the cells."""
    listed = {name: texts_settings(study, model)[name] for name in ("layers", "alphas", "arms", "limit")}
    return {"games": study.games.play, **listed} if study.games else {}


def deeds_settings(study: Study, model: Model) -> Settings:
    """What is made of the transcripts."""
    settings = {"scorers": study.scorers, "decides": study.games and study.games.decides, "limit": study.criteria.trend_alpha}
    return settings if study.games else {}


SETTINGS: dict[str, Callable[[Study, Model], Settings]] = {
    "model": card_settings,
    "probe": probe_settings,
    "detect": detect_settings,
    "forecast": forecast_settings,
    "dose": dose_settings,
    "baseline": baseline_settings,
    "steer": steer_settings,
    "texts": texts_settings,
    "judge": judge_settings,
    "effects": effects_settings,
    "readings": readings_settings,
    "independence": independence_settings,
    "corpus": corpus_settings,
    "transfer": transfer_settings,
    "causes": causes_settings,
    "correlation": correlation_settings,
    "play_unsteered": unsteered_play_settings,
    "play": play_settings,
    "transcripts": transcripts_settings,
    "deeds": deeds_settings,
}


def settings_digest(study: Study, rule: str, model: str) -> str:
    """Digest of what determines the results of a rule's job for a model, beside its input files."""
    return digest(SETTINGS[rule](study, study.loaded(model)))[:12]


def results(study: Study) -> Iterator[Path]:
    """Every sealed file that the study makes beside its cells."""
    paths, sets = study.paths, pair_sets(study).values()
    for pairs in sets:
        yield paths.pairs(pairs.concept, pairs.key)
        yield paths.data_card(pairs.concept, pairs.key)
    for model in study.models:
        layers = study.steering_layers_of(model)
        yield paths.card(model.name, model.key)
        yield from (activations_path(study, model, pairs) for pairs in sets)
        yield from (paths.probe(model.name, layer) for layer in layers)
        yield paths.detection(model.name)
        yield from study.corpora(model)
        yield from study.comparisons(model)
        if study.compare.causes:
            yield paths.compared(model.name, "causes")
        if layers:
            yield paths.forecast(model.name)
            yield from (paths.dose(model.name, layer) for layer in layers if study.dosed)
            yield paths.texts(model.name)
            yield from (paths.scores(model.name, scorer) for scorer in study.scorers)
            yield from (paths.effects(model.name, table) for table in EFFECTS)
        if layers and study.correlation:
            yield from (paths.readings(model.name, of) for of in READINGS)
            yield from (paths.correlation(model.name, table) for table in CORRELATION)
    for model in study.players:
        yield paths.transcripts(model.name)
        yield from (paths.deeds(model.name, table) for table in GAME_TABLES)


def unfinished(study: Study, foreign: Collection[Path] = ()) -> tuple[list[Path], list[Path]]:
    """One missing cell of every job that has some, which plans the job; and what must be made again though Snakemake sees it.

    The latter is what is damaged or `foreign`, and what is missing of the study though the report is there.
    """
    jobs = [[cell.path(study.paths.cells) for cell in cells] for model in study.steered for cells in study.jobs_cells(model)]
    jobs += [[cell.path(study.paths.games) for cell in cells] for model in study.players for cells in study.game_jobs(model)]
    others = list(results(study))
    states = {path: seal.state(path) for path in chain(others, *jobs)}
    again = [path for path, state in states.items() if state == seal.DAMAGED or path in foreign]
    again += [path for path in others if states[path] == seal.MISSING and path.is_relative_to(study.paths.root)]
    again += [path for path in foreign if path not in states]
    missing = [[path for path in cells if states[path] == seal.MISSING] for cells in jobs]
    return [paths[0] for paths in missing if paths], again


def snapshot(study: Study) -> str:
    """Digest of the sizes and times of the study's results that are there; those from the future are dated now.

    A file that is newer than what a job writes now would fail that job.
    """
    now, found = time.time_ns(), []
    models = study.models if study.paths.cells.exists() else []
    cells = (cell.path(study.paths.cells) for model in models for cell in study.all_cells(model))
    played = study.players if study.paths.games.exists() else []
    games = (cell.path(study.paths.games) for model in played for cells in study.game_jobs(model) for cell in cells)
    for path in chain(results(study), [study.paths.report / PAGE], cells, games):
        with suppress(OSError):
            _date_back(path, now)
            found.append([str(path), path.stat().st_size, path.stat().st_mtime_ns])
    return digest(found) if found else ""


def date_sources(study: Study) -> bool:
    """Date those files now that jobs read, did not make, and that are from the future; whether there were any."""
    now, dated = time.time_ns(), False
    models = [*study.models, *study.judges.values()]
    files = chain.from_iterable([*model.files(), *model.planted()] for model in models)
    sets = pair_sets(study).values()
    texts = chain.from_iterable([*pairs.files, *(CONCEPTS / pairs.concept).glob("*")] for pairs in sets)
    for path in chain(files, texts):
        with suppress(OSError):  # of a file that is not this user's
            dated |= _date_back(path, now)
    return dated


def _date_back(path: Path, now: int) -> bool:
    """Give a file the time `now` (ns) where it has a later one; whether it had."""
    late = path.stat().st_mtime_ns > now
    if late:
        os.utime(path, ns=(now, now))
    return late
