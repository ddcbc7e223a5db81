"""The verbs, one line of work each. A verb's modules are imported when the verb runs, so that help and errors come at once.

Those here are for people and take files; `job_verbs` has those of the DAG's jobs, `tools` what lies before a study and after.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from probesteer import job_verbs, tools
from probesteer.arguments import Files, Output, Saved, comma_list, saved, saved_model
from probesteer.concepts.data import check_study, strange_scenarios
from probesteer.errors import InputError
from probesteer.patience import redacted
from probesteer.study.load import load_study

# Tiny matrices: more threads than cores cost time, and one thread gives the same bits everywhere.
THREAD_VARIABLES = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
verb = app.command


@app.callback()
def main_options(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """Find a behaviour as a direction in language models, test it, steer with it."""


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
    if strange := strange_scenarios(study):
        print(f"NOTE: there are pairs of {', '.join(strange)}, a scenario that {study.concept} has not; misspelt?")
    count = f"{len(study.models)} model{'s' * (len(study.models) > 1)}"
    print(f"study {study.study}: {count}, {cells} steering cells, concept {study.concept}; no problem found")
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
def ratings(
    texts: Annotated[list[Path], typer.Argument(metavar="TEXTS.parquet...")],
    concept: Annotated[str, typer.Option(help="Name or folder of the concept: its prompts and rubrics.")],
    output: Output,
    count: Annotated[int, typer.Option("--texts", min=1, help="Texts of each model.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
) -> None:
    """Write texts, shuffled and blinded, as a CSV for a person to rate."""
    from probesteer.behaviour.verbs import sheet_of_files

    print(sheet_of_files(texts, concept, count, seed, output))


@verb()
def agreement(
    scores: Annotated[Path, typer.Argument(metavar="SCORES.parquet")],
    ratings: Annotated[list[Path], typer.Argument(metavar="RATINGS.csv...")],
) -> None:
    """Cohen's kappa and Krippendorff's alpha of scores and people's ratings, a file each: sheets, or columns model, layer,

    scenario, alpha, sample, rating (0, 1 or 2).
    """
    from probesteer.behaviour.verbs import agreement_of_files

    print(*agreement_of_files(scores, ratings), sep="\n")


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


for tool in [*tools.VERBS, *job_verbs.VERBS]:
    app.command()(tool)


@verb()
def write_pairs(study: Saved) -> None:
    """Let language models behind an API write a concept's pairs, as `writing:` of a study says; what was answered is kept."""
    from probesteer.concepts.writing import write_pairs

    asked, pairs = write_pairs(saved(study))
    print(f"{len(pairs)} of {asked} pairs are balanced, {sum(pair.split == 'test' for pair in pairs)} of them held out")


@verb()
def organism(
    name: str,
    output: Output,
    checkpoints: Annotated[int, typer.Option(min=0, help="Saved on the way, after a half, a quarter ... of the steps.")] = 0,
) -> None:
    """Train a model organism."""
    from probesteer.lm.train import ORGANISMS, save_organism

    if name not in ORGANISMS:
        raise InputError(f"organism {name!r}: choose one of {', '.join(ORGANISMS)}")
    save_organism(ORGANISMS[name], output, checkpoints)


@verb()
def grammar(
    output: Output, crossed: Annotated[bool, typer.Option("--crossed", help="With pairs that are crossed with a tone.")] = False
) -> None:
    """Write the organisms' concept: scenarios and fresh pairs."""
    from probesteer.concepts.grammar import write_concept

    write_concept(output, crossed)


@verb()
def schema(output: Annotated[Path, typer.Option(help="Root of the repository.")]) -> None:
    """Write what is generated: the config schema, the table of options, the page of outputs."""
    from probesteer.files.whole import write_text
    from probesteer.report.glossary import outputs_text
    from probesteer.study.schema import write_schema

    write_schema(output)
    write_text(output / "docs/outputs.md", outputs_text())


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
