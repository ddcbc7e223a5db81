"""The verbs, one line of work each. A verb's modules are imported when the verb runs, so that help and errors come at once.

Verbs for people take files. Verbs for the jobs of the DAG take a study, as the workflow saved it, and the job's axes.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from probesteer.concepts.data import check_study, with_scenarios
from probesteer.errors import InputError
from probesteer.patience import redacted
from probesteer.study.experiment import Study
from probesteer.study.load import load_study
from probesteer.study.model import Model
from probesteer.study.options import AUTO, Site
from probesteer.study.paths import DEMO

# Tiny matrices: more threads than cores cost time, and one thread gives the same bits everywhere.
THREAD_VARIABLES = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
verb = app.command


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


@app.callback()
def main_options(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """Find a behaviour as a direction in language models, test it, steer with it."""


# For people


@verb()
def check(
    configfile: Files = None,
    models: Annotated[str, typer.Option(help="Only these models, comma-separated.")] = "",
    static: Annotated[bool, typer.Option("--static", help="Only what files say: no hub, disk or GPU is asked.")] = False,
) -> None:
    """Check a study, its concept and, with the hub, disk and GPU, its models."""
    from probesteer.behaviour.power import steering_power

    study = check_study(load_study(*configfile or []))
    unchecked = ["whether the models can be had and run"] if static else []
    if not static:
        from probesteer.lm.preflight import UNKNOWN, preflight, problems

        found = preflight(study, comma_list(models))
        width = max(len(finding.model) for finding in found)
        for finding in found:
            print(f"{finding.model:{width}}  {finding.what:13}  {finding.status:7}  {finding.detail}")
        if lines := problems(found):
            raise InputError("\n".join(lines))
        unchecked = [f"{finding.model}: {finding.what}" for finding in found if finding.status == UNKNOWN]
    from probesteer.plan import out_of_reach

    if design := out_of_reach(study):
        print(f"DESIGN: {design}")
    cells = sum(len(cells) for model in study.models for cells in study.jobs_cells(model))
    print(f"study {study.study}: {len(study.models)} models, {cells} steering cells, concept {study.concept}; no problem found")
    print(*steering_power(study), sep="\n", end="\n" * bool(study.steered))
    if unchecked:
        print(f"NOT CHECKED: {', '.join(unchecked)}")


@verb()
def plan(
    configfile: Files = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that work at the same time, for the wall time.")] = 1,
) -> None:
    """What a study takes: jobs, hours, disk, cost."""
    from probesteer.plan import plan_study, render_plan

    study = check_study(load_study(*configfile or []))
    print(render_plan(study, plan_study(study), gpus))


@verb()
def detect(
    activations: Annotated[Path | None, typer.Argument(metavar="ACTIVATIONS.parquet", show_default=False)] = None,
    layer: Annotated[str | None, typer.Option(help="Blocks, --layer=-1,0,3; -1 is the embeddings.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    words: Annotated[Path | None, typer.Option(help="A word list, one a line, for the keyword count.")] = None,
    planted: Annotated[Path | None, typer.Option(help="Safetensors file of an organism's planted direction.")] = None,
    control_activations: Annotated[Path | None, typer.Option(help="Activations of another concept.")] = None,
    output: Annotated[Path | None, typer.Option()] = None,
    study: Annotated[Path | None, typer.Option(help="In the place of all these: a saved study ...")] = None,
    model: Annotated[str | None, typer.Option(help="... and the name of one of its models.")] = None,
) -> None:
    """Measure directions on held-out pairs, against every control."""
    from probesteer.detection.summary import detect_file, detect_model

    if study and model:
        return detect_model(*saved_model(study, model))
    if not (activations and layer and output):
        raise typer.BadParameter("give ACTIVATIONS.parquet, --layer and --output, or --study and --model")
    detect_file(activations, comma_list(layer, int), seed, words, planted, control_activations, output)


@verb()
def score(
    texts: Annotated[Path | None, typer.Argument(metavar="TEXTS.parquet", show_default=False)] = None,
    scorer: Annotated[str, typer.Option(help="published, lexical, grammar or rubric")] = "",
    concept: Annotated[str | None, typer.Option(help="Name or folder of a concept: its words, prompts, rubrics.")] = None,
    judge: Annotated[Path | None, typer.Option(help="Card of the model that rates by the rubric.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint that rates.")] = None,
    judge_name: Annotated[str | None, typer.Option(help="The model that the endpoint is asked for.")] = None,
    output: Annotated[Path | None, typer.Option()] = None,
    study: Annotated[Path | None, typer.Option(help="In the place of all but --scorer: a saved study ...")] = None,
    model: Annotated[str | None, typer.Option(help="... and the name of one of its models.")] = None,
) -> None:
    """Score texts: columns model, layer, scenario, alpha, sample, text. An endpoint's key: PROBESTEER_JUDGE_KEY."""
    from probesteer.behaviour.verbs import score_file, score_job

    if study and model and scorer:
        return score_job(*saved_model(study, model), scorer)
    if not (texts and scorer and output):
        raise typer.BadParameter("give TEXTS.parquet, --scorer and --output, or --study, --model and --scorer")
    print(score_file(texts, scorer, concept, judge, (endpoint, judge_name), output))


