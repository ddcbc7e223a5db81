"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated, Any

import typer

from probesteer.concepts.data import with_scenarios
from probesteer.study.experiment import Study
from probesteer.study.load import load_study
from probesteer.study.model import Model
from probesteer.study.options import AUTO, Site
from probesteer.study.paths import DEMO


def site(text: str) -> Site:
    """A layer that a study steers at."""
    if text != AUTO and not text.isdecimal():
        raise typer.BadParameter(f"{text!r}: a block counted from 0, or auto, is expected")
    return text if text == AUTO else int(text)


Files = Annotated[
    list[Path] | None, typer.Option("--configfile", help=f"Study files, each layered over the last; none is {DEMO}.")
]
Saved = Annotated[Path, typer.Option("--study", help="The study, as the workflow saved it.")]
OfModel = Annotated[str, typer.Option("--model", help="Name of a model of the study.")]
AtLayer = Annotated[Any, typer.Option("--layer", parser=site, metavar="BLOCK", help="Block, counted from 0, or auto.")]
Output = Annotated[Path, typer.Option("--output")]


def comma_list(text: str, kind: type[int] | type[str] = str) -> list:
    """Comma-separated values; write --option=-1,2 where the first one is negative."""
    try:
        return [kind(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: comma-separated {kind.__name__} values are expected") from error


def saved(path: Path) -> Study:
    return with_scenarios(load_study(path))


def saved_model(path: Path, name: str) -> tuple[Study, Model]:
    study = saved(path)
    return study, study.loaded(name)
