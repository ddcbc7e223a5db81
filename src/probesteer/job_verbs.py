"""The verbs for the jobs of the DAG, one line of work each: they take a study, as the workflow saved it, and the job's axes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from probesteer.arguments import AtLayer, OfModel, Saved, saved, saved_model, site
from probesteer.errors import InputError
from probesteer.study.load import load_study


def download(study: Saved) -> None:
    """Download the study's files of pairs, whose SHA-256 is known."""
    from probesteer.concepts.download import download

    given = load_study(study).pairs
    if not (given and given.downloads):
        raise InputError(f"{study}: its pairs have no url to download them from")
    for source in given.downloads:
        download(given, source)


def pairs(study: Saved, concept: Annotated[str, typer.Option()]) -> None:
    """Find the near-duplicates among a concept's pairs, and write their data card."""
    from probesteer.concepts.card import write_pair_tables
    from probesteer.concepts.data import pair_set

    of = saved(study)
    found = pair_set(of, concept)
    table, card = of.paths.pairs(concept, found.key), of.paths.data_card(concept, found.key)
    write_pair_tables(found, table, card)


def fetch(study: Saved, model: OfModel) -> None:
    """Download a hub model, into the hub's cache unless the study wants its weights to be temporary, and verify it."""
    from probesteer.lm.jobs import fetch_model

    fetch_model(*saved_model(study, model), model)


def convert(study: Saved, model: OfModel) -> None:
    """Dequantise a GGUF model into a folder of safetensors."""
    from probesteer.lm.jobs import convert_model

    convert_model(*saved_model(study, model), model)


def model(study: Saved, model: OfModel) -> None:
    """Write a model's card: digest, architecture, size."""
    from probesteer.lm.jobs import write_model_card

    write_model_card(*saved_model(study, model), model)


def activations(study: Saved, model: OfModel, concept: Annotated[str, typer.Option()]) -> None:
    """Capture pooled activations of a concept's pairs at every block."""
    from probesteer.concepts.data import pair_set
    from probesteer.detection.activations import capture_pairs

    of, stanza = saved_model(study, model)
    capture_pairs(of, stanza, pair_set(of, concept))


def probe(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Fit a direction, and control directions, on the training pairs."""
    from probesteer.detection.fit import fit_probe

    fit_probe(*saved_model(study, model), layer)


def forecast(study: Saved, model: OfModel) -> None:
    """Tell what each block promises: how well it reads, and how a push there moves the odds of a pair's two sides."""
    from probesteer.detection.forecast import forecast_model

    forecast_model(*saved_model(study, model))


def compare(table: Annotated[str, typer.Argument(metavar="TABLE")], study: Saved, model: OfModel) -> None:
    """Write what compares models: readings, independence, corpus, transfer or causes of a model."""
    from probesteer.compare.verbs import write

    write(table, *saved_model(study, model))


def dose(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Find how far alpha 1 is at a (model, layer), in the units kl and coherence."""
    from probesteer.dosing.dose import find_doses

    find_doses(*saved_model(study, model), layer)


def baseline(study: Saved, model: OfModel) -> None:
    """Generate the unsteered and the prompted cells of a model."""
    from probesteer.steering.cells import fill_baseline

    fill_baseline(*saved_model(study, model))


def steer(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Generate the cells of a (model, layer)."""
    from probesteer.steering.cells import fill_layer

    fill_layer(*saved_model(study, model), layer)


def texts(study: Saved, model: OfModel) -> None:
    """Verify a model's cells and gather them into one table of texts."""
    from probesteer.steering.texts import gather_model

    gather_model(*saved_model(study, model))


def correlation(study: Saved, model: OfModel) -> None:
    """Let a model read what was written; compare that with the scores, and its best block to read with the best to steer."""
    from probesteer.behaviour.correlation import correlate_model
    from probesteer.detection.reading import read_model

    of, stanza = saved_model(study, model)
    read_model(of, stanza)
    correlate_model(of, stanza)


def play(
    study: Saved,
    model: OfModel,
    layer: Annotated[Any, typer.Option(parser=site, metavar="BLOCK", help="Block, or auto; none plays unsteered.")] = None,
) -> None:
    """Play games with a model: those of a (model, layer), or the unsteered and the prompted ones."""
    from probesteer.steering.rollouts import play_layer, play_unsteered

    if layer is None:
        play_unsteered(*saved_model(study, model))
    else:
        play_layer(*saved_model(study, model), layer)


def transcripts(study: Saved, model: OfModel) -> None:
    """Verify a model's games and gather them into one table of turns."""
    from probesteer.steering.transcripts import gather_games

    gather_games(*saved_model(study, model))


def deeds(study: Saved, model: OfModel) -> None:
    """Say what a model did and said in its games, dose by dose."""
    from probesteer.behaviour.deeds import write_deeds
    from probesteer.concepts.data import study_concept

    of, stanza = saved_model(study, model)
    write_deeds(of, study_concept(of), stanza)


def aggregate(
    study: Saved, output: Annotated[Path | None, typer.Option(help="Folder of the report, if not the study's own.")] = None
) -> None:
    """Verify a study's results and write the council report."""
    from probesteer.report import build_report

    of = saved(study)
    build_report(of, output or of.paths.report)


def adopt(study: Saved) -> None:
    """Take results without Snakemake's records for up to date where they are what the study implies; prints the others."""
    from probesteer.report.adopt import adopt

    for path in adopt(saved(study)):
        print(path)


VERBS: list[Callable[..., None]] = [
    download,
    pairs,
    fetch,
    convert,
    model,
    activations,
    probe,
    forecast,
    compare,
    dose,
    baseline,
    steer,
    texts,
    correlation,
    play,
    transcripts,
    deeds,
    aggregate,
    adopt,
]
