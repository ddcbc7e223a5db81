"""A finished study made again in a folder of its own, from what only a model can give: everything else is computed anew.

Probes come from activations, texts from cells, scores from texts, effects from scores, the report from them all. What cannot be
made without a model (cells, detection and its activations, readings, forecasts, doses, ratings of a judge), and comparisons
between models, are taken as they are there.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from probesteer.behaviour.correlation import correlate_model
from probesteer.behaviour.deeds import write_deeds
from probesteer.behaviour.outcomes import write_effects
from probesteer.behaviour.scoring import score, write_scores
from probesteer.behaviour.verbs import score_job
from probesteer.concepts.card import write_pair_tables
from probesteer.concepts.data import activations_path, pair_set, pair_sets, study_concept
from probesteer.detection.fit import fit_probe
from probesteer.errors import InputError
from probesteer.files.seal import is_whole, seal
from probesteer.files.tables import read_inputs, read_table, write_table
from probesteer.report.build import make_report
from probesteer.report.history import read_reports
from probesteer.steering.texts import gather_model
from probesteer.steering.transcripts import gather_games
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import RESULTS

SEALED = (".parquet", ".safetensors", ".json")


@contextmanager
def replica(root: Path, results: Mapping[str, str]) -> Iterator[Path]:
    """A folder that looks like `root`, where its results are links, worked in until the block ends.

    What is written there takes the place of a link, and nothing in `root` changes. A file whose seal is broken is there as a
    copy with a good one, so that its values can be read and compared.
    """
    before = Path.cwd()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for entry in (entry for entry in root.iterdir() if entry.name != RESULTS.name and not entry.name.startswith(".")):
            (folder / entry.name).symlink_to(entry)
        for path in (Path(path) for path in results if Path(path).is_relative_to(RESULTS) and (root / path).is_file()):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in SEALED and not is_whole(root / path):
                shutil.copyfile(root / path, folder / path)
                with suppress(AssertionError, ValueError):  # it has no seal any more
                    seal(folder / path)
            else:
                (folder / path).symlink_to(root / path)
        if (root / RESULTS / "weights").exists():
            (folder / RESULTS / "weights").symlink_to(root / RESULTS / "weights")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def stand_in(costs: Mapping[str, Mapping[str, float]]) -> None:
    """Where activations were deleted, a file that says what they cost, which the report does."""
    for path in (Path(path) for path in costs if not Path(path).exists()):
        write_table(pa.table({"deleted": [True]}), path, cost=costs[str(path)])


def recompute(study: Study, report: Path, history: Path, made: Mapping[str, str]) -> list[str]:
    """Make everything again in the working folder, a replica, and in `report` the report so `made`, after those of a history.

    Returns what could not be made, and why.
    """
    problems = []
    for step in steps(study, report, history, made):
        try:
            step()
        except InputError as error:
            problems.append(str(error))
        except Exception as error:  # a changed value may break any computation that was right for the old one
            problems.append(f"what was made of the results cannot be made again: {type(error).__name__}: {error}")
    return list(dict.fromkeys(problems))


def steps(study: Study, report: Path, history: Path, made: Mapping[str, str]) -> Iterator[Callable[[], object]]:
    """The computations, in the order of the DAG."""
    paths = study.paths
    for pairs in pair_sets(study).values():
        table, card = paths.pairs(pairs.concept, pairs.key), paths.data_card(pairs.concept, pairs.key)
        yield partial(write_pair_tables, pairs, table, card)
    for model in study.steered:
        if activations_path(study, model, pair_set(study)).is_symlink():  # else they were deleted, or changed
            for site in study.steering_layers_of(model):
                yield partial(fit_probe, study, model, site)
        yield partial(gather_model, study, model)
        for scorer in study.scorers:
            yield partial(rescore if scorer == "rubric" else score_job, study, model, scorer)
        yield partial(write_effects, study, model)
    for model in study.players:
        yield partial(gather_games, study, model)
        yield partial(write_deeds, study, study_concept(study), model)
    for model in study.steered if study.correlation else []:
        yield partial(correlate_model, study, model)
    yield partial(_report, study, report, history, made)


def rescore(study: Study, model: Model, scorer: str) -> None:
    """The scores of a judge again, from its ratings as they stand in the file of scores."""
    path = study.paths.scores(model.name, scorer)
    at = ["arm", "layer", "scenario", "alpha", "sample"]
    texts, rated = read_table(study.paths.texts(model.name)).to_pandas(), read_table(path).to_pandas()
    judged = texts[texts["arm"] != "calibration"]
    evidence = judged[at].merge(rated[[*at, "evidence"]], on=at, how="left", validate="one_to_one")["evidence"]
    given = [None if value != value else int(value) for value in evidence.astype(float)]
    write_scores(score(texts, scorer, study_concept(study).prompts(), given), path, read_inputs(path))


def _report(study: Study, report: Path, history: Path, made: Mapping[str, str]) -> None:
    report.mkdir(parents=True)
    make_report(study, report, read_reports(history), made)
