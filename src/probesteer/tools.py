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


VERBS: list[Callable[..., None]] = [init, new_concept, verify]
