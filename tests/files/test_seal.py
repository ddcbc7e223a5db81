"""A sealed file says whether it has changed since it was written, whatever its format; a run makes damaged results again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from probesteer.directions.probe import Probe, load_probe, save_probe
from probesteer.files.cards import read_card, write_card
from probesteer.files.seal import DAMAGED, MISSING, WHOLE, is_whole, state
from probesteer.files.tables import is_fresh, read_inputs, write_table


@pytest.fixture(params=["parquet", "safetensors", "json"])
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"file.{request.param}"
    if request.param == "parquet":
        write_table(pa.table({"a": range(100)}), path, {"of": 1}, {"seconds": 2.0})
    elif request.param == "safetensors":
        save_probe(Probe(1, np.eye(1, 8, dtype=np.float32)[0], 1.0, 2.0, {}), path)
    else:
        write_card(path, {"digest": "d", "source": "s"})
    return path


def test_a_file_is_whole_when_it_was_just_written_and_reads_as_ever(sealed):
    assert state(sealed) == WHOLE
    if sealed.suffix == ".parquet":
        assert is_fresh(sealed, {"of": 1}) and read_inputs(sealed) == {"of": 1}
    elif sealed.suffix == ".safetensors":
        assert load_probe(sealed, 1).separation == 1.0
    else:
        assert read_card(sealed) == {"digest": "d", "source": "s"}


def test_every_flipped_byte_and_every_truncation_is_seen(sealed):
    data = sealed.read_bytes()
    for position in range(len(data)):
        sealed.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert not is_whole(sealed), position
    for length in range(len(data)):
        sealed.write_bytes(data[:length])
        assert state(sealed) == DAMAGED, length
    sealed.write_bytes(data)
    assert is_whole(sealed)
    sealed.unlink()
    assert state(sealed) == MISSING


def test_a_probe_that_is_written_twice_has_the_same_bytes(tmp_path):
    code = (
        "import sys, pathlib, numpy as np; from probesteer.directions.probe import Probe, save_probe;"
        "names = ['random-1', 'random-2', 'flipped-1']; controls = {name: np.ones(7, np.float32) for name in names};"
        "metadata = {'model': 'é', 'method': 'lda', 'pooling': 'mean', 'numerics': '1'};"
        "save_probe(Probe(3, np.ones(7, np.float32), 1.0, 2.0, metadata, controls), pathlib.Path(sys.argv[1]), {'a': 1})"
    )
    for number in range(4):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{number}.safetensors")], check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    path = next(tmp_path.iterdir())
    assert is_whole(path) and load_probe(path, 3).metadata["model"] == "é" and len(load_probe(path, 3).controls) == 3


@pytest.mark.slow
def test_damaged_results_of_every_kind_are_made_again_in_one_run(finished, world):
    before, root = world.cells(), world.folder / "results"
    victims = [
        *root.glob("models/*/*.json"),
        *root.rglob("probe.safetensors"),
        *(next(root.rglob(name)) for name in ("detection.parquet", "texts.parquet", "scores.parquet")),
        *root.glob("activations/**/*.parquet"),
    ]
    cell = next(path for path in before if "alpha=5" in str(path))
    for path in [*victims, root / "small/steering" / cell]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    study = world.folder / "config/studies/small.yaml"
    jobs = world.plan(study)
    assert {"model", "activations", "probe", "detect", "texts", "score", "steer_1"} <= set(jobs)
    world.run(study)
    after = world.cells()
    assert {path: data for path, data in after.items() if path != cell} == {p: d for p, d in before.items() if p != cell}
    for path in [*victims, root / "small/steering" / cell]:
        other = finished.folder / path.relative_to(world.folder)
        if path.suffix == ".parquet":
            pd.testing.assert_frame_equal(*(pd.read_parquet(file, partitioning=None) for file in (path, other)))
        elif path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads(other.read_text())
        else:
            assert (load_probe(path, 3).direction == load_probe(other, 3).direction).all()
    assert world.plan(study) == {}


@pytest.mark.slow
def test_a_results_folder_without_records_heals_too(world):
    shutil.rmtree(world.folder / ".snakemake")
    victim = next((world.folder / "results/small/steering").rglob("cell.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    study = world.folder / "config/studies/small.yaml"
    world.run(study)
    assert is_whole(victim) and world.plan(study) == {}


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("small/detection/**/*.parquet", {"detect", "aggregate", "all"}),
        ("small/texts/**/*.parquet", {"texts", "score", "effects", "aggregate", "all"}),
        ("small/**/probe.safetensors", {"probe", "steer_1", "texts", "score", "effects", "aggregate", "all"}),
        ("activations/**/*.parquet", set()),
    ],
    ids=["detection", "texts", "probe", "cache"],
)
def test_a_deleted_table_is_made_again_and_a_deleted_cache_when_it_is_needed(name, jobs, world):
    next((world.folder / "results").glob(name)).unlink()
    assert set(world.plan(world.folder / "config/studies/small.yaml")) == jobs
