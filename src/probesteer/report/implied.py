"""What a study implies: every result, what it is made from, and whether that is what is there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from probesteer.behaviour.correlation import correlation_inputs
from probesteer.behaviour.deeds import deeds_inputs
from probesteer.behaviour.judging import answers_beside, judge_card, judge_inputs
from probesteer.behaviour.outcomes import effects_inputs
from probesteer.behaviour.scoring import scores_inputs
from probesteer.compare.causes import causes_inputs
from probesteer.compare.corpus import corpora_inputs
from probesteer.compare.independence import independence_inputs
from probesteer.compare.readings import readings_inputs
from probesteer.compare.transfer import transfer_inputs
from probesteer.concepts.card import pairs_inputs
from probesteer.concepts.concept import CONCEPT_FILE, Concept
from probesteer.concepts.data import PairSet, activations_path, pair_sets, pairs_files, study_concept
from probesteer.concepts.neutral import corpus_file
from probesteer.detection.activations import cache_inputs
from probesteer.detection.fit import probe_inputs
from probesteer.detection.forecast import forecast_inputs
from probesteer.detection.reading import reading_inputs
from probesteer.detection.summary import detection_inputs
from probesteer.directions.probe import Probe, is_fresh_probe, load_probe
from probesteer.directions.sites import block_of, dose_files, load_sites
from probesteer.dosing.dose import dose_inputs, unsteered_of
from probesteer.files.digests import digest
from probesteer.files.tables import has_fingerprint, is_fresh, read_fingerprint
from probesteer.steering.sweep import Sweep
from probesteer.steering.texts import texts_inputs
from probesteer.steering.transcripts import game_fingerprints, transcripts_inputs
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import AUTO, Site
from probesteer.study.paths import CORRELATION, EFFECTS, GAME_TABLES, READINGS

Inputs = Mapping[str, Any]


class Result(NamedTuple):
    """A sealed file that a job writes."""

    path: Path
    inputs: Sequence[Path]
    fresh: bool
    """Whether it is whole and was made from what the study says."""
    rested_on: bool = True
    """Whether the report needs it; an activation cache may be deleted."""
    beside: Sequence[Path] = ()
    """What the job writes without a seal."""


@dataclass(frozen=True)
class Shared:
    """What the results of all models of a study are made from: read once, and when it is needed. Raises InputError."""

    study: Study

    @cached_property
    def concept(self) -> Concept:
        return study_concept(self.study)

    @property
    def concept_file(self) -> Path:
        return self.study.concept_folder / CONCEPT_FILE

    @cached_property
    def pairs(self) -> Mapping[str, PairSet]:
        return pair_sets(self.study)

    @cached_property
    def corpora(self) -> Mapping[str, Mapping[str, Inputs]]:
        return corpora_inputs(self.study)

    @cached_property
    def judge(self) -> Inputs:
        return judge_inputs(self.study, judge_card(self.study)) if "rubric" in self.study.scorers else {}


def implied_pairs(shared: Shared) -> Iterator[Result]:
    """The tables of pairs, which all models share."""
    paths = shared.study.paths
    for pairs in shared.pairs.values():
        for path in (paths.pairs(pairs.concept, pairs.key), paths.data_card(pairs.concept, pairs.key)):
            yield Result(path, [*pairs.files], is_fresh(path, pairs_inputs(pairs)))


def implied(shared: Shared, model: Model, card: Inputs) -> Iterator[Result]:
    """A model's results after its card, in the order in which jobs make them. Raises InputError for a broken probe."""
    study, sets = shared.study, shared.pairs
    paths, card_file = study.paths, study.paths.card(model.name, model.key)
    caches = {name: cache_inputs(card, pairs, study) for name, pairs in sets.items()}
    files = {name: activations_path(study, model, pairs) for name, pairs in sets.items()}
    for name, pairs in sets.items():
        inputs = [card_file, paths.pairs(pairs.concept, pairs.key), *pairs_files(pairs, study)]
        yield Result(files[name], inputs, is_fresh(files[name], caches[name]), rested_on=False)
    path, own = paths.detection(model.name), sets[study.concept]
    inputs = [*files.values(), *model.planted(), *pairs_files(own, study)]
    fresh = is_fresh(path, detection_inputs(study, model, own.words, caches))
    yield Result(path, inputs, fresh, beside=[paths.benchmark("detect", model.name)])
    yield from _compared(shared, model, card, files, caches)
    if not study.steering_layers_of(model):
        return
    table, path = paths.pairs(own.concept, own.key), paths.forecast(model.name)
    made_from = forecast_inputs(study, model, shared.concept, card, caches[own.concept])
    yield Result(path, [card_file, table, files[own.concept], shared.concept_file], is_fresh(path, made_from))
    for site in study.steering_layers_of(model):
        path, beside = paths.probe(model.name, site), [paths.benchmark("probe", model.name, str(site))]
        fresh = is_fresh_probe(path, probe_inputs(study, model, block_of(study, model, site), caches[own.concept]))
        forecast = [paths.forecast(model.name)] if site == AUTO else []
        yield Result(path, [files[own.concept], *model.planted(), *forecast], fresh, beside=beside)
    yield from _dosed(shared, model, card)
    probes = load_sites(study, model)
    yield from _steered(shared, model, card, probes)
    if study.games:
        yield from _played(shared, model, card, probes)
    if study.correlation:
        yield from _read(study, model, card, files, caches)


