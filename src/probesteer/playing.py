"""The verbs of the jobs that play games with models."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from probesteer.concepts.data import study_concept, with_scenarios
from probesteer.study.experiment import Study
from probesteer.study.load import load_study
from probesteer.study.options import AUTO

Saved = Annotated[Path, typer.Option("--study", help="The study, as the workflow saved it.")]
OfModel = Annotated[str, typer.Option("--model", help="Name of a model of the study.")]


def _saved(path: Path) -> Study:
    return with_scenarios(load_study(path))


def play(
    study: Saved,
    model: OfModel,
    layer: Annotated[str | None, typer.Option(help="Block, counted from 0, or auto; none plays unsteered.")] = None,
) -> None:
    """Play games with a model: those of a (model, layer), or the unsteered and the prompted ones."""
    from probesteer.steering.rollouts import play_layer, play_unsteered

    if layer is not None and layer != AUTO and not layer.isdecimal():
        raise typer.BadParameter(f"--layer {layer!r}: a block counted from 0, or auto, is expected")
    of = _saved(study)
    if layer is None:
        play_unsteered(of, of[model])
    else:
        play_layer(of, of[model], layer if layer == AUTO else int(layer))


def transcripts(study: Saved, model: OfModel) -> None:
    """Verify a model's games and gather them into one table of turns."""
    from probesteer.steering.transcripts import gather_games

    of = _saved(study)
    gather_games(of, of[model])


def deeds(study: Saved, model: OfModel) -> None:
    """Say what a model did and said in its games, dose by dose."""
    from probesteer.behaviour.deeds import write_deeds

    of = _saved(study)
    write_deeds(of, study_concept(of), of[model])


VERBS: list[Callable[..., None]] = [play, transcripts, deeds]
