"""Lies told by files: what the report says of a finished study on an organism one file of which was changed afterwards."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors import safe_open
from safetensors.numpy import save_file

from probesteer.concepts import check_study
from probesteer.errors import InputError
from probesteer.report.evidence import verified_cards, verify
from probesteer.study import Study, load_study
from probesteer.study.cells import PROBE_ARM, Cell

ROOT = Path(__file__).parent.parent
SMALL = {
    "study": "small",
    "models": [{"name": "llama", "source": "resources/organisms/llama"}],
    "scenarios": ["the_maze", "the_duel"],
    "layers": [-1, 3],
    "steering_layers": [3],
    "alphas": [-5, 0, 5],
    "alpha_unit": "absolute",
    "criteria": {"trend_alpha": 5.0},
    "controls": {"random": 2, "flipped": 1},
    "samples": 3,
    "sampling": {"max_new_tokens": 24},
}
OTHER = {"study": "other", "seed": 5}  # what the cell of another study comes from
Forge = Callable[[Study, np.random.Generator], Path]


@dataclass(frozen=True)
class Forgery:
    """A kind of forgery: it changes a file and returns the one that the report must name."""

    name: str
    forge: Forge


FORGERIES: list[Forgery] = []


def forgery(name: str) -> Callable[[Forge], Forge]:
    """Make a function one of the FORGERIES."""

    def register(forge: Forge) -> Forge:
        FORGERIES.append(Forgery(name, forge))
        return forge

    return register


def rewrite(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame], footer: bool = True) -> Path:
    """Write an edited table in the place of a sealed one, with its footer or without."""
    table = pq.read_table(path, partitioning=None)
    edited = pa.Table.from_pandas(edit(table.to_pandas()), preserve_index=False)
    pq.write_table(edited.replace_schema_metadata(pq.read_metadata(path).metadata if footer else None), path)
    return path


def scores_of(study: Study) -> Path:
    return study.paths.scores("llama", study.scorers[0])


def steered_cells(study: Study) -> list[Cell]:
    return [cell for cell in study.all_cells(study.models[0]) if cell.arm == PROBE_ARM]


def some(rng: np.random.Generator, rows: pd.DataFrame) -> np.ndarray:
    """A third of the rows (rows,), at least one."""
    return rng.permutation(len(rows)) < max(1, len(rows) // 3)


@forgery("ratings edited in a spreadsheet")
def edited_scores(study: Study, rng: np.random.Generator) -> Path:
    return rewrite(scores_of(study), lambda rows: rows.assign(positive=rows["positive"] | some(rng, rows)), footer=False)


@forgery("ratings edited, the footer kept")
def edited_scores_footer(study: Study, rng: np.random.Generator) -> Path:
    return rewrite(scores_of(study), lambda rows: rows.assign(positive=rows["positive"] ^ some(rng, rows)))


@forgery("texts that do not suit left out")
def dropped_texts(study: Study, rng: np.random.Generator) -> Path:
    return rewrite(study.paths.texts("llama"), lambda rows: rows[~some(rng, rows)])


@forgery("a cell copied to another dose")
def copied_cell(study: Study, rng: np.random.Generator) -> Path:
    cell = steered_cells(study)[rng.integers(len(steered_cells(study)))]
    path = cell._replace(alpha=-cell.alpha).path(study.paths.cells)
    shutil.copyfile(cell.path(study.paths.cells), path)
    return path


@forgery("a cell of another study")
def foreign_cell(study: Study, rng: np.random.Generator) -> Path:
    cell = steered_cells(study)[rng.integers(len(steered_cells(study)))]
    path = cell.path(study.paths.cells)
    other = study.model_copy(update={"study": OTHER["study"]})
    shutil.copyfile(cell.path(other.paths.cells), path)
    return path


@forgery("a cell with every sample twice")
def doubled_cell(study: Study, rng: np.random.Generator) -> Path:
    cell = steered_cells(study)[rng.integers(len(steered_cells(study)))]
    return rewrite(cell.path(study.paths.cells), lambda rows: pd.concat([rows, rows]))


@forgery("a probe with its sign swapped")
def swapped_probe(study: Study, _rng: np.random.Generator) -> Path:
    path = study.paths.probe("llama", 3)
    with safe_open(path, "numpy") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors | {"direction.3": -tensors["direction.3"]}, path, metadata=metadata)
    return path


@forgery("a detection table with a better AUROC")
def better_detection(study: Study, rng: np.random.Generator) -> Path:
    def edit(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(estimate=rows["estimate"].where(rows["metric"] != "auroc", rng.uniform(0.95, 1)))

    return rewrite(study.paths.detection("llama"), edit)


@forgery("a trend with a better p")
def better_trend(study: Study, rng: np.random.Generator) -> Path:
    return rewrite(study.paths.effects("llama", "trends"), lambda rows: rows.assign(p=rng.uniform(0, 0.01)))


@forgery("pairs edited after the run")
def edited_pairs(study: Study, rng: np.random.Generator) -> Path:
    (path,) = study.pairs_paths
    lines = path.read_text().splitlines()
    lines.pop(int(rng.integers(len(lines))))
    path.write_text("\n".join(lines) + "\n")
    return Path("pairs.parquet")


@contextmanager
def finished() -> Iterator[Path]:
    """A folder in which the small study and the other one have run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("Snakefile", "workflow", "config", "resources", "profiles"):
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / part)
        demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        for options in (SMALL, SMALL | OTHER):
            (folder / f"{options['study']}.yaml").write_text(yaml.safe_dump(demo | options))
            command = [
                str(Path(sys.executable).parent / "snakemake"),
                "--cores",
                "2",
                "--configfile",
                f"{options['study']}.yaml",
            ]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
        yield folder


def said_of(study: Study, path: Path) -> bool:
    """Whether the report of a study refuses a file by its name."""
    try:
        verify(study, verified_cards(study))
    except InputError as error:
        return str(path) in str(error)
    return False


def forged_rows(folder: Path, seeds: int) -> Iterator[dict[str, object]]:
    """Every forgery in turn, undone before the next one, and the study as it was (kind "")."""
    before, saved = Path.cwd(), folder.with_name(f"{folder.name}-saved")
    shutil.copytree(folder, saved)
    os.chdir(folder)
    try:
        study = check_study(load_study(Path("small.yaml")))
        verify(study, verified_cards(study))  # raises where the honest study is refused
        for kind in FORGERIES:
            for seed in range(seeds):
                path = kind.forge(study, np.random.default_rng([seed, *kind.name.encode()]))
                yield {"kind": kind.name, "named": said_of(study, path), "file": str(path)}
                for changed in ("results", "resources"):
                    shutil.copytree(saved / changed, folder / changed, dirs_exist_ok=True)
    finally:
        os.chdir(before)
        shutil.rmtree(saved)


def table(rows: pd.DataFrame) -> Iterator[str]:
    """A row per kind."""
    yield "| file | refused by its name | usual practice reads it |"
    yield "|---|---|---|"
    for kind in FORGERIES:
        own = rows[rows["kind"] == kind.name]
        yield f"| {kind.name} | {own['named'].sum()} of {len(own)} | {len(own)} of {len(own)} |"
