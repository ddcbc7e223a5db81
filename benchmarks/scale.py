"""What a study costs as its models grow in number: python benchmarks/scale.py [TASK ...]   prints Markdown tables.

Each model has 5 steered layers, 5 scenarios and 11 alphas. `planning`: `snakemake -n` of a new study, one arm, and once more
with one model added where all others are finished: every result is then a copy of one small sealed file. `aggregate`: the
report of finished studies, control arms included: one model is run, and the others are links to its results.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import yaml

from probesteer.concepts import check_study
from probesteer.files.tables import write_table
from probesteer.jobs import results
from probesteer.study import Study, load_study

ROOT = Path(__file__).parent.parent
STUDY = {
    "study": "scale",
    "concept": "empathy_grammar",
    "layers": [-1, 1, 2, 3, 4, 5],
    "steering_layers": [1, 2, 3, 4, 5],
    "alphas": [-20, -10, -5, -3, -1, 0, 1, 3, 5, 10, 20],
    "alpha_unit": "absolute",
    "scorers": ["grammar", "published"],
}
ONE_ARM = {"controls": {"random": 0, "flipped": 0}}
SHORT = {"samples": 3, "sampling": {"max_new_tokens": 12}}


def write_study(models: int, **options: object) -> Study:
    """A study of that many models, one checkpoint under many names, in scale.yaml."""
    stanzas = [{"name": f"m{number:04}", "source": "resources/organisms/llama"} for number in range(models)]
    path = Path("scale.yaml")
    path.write_text(yaml.safe_dump({**STUDY, **options, "models": stanzas}))
    return check_study(load_study(path))


def measured(program: str, *arguments: object) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of a command."""
    command = [str(Path(sys.executable).parent / program), *map(str, arguments)]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read()
    if status:
        raise SystemExit(text[-2000:])
    return seconds, usage.ru_maxrss / 2**10, text


def snakemake(*arguments: object) -> tuple[float, float, str]:
    return measured("snakemake", "--configfile", "scale.yaml", *arguments)


def jobs_of(output: str) -> int:
    """Planned jobs, without `all`."""
    found = re.findall(r"^total +(\d+)$", output, re.MULTILINE)
    return int(found[-1]) - 1 if found else 0


def finish(study: Study) -> None:
    """Put a sealed file in the place of every result, and let Snakemake record them as up to date."""
    write_table(pa.table({"a": [0]}), Path("sealed"))
    council = study.paths.report
    others = [council / name for name in ("study.json", "report.html", "report.md")]
    cells = (cell.path(study.paths.cells) for model in study.models for cell in study.all_cells(model))
    for path in [*results(study), *cells, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile("sealed", path)
    snakemake("--touch", "--cores", "1", "--quiet", "all")


def planning(sizes: list[int], finished: list[int]) -> Iterator[str]:
    """Seconds and memory of planning."""
    yield "| models | cells | a new study: seconds | MB | jobs | one more model: seconds | MB | jobs |"
    yield "|---|---|---|---|---|---|---|---|"
    for models in sizes:
        with workflow():
            study = write_study(models, **ONE_ARM)
            seconds, memory, output = snakemake("-n", "--quiet", "rules")
            row = [f"{models:,}", f"{models * 275:,}", f"{seconds:.1f}", f"{memory:.0f}", f"{jobs_of(output):,}"]
            if models in finished:
                finish(study)
                write_study(models + 1, **ONE_ARM)
                seconds, memory, output = snakemake("-n", "--quiet", "rules")
                row += [f"{seconds:.1f}", f"{memory:.0f}", f"{jobs_of(output):,}"]
            yield f"| {' | '.join(row + [''] * (8 - len(row)))} |"


def aggregate(sizes: list[int], _finished: list[int]) -> Iterator[str]:
    """Seconds and memory of the report, every cell verified."""
    yield "| models | verified cells | seconds | MB | seconds a model |\n|---|---|---|---|---|"
    with workflow():
        write_study(1, **SHORT)
        snakemake("--cores", "2", "--quiet", "all")
        snakemake("--cores", "2", "--quiet", "--", write_study(2, **SHORT).paths.compared("m0000", "readings"))
        done = 1
        for models in sizes:
            for number in range(done, models):
                link_model("m0000", f"m{number:04}")
            done = max(done, models)
            study = write_study(models, **SHORT)
            study.save(study.paths.saved)
            seconds, memory, _ = measured("probesteer", "aggregate", "--study", study.paths.saved, "--output", "report")
            cells = models * len(list(study.all_cells(study.models[0])))
            yield f"| {models:,} | {cells:,} | {seconds:.1f} | {memory:.0f} | {seconds / models:.3f} |"


def link_model(source: str, name: str) -> None:
    """Give a model's results another name: no file holds the name of its model, but for texts and scores that nobody reads."""
    for folder in Path("results").rglob(f"model={source}"):
        shutil.copytree(folder, folder.with_name(f"model={name}"), copy_function=os.link)
    shutil.copytree(Path("results/models") / source, Path("results/models") / name, copy_function=os.link)


class workflow(tempfile.TemporaryDirectory):  # noqa: N801
    """A folder that sees the workflow, as the working directory."""

    def __enter__(self) -> str:
        folder = super().__enter__()
        os.chdir(folder)
        for name in ("Snakefile", "workflow", "config", "resources", "profiles"):
            os.symlink(ROOT / name, name)
        return folder

    def __exit__(self, *error: object) -> None:
        os.chdir(ROOT)
        super().__exit__(*error)  # type: ignore[arg-type]


TASKS = {"planning": planning, "aggregate": aggregate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS, nargs="*", default=list(TASKS))
    parser.add_argument("--models", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--finished", type=int, nargs="*", default=[10, 100], help="sizes that are also planned with one more")
    args = parser.parse_args()
    for task in args.task:
        print(f"### {task}\n")
        for line in TASKS[task](args.models, args.finished):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