@verb()
def agreement(
    scores: Annotated[Path, typer.Argument(metavar="SCORES.parquet")],
    ratings: Annotated[Path, typer.Argument(metavar="RATINGS.csv")],
) -> None:
    """Cohen's kappa of scores with human ratings: columns model, layer, scenario, alpha, sample, rating (0, 1 or 2)."""
    from probesteer.behaviour.verbs import agreement_of_files

    found = agreement_of_files(scores, ratings)
    rest = f"; {found['unmatched']} ratings are of other texts" if found["unmatched"] else ""
    print(f"kappa {found['kappa']:.3f} [{found['lower']:.3f}, {found['upper']:.3f}] on {found['texts']} texts{rest}")


@verb()
def effects(
    scores: Annotated[Path | None, typer.Argument(metavar="SCORES.parquet", show_default=False)] = None,
    rule: Annotated[str, typer.Option(help="published or strict")] = "",
    output: Annotated[Path | None, typer.Option()] = None,
    study: Annotated[Path | None, typer.Option(help="In the place of all these: a saved study ...")] = None,
    model: Annotated[str | None, typer.Option(help="... and the name of one of its models.")] = None,
) -> None:
    """Success rate per model, layer and scenario."""
    from probesteer.behaviour.outcomes import write_effects
    from probesteer.behaviour.verbs import effects_file

    if study and model:
        return write_effects(*saved_model(study, model))
    if not (scores and rule and output):
        raise typer.BadParameter("give SCORES.parquet, --rule and --output, or --study and --model")
    print(effects_file(scores, rule, output))


@verb()
def new_concept(name: str) -> None:
    """Write the skeleton of a concept of your own into resources/concepts."""
    from probesteer.concepts.concept import write_skeleton

    print(f"wrote {write_skeleton(name)}: fill it in, then `probesteer check --static --configfile STUDY`")


@verb()
def write_pairs(study: Saved) -> None:
    """Let language models behind an API write a concept's pairs, as `writing:` of a study says; what was answered is kept."""
    from probesteer.concepts.writing import write_pairs

    asked, pairs = write_pairs(saved(study))
    print(f"{len(pairs)} of {asked} pairs are balanced, {sum(pair.split == 'test' for pair in pairs)} of them held out")


@verb()
def organism(name: str, output: Output) -> None:
    """Train a model organism."""
    from probesteer.lm.train import ORGANISMS, save_organism

    if name not in ORGANISMS:
        raise InputError(f"organism {name!r}: choose one of {', '.join(ORGANISMS)}")
    save_organism(ORGANISMS[name], output)


@verb()
def grammar(
    output: Output, crossed: Annotated[bool, typer.Option("--crossed", help="With pairs that are crossed with a tone.")] = False
) -> None:
    """Write the organisms' concept: scenarios and fresh pairs."""
    from probesteer.concepts.grammar import write_concept

    write_concept(output, crossed)


@verb()
def schema(output: Annotated[Path, typer.Option(help="Root of the repository.")]) -> None:
    """Write the config schema and the option table."""
    from probesteer.study.schema import write_schema

    write_schema(output)


# For the jobs of the DAG


@verb()
def download(study: Saved) -> None:
    """Download the study's files of pairs, whose SHA-256 is known."""
    from probesteer.concepts.download import download

    given = load_study(study).pairs
    if not (given and given.downloads):
        raise InputError(f"{study}: its pairs have no url to download them from")
    for source in given.downloads:
        download(given, source)


