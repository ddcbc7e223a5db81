"""The study on a real Slurm: a private node on loopback, the shipped profile, and the tables of a local run."""

import time

import pandas as pd
import pytest
from conftest import World, make_world
from slurm import Slurm, missing

from probesteer.tables import FINGERPRINT, read_footer

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no private Slurm on this machine: {', '.join(missing())}")
MODEL_RULES = ("activations", "baseline", "steer")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory):
    cluster = Slurm(tmp_path_factory.mktemp("slurm") / "cluster")
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def submitted(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the small study has run through Slurm, with a GPU for each job that loads a model."""
    world = make_world(tmp_path_factory.mktemp("submitted"))
    study = world.study(resources={"gpus": 1, "mem_mb": 1500})
    done = world.snakemake("--profile", "profiles/slurm", "--configfile", study, **slurm.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return world


def test_every_table_and_fingerprint_equals_the_local_runs(submitted, finished):
    kinds = ["steering", "detection", "texts", "scores"]
    paths = [path for kind in kinds for path in (finished.folder / "results/small" / kind).rglob("*.parquet")]
    assert len(paths) > 20
    for path in paths:
        other = submitted.folder / path.relative_to(finished.folder)
        first, second = (pd.read_parquet(file, partitioning=None) for file in (path, other))
        pd.testing.assert_frame_equal(first, second)
        assert (read_footer(path) or {}).get(FINGERPRINT) == (read_footer(other) or {}).get(FINGERPRINT)


def test_a_gpu_is_asked_for_by_exactly_the_jobs_that_load_a_model(submitted, slurm):
    jobs = [job for job in slurm.jobs() if str(submitted.folder) in job.get("WorkDir", "")]
    assert jobs and {job["JobState"] for job in jobs} == {"COMPLETED"}
    with_gpu = [job for job in jobs if "gpu" in job.get("TresPerNode", "") + job.get("TresPerJob", "")]
    rules = [job["Comment"] for job in with_gpu]
    assert sorted(rule.split("_")[1] for rule in rules) == sorted(MODEL_RULES), rules


def wait_for(what, seconds: float = 120):
    """Call `what` until it gives something."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def running(slurm: Slurm, world: World, rule: str) -> list[str]:
    """Ids of the running jobs of a rule in a world."""
    return [
        job["JobId"]
        for job in slurm.jobs()
        if job["JobState"] == "RUNNING" and rule in job.get("Comment", "") and str(world.folder) in job.get("WorkDir", "")
    ]


@pytest.fixture
def undisturbed(submitted: World) -> dict[str, pd.DataFrame]:
    return tables(submitted)


def tables(world: World) -> dict[str, pd.DataFrame]:
    """Every cell of the small study."""
    root = world.folder / "results/small/steering"
    return {str(path.relative_to(root)): pd.read_parquet(path, partitioning=None) for path in root.rglob("cell.parquet")}


def assert_whole(world: World, expected: dict[str, pd.DataFrame]) -> None:
    """Every cell is there as in the undisturbed run, and no file is half-written."""
    found = tables(world)
    assert set(found) == set(expected)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)
    beside = [path for path in (world.folder / "results").rglob(".*") if path.is_file() and path.name.startswith(".cell")]
    assert not beside


SMALL = {"resources": {"gpus": 1, "mem_mb": 1500}}


def test_a_cancelled_job_is_submitted_again_and_the_run_ends_whole(fresh, slurm, undisturbed):
    command = fresh.start("--profile", "profiles/slurm", "--configfile", fresh.study(**SMALL), **slurm.environment)
    job = wait_for(lambda: running(slurm, fresh, "steer"))[0]
    slurm.run("scancel", job)
    command.communicate(timeout=300)
    assert command.returncode == 0
    assert_whole(fresh, undisturbed)


def test_jobs_outlive_a_killed_snakemake_and_one_more_run_ends_whole(fresh, slurm, undisturbed):
    study = fresh.study(**SMALL)
    command = fresh.start("--profile", "profiles/slurm", "--configfile", study, **slurm.environment)
    wait_for(lambda: running(slurm, fresh, "steer"))
    command.kill()
    command.communicate()
    again = ("--profile", "profiles/slurm", "--configfile", study)
    assert "--unlock" in (locked := fresh.snakemake(*again, **slurm.environment)).stderr and locked.returncode != 0
    assert fresh.snakemake(*again, "--unlock", **slurm.environment).returncode == 0
    wait_for(lambda: not running(slurm, fresh, ""))
    done = fresh.snakemake(*again, **slurm.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_whole(fresh, undisturbed)


def test_a_cluster_that_refuses_jobs_is_an_error_and_breaks_nothing(fresh, slurm):
    partitions = fresh.folder / "profiles/slurm/partitions.yaml"
    partitions.write_text(partitions.read_text().replace("gpu:\n", "nonesuch:\n"))
    done = fresh.snakemake("--profile", "profiles/slurm", "--configfile", fresh.study(**SMALL), **slurm.environment)
    assert done.returncode != 0 and "nonesuch" in done.stdout + done.stderr
    assert not list((fresh.folder / "results").rglob("cell.parquet"))
