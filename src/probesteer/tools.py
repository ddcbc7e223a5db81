"""Verbs around a study, which concern no job of it: what lies before it, and after."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from probesteer.errors import InputError


def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder, or an empty one.")]) -> None:
    """Lay out a folder to run studies in: Snakefile, workflow, profiles, schema, the demo and the concepts."""
    from probesteer.study.layout import lay_out

    lay_out(folder)
    print(f"wrote {folder}: `cd {folder}`, then `snakemake --profile profiles/local` runs the demo;")
    print(
        "studies of your own go to config/studies (config/README.md has every option), behaviours to `probesteer new-concept`"
    )


def new_concept(name: str) -> None:
    """Write the skeleton of a concept of your own into resources/concepts."""
    from probesteer.concepts.concept import write_skeleton

    print(f"wrote {write_skeleton(name)}: fill it in, then `probesteer check --static --configfile STUDY`")


def verify(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The folder of a report, or of its study in results.")],
) -> None:
    """Tell whether a finished study is still what its report was made from, value by value; no model is loaded."""
    from probesteer.report.verify import verify_report

    done = verify_report(report)
    for note in done.notes:
        print(f"NOT COMPARED: {note}", file=sys.stderr)
    if done.findings:
        raise InputError("\n".join(done.findings))
    print(f"{report}: {done.files:,} files are as recorded; {done.recomputed:,} of them were made again and are the same")


def export(
    probe: Annotated[Path, typer.Argument(metavar="PROBE.safetensors")],
    model: Annotated[Path, typer.Option(help="Card of the model that it is for, results/models/NAME/*.json.")],
    output: Annotated[Path, typer.Option(help="A .gguf control vector for llama.cpp, .safetensors, or .pt.")],
    arm: Annotated[str, typer.Option(help="probe, or a control direction such as flipped-1.")] = "probe",
    alpha: Annotated[float, typer.Option(help="The dose that the file declares ...")] = 1.0,
    unit: Annotated[str, typer.Option(help="... in this unit: separation, residual or absolute.")] = "separation",
    force: Annotated[bool, typer.Option("--force", help="Also for another model than the probe's.")] = False,
) -> None:
    """Write a direction for other tools, with what it is."""
    from probesteer.lm.export import export as write

    declared = write(probe, model, output, arm=arm, dose=(alpha, unit), force=force)
    print(f"wrote {output}: {declared['site']}, dose {float(declared['dose']):.4g} ({declared['dose_is']})")


def read(
    probe: Annotated[Path, typer.Argument(metavar="PROBE.safetensors")],
    text: Annotated[Path, typer.Argument(metavar="TEXT.txt|CHAT.json")],
    model: Annotated[Path, typer.Option(help="Card of the model to read with, results/models/NAME/*.json.")],
    output: Annotated[Path, typer.Option(help="A table, .csv, or a heat map, .html.")],
    force: Annotated[bool, typer.Option("--force", help="Also with another model than the probe's.")] = False,
) -> None:
    """Score a text, or a chat (a list of turns with role and content), with a direction, token by token."""
    from probesteer.lm.transcript import read_file

    tokens = read_file(probe, model, text, output, force)
    scores = [token.score for token in tokens if token.content]
    mean = f", mean score {sum(scores) / len(scores):+.3f} class separations from neutral" if scores else ""
    print(f"wrote {output}: {len(tokens)} tokens{mean}")


def eval_log(
    transcripts: Annotated[Path, typer.Argument(metavar="TRANSCRIPTS.parquet")],
    output: Annotated[Path, typer.Option(help="Inspect's log, .eval.")],
    arm: Annotated[str | None, typer.Option(help="Only this arm's episodes: probe, baseline, flipped-1, ...")] = None,
) -> None:
    """Write a model's episodes of games as a log that `inspect view` opens."""
    from probesteer.steering.eval_log import write_eval_log

    print(f"wrote {output}: {write_eval_log(transcripts, output, arm)} episodes")


VERBS: list[Callable[..., None]] = [init, new_concept, verify, export, read, eval_log]
