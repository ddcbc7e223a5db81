"""Results that Snakemake has no records of: what is made from what the study says is taken as up to date."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.seal import is_whole
from probesteer.report.evidence import fingerprints
from probesteer.report.implied import Result, Shared, implied, implied_pairs
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import EVIDENCE, SAVED


def adopt(study: Study) -> list[Path]:
    """Put times in order: a result that is as implied and older than its inputs gets their time. Nothing else is changed.

    Returns the results that are there and are not as implied: they are to be made again.
    """
    again, made = [], []
    for result in _results(study):
        if not result.path.exists():
            continue
        if result.fresh:
            _not_older([result.path, *result.beside], result.inputs)
            made.append(result.path)
        else:
            again.append(result.path)
    report = [path for path in study.paths.report.rglob("*") if path.suffix != ".log" and path.is_file()]
    if not again and _is_report(study):
        _not_older(report, made)
    else:
        again += report
    return again


def _not_older(paths: list[Path], inputs: Sequence[Path]) -> None:
    newest = max((path.stat().st_mtime_ns for path in inputs if path.exists()), default=0)
    for path in paths:
        if path.exists() and path.stat().st_mtime_ns < newest:
            os.utime(path, ns=(newest, newest))


def _results(study: Study) -> Iterator[Result]:
    """Every result of the study, as far as what it rests on is there; the rest is made again with that."""
    shared = Shared(study)
    yield from implied_pairs(shared)
    models = {model.name: model for model in study.models}
    for name, model in {**study.judges, **models}.items():
        path = study.paths.card(name, model.key)
        inputs = [*model.files(), study.paths.receipt(name, model.key)]
        yield Result(path, inputs, _is_card(path, model, name, study.weights(name)))
        if name in models:
            with suppress(InputError):
                yield from implied(shared, model, read_card(path))


def _is_card(path: Path, model: Model, name: str, weights: Path | None) -> bool:
    """Whether a card is what its job would write; what names a hub model is in the card's path."""
    if not is_whole(path) or not model.local:
        return is_whole(path)
    from probesteer.lm.card import model_card

    try:
        return read_card(path) == model_card(model, name, weights_in=weights)
    except InputError:
        return False


def _is_report(study: Study) -> bool:
    """Whether the report that is there is this study's, and of the tables that are there."""
    folder = study.paths.report
    try:
        rests_on = json.loads((folder / EVIDENCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return study.is_saved(folder / SAVED) and rests_on == fingerprints(study)