@verb()
def pairs(study: Saved, concept: Annotated[str, typer.Option()]) -> None:
    """Find the near-duplicates among a concept's pairs, and write their data card."""
    from probesteer.concepts.card import write_pair_tables
    from probesteer.concepts.data import pair_set

    of = saved(study)
    found = pair_set(of, concept)
    table, card = of.paths.pairs(concept, found.key), of.paths.data_card(concept, found.key)
    write_pair_tables(found, table, card)


@verb()
def fetch(study: Saved, model: OfModel) -> None:
    """Download a hub model, into the hub's cache unless the study wants its weights to be temporary, and verify it."""
    from probesteer.lm.jobs import fetch_model

    fetch_model(*saved_model(study, model), model)


@verb()
def convert(study: Saved, model: OfModel) -> None:
    """Dequantise a GGUF model into a folder of safetensors."""
    from probesteer.lm.jobs import convert_model

    convert_model(*saved_model(study, model), model)


@verb()
def model(study: Saved, model: OfModel) -> None:
    """Write a model's card: digest, architecture, size."""
    from probesteer.lm.jobs import write_model_card

    write_model_card(*saved_model(study, model), model)


@verb()
def activations(study: Saved, model: OfModel, concept: Annotated[str, typer.Option()]) -> None:
    """Capture pooled activations of a concept's pairs at every block."""
    from probesteer.concepts.data import pair_set
    from probesteer.detection.activations import capture_pairs

    of, stanza = saved_model(study, model)
    capture_pairs(of, stanza, pair_set(of, concept))


@verb()
def probe(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Fit a direction, and control directions, on the training pairs."""
    from probesteer.detection.fit import fit_probe

    fit_probe(*saved_model(study, model), layer)


@verb()
def forecast(study: Saved, model: OfModel) -> None:
    """Tell what each block promises: how well it reads, and how a push there moves the odds of a pair's two sides."""
    from probesteer.detection.forecast import forecast_model

    forecast_model(*saved_model(study, model))


@verb()
def compare(table: Annotated[str, typer.Argument(metavar="TABLE")], study: Saved, model: OfModel) -> None:
    """Write what compares models: readings, independence, corpus, transfer or causes of a model."""
    from probesteer.compare.verbs import write

    write(table, *saved_model(study, model))


@verb()
def dose(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Find how far alpha 1 is at a (model, layer), in the units kl and coherence."""
    from probesteer.dosing.dose import find_doses

    find_doses(*saved_model(study, model), layer)


@verb()
def baseline(study: Saved, model: OfModel) -> None:
    """Generate the unsteered and the prompted cells of a model."""
    from probesteer.steering.cells import fill_baseline

    fill_baseline(*saved_model(study, model))


@verb()
def steer(study: Saved, model: OfModel, layer: AtLayer) -> None:
    """Generate the cells of a (model, layer)."""
    from probesteer.steering.cells import fill_layer

    fill_layer(*saved_model(study, model), layer)


@verb()
def texts(study: Saved, model: OfModel) -> None:
    """Verify a model's cells and gather them into one table of texts."""
    from probesteer.steering.texts import gather_model

    gather_model(*saved_model(study, model))


@verb()
def aggregate(
    study: Saved, output: Annotated[Path | None, typer.Option(help="Folder of the report, if not the study's own.")] = None
) -> None:
    """Verify a study's results and write the council report."""
    from probesteer.report import build_report

    of = saved(study)
    build_report(of, output or of.paths.report)


@verb()
def adopt(study: Saved) -> None:
    """Take results without Snakemake's records for up to date where they are what the study implies; prints the others."""
    from probesteer.report.adopt import adopt

    for path in adopt(saved(study)):
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0, or 2 after one line about what the user gave."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = " ".join(["probesteer", *[part for part in arguments if not part.startswith("-")][:1]])
    try:
        return app(arguments, prog_name="probesteer", standalone_mode=False) or 0
    except (TyperException, InputError, OSError) as error:
        if "--debug" in arguments:
            sys.excepthook = show_traceback
            raise
        print(redacted(f"{name}: error: {message(error)}"), file=sys.stderr)
        return 2


def show_traceback(*error: Any) -> None:
    """Print a traceback without the keys that the environment holds."""
    print(redacted("".join(traceback.format_exception(*error))), end="", file=sys.stderr)


def message(error: Exception) -> str:
    """What is wrong, in a line."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return f"{error.format_message().removesuffix('.')}; see --help" if isinstance(error, TyperException) else str(error)