def _compared(
    shared: Shared, model: Model, card: Inputs, files: Mapping[str, Path], caches: Mapping[str, Inputs]
) -> Iterator[Result]:
    """What compares models."""
    study, concept = shared.study, shared.study.concept
    if study.control_concept:
        path, made_from = study.paths.compared(model.name, "independence"), independence_inputs(study, model, caches)
        yield Result(path, [*files.values()], is_fresh(path, made_from))
    if study.compare.causes:
        table, made = shared.pairs[concept], causes_inputs(study, model, shared.concept, card, caches[concept])
        inputs = [study.paths.card(model.name, model.key), study.paths.pairs(table.concept, table.key)]
        path = study.paths.compared(model.name, "causes")
        yield Result(path, [*inputs, files[concept], shared.concept_file], is_fresh(path, made))
    if not study.compared:
        return
    path, made_from = study.paths.compared(model.name, "readings"), readings_inputs(study, model, caches[concept])
    yield Result(path, [files[concept]], is_fresh(path, made_from))
    if not study.compare.transfer:
        return
    pairs, corpora = shared.pairs[concept], shared.corpora
    inputs = [study.paths.card(model.name, model.key), study.paths.pairs(pairs.concept, pairs.key)]
    inputs += [shared.concept_file, corpus_file(study.concept_folder)]
    for name, given in corpora[model.name].items():
        path = study.paths.compared(model.name, name)
        yield Result(path, inputs, is_fresh(path, given), rested_on=False)
    path, made_from = study.paths.compared(model.name, "transfer"), transfer_inputs(study, model, corpora)
    others = [study.paths.compared(one.name, "corpus") for one in study.models]
    activations = [activations_path(study, one, pairs) for one in study.models]
    own = [study.paths.compared(model.name, name) for name in corpora[model.name]]
    yield Result(path, [*own, *others, *activations], is_fresh(path, made_from))


def _dosed(shared: Shared, model: Model, card: Inputs) -> Iterator[Result]:
    """The doses of a study whose unit needs them; and the unsteered cells that they are found against stand with the others."""
    study, sweep = shared.study, Sweep.of(shared.study, shared.concept, model)
    for site in study.steering_layers_of(model) if study.dosed else []:
        probe, path = study.paths.probe(model.name, site), study.paths.dose(model.name, site)
        unsteered = unsteered_of(study, sweep, card, model)
        made_from = dose_inputs(study, sweep, card, load_probe(probe, site), unsteered)
        cells = [cell.path(study.paths.cells) for cell in unsteered][:1]
        yield Result(
            path, [study.paths.card(model.name, model.key), probe, shared.concept_file, *cells], is_fresh(path, made_from)
        )


