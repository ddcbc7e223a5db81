"""What planning costs as a study grows: python benchmarks/scale.py   prints a Markdown table.

Each size is 5 layers x 5 scenarios x 11 alphas per model, one arm. It is planned as a new study, and once more with one model
added where all others are finished: every result is then a copy of one small sealed file.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import yaml

from probesteer.concepts import check_study
from probesteer.study import DEFAULT, load_study
from probesteer.tables import write_table

ROOT = Path(__file__).parent.parent
STUDY = {
    "study": "scale",
    "layers": [-1, 1, 2, 3, 4, 5],
    "steering_layers": [1, 2, 3, 4, 5],
    "alphas": [-20, -10, -5, -3, -1, 0, 1, 3, 5, 10, 20],
    "controls": {"random": 0, "shuffled": 0},
}


def write_study(models: int) -> Path:
    """A study of that many models: one checkpoint under many names."""
    stanzas = [{"name": f"m{number:04}", "source": "resources/organisms/llama"} for number in range(models)]
    path = Path("scale.yaml")
    path.write_text(yaml.safe_dump({**STUDY, "models": stanzas}))
    return path


def snakemake(*arguments: object) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of a Snakemake run."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--configfile", "scale.yaml", *map(str, arguments)]
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


def jobs_of(output: str) -> int:
    """Planned jobs, without `all`."""
    found = re.findall(r"^total +(\d+)$", output, re.MULTILINE)
    return int(found[-1]) - 1 if found else 0


def finish(study_file: Path) -> None:
    """Put a sealed file in the place of every result, and let Snakemake record them as up to date."""
    study = load_study(DEFAULT, study_file)
    write_table(pa.table({"a": [0]}), Path("sealed"))
    council = study.root / "council"
    others = [council / name for name in ("study.json", "report.html", "report.md")]
    cells = (cell.path(study.cells_root) for model in study.models for cell in study.all_cells(model))
    for path in [*study.results(check_study(study)), *cells, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile("sealed", path)
    snakemake("--touch", "--cores", "1", "--quiet", "all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--finished", type=int, nargs="*", default=[10, 100], help="sizes that are also planned with one more")
    args = parser.parse_args()
    print("| models | cells | a new study: seconds | MB | jobs | one more model: seconds | MB | jobs |")
    print("|---|---|---|---|---|---|---|---|")
    for models in args.models:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            for name in ("Snakefile", "workflow", "config", "resources", "profiles"):
                os.symlink(ROOT / name, name)
            study = write_study(models)
            seconds, memory, output = snakemake("-n", "--quiet", "rules")
            row = [f"{models:,}", f"{models * 275:,}", f"{seconds:.1f}", f"{memory:.0f}", f"{jobs_of(output):,}"]
            if models in args.finished:
                finish(study)
                write_study(models + 1)
                seconds, memory, output = snakemake("-n", "--quiet", "rules")
                row += [f"{seconds:.1f}", f"{memory:.0f}", f"{jobs_of(output):,}"]
            print(f"| {' | '.join(row + [''] * (8 - len(row)))} |", flush=True)
            os.chdir(ROOT)


if __name__ == "__main__":
    main()