def _played(shared: Shared, model: Model, card: Inputs, probes: Mapping[Site, Probe]) -> Iterator[Result]:
    """Games, transcripts and deeds."""
    study, paths = shared.study, shared.study.paths
    cells: dict = {}
    for wanted in game_fingerprints(study, model, card, probes):
        site = next(iter(wanted)).layer
        fitted = [] if site is None else [paths.probe(model.name, site), *dose_files(study, model, site)]
        for cell, fingerprint in wanted.items():
            path = cell.path(paths.games)
            inputs = [paths.card(model.name, model.key), shared.concept_file, *fitted]
            yield Result(path, inputs, has_fingerprint(path, fingerprint))
        cells |= wanted
    made_from, path = transcripts_inputs(study, model, cells), paths.transcripts(model.name)
    yield Result(path, [cells_[0].path(paths.games) for cells_ in study.game_jobs(model)], is_fresh(path, made_from))
    made = deeds_inputs(study, model, shared.concept, digest(made_from))
    for name in GAME_TABLES:
        table = paths.deeds(model.name, name)
        beside = [paths.benchmark("deeds", model.name)]
        yield Result(table, [path, shared.concept_file], is_fresh(table, made), beside=beside)


def _steered(shared: Shared, model: Model, card: Inputs, probes: Mapping[Site, Probe]) -> Iterator[Result]:
    """Cells, texts, scores and effects."""
    study = shared.study
    paths, concept_file = study.paths, shared.concept_file
    sweep = Sweep.of(study, shared.concept, model)
    fitted = {site: [paths.probe(model.name, site), *dose_files(study, model, site)] for site in probes}
    cells: dict = {}
    firsts: list[Path] = []
    for job in study.jobs_cells(model):
        site = job[0].layer
        inputs = [paths.card(model.name, model.key), concept_file, *([] if site is None else fitted[site])]
        wanted = sweep.fingerprints(job, card, None if site is None else probes[site])
        cells |= wanted
        firsts.append(job[0].path(paths.cells))
        for cell, fingerprint in wanted.items():
            path = cell.path(paths.cells)
            yield Result(path, inputs, has_fingerprint(path, fingerprint))
    texts, table = texts_inputs(study, model, cells), paths.texts(model.name)
    yield Result(table, firsts, is_fresh(table, texts))
    scores: dict[str, str] = {}
    for scorer in study.scorers:
        made_from, path = scores_inputs(scorer, shared.concept, digest(texts), shared.judge), paths.scores(model.name, scorer)
        scores[scorer] = digest(made_from)
        beside = [paths.benchmark("score", model.name, scorer), *([answers_beside(path)] if scorer == "rubric" else [])]
        yield Result(path, [table, concept_file], is_fresh(path, made_from), beside=beside)
    made_from = effects_inputs(study, model, scores, {probe.layer: probe for probe in probes.values()})
    people = [Path(path) for path in study.ratings]
    inputs = [*(paths.scores(model.name, scorer) for scorer in scores), *chain.from_iterable(fitted.values()), *people]
    for name in EFFECTS:
        path = paths.effects(model.name, name)
        yield Result(path, inputs, is_fresh(path, made_from), beside=[paths.benchmark("effects", model.name)])


def _read(
    study: Study, model: Model, card: Inputs, files: Mapping[str, Path], caches: Mapping[str, Inputs]
) -> Iterator[Result]:
    """What a model reads in texts, and what that is worth; the texts and scores that it rests on are verified by themselves."""
    paths, authors = study.paths, study.authors_of(model.name)
    made_from = reading_inputs(study, model, card, caches)
    scores = {name: paths.scores(name, study.scorers[0]) for name in authors}
    inputs = [paths.card(model.name, model.key), *files.values(), paths.detection(model.name)]
    inputs += [*map(paths.texts, authors), *map(paths.transcripts, study.games_read(model.name)), *scores.values()]
    readings = {of: {**made_from, "of": of} for of in READINGS}
    for of, own in readings.items():
        path = paths.readings(model.name, of)
        yield Result(path, inputs, is_fresh(path, own))
    prints = {name: read_fingerprint(path) for name, path in scores.items()}
    worth = correlation_inputs(study, model, {of: digest(own) for of, own in readings.items()}, prints)
    for name in CORRELATION:
        path = paths.correlation(model.name, name)
        yield Result(path, inputs, is_fresh(path, worth))
