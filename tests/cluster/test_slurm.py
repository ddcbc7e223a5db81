"""The study on a real Slurm: a private node on loopback, the shipped profile, and the tables of a local run."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, World, make_world
from faults import FAULTS, STUDY, Fault, Scene, asking_often, suffer, wait_for
from slurm import ACCOUNT, Slurm, cluster_of, missing

from probesteer.files.tables import FINGERPRINT, read_footer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"no private Slurm on this machine: {', '.join(missing())}"),
]
MODEL_RULES = ["activations", "baseline", "correlation", "forecast", "steer"]  # a job a model
GPU = {"resources": {"gpus": 1, "mem_mb": 1500}}
FEW_JOBS = {"steering_layers": [], "layers": [-1, 3], "ablations": 0}
IN_EVERY_TEST_RUN = {
    ("scancel after some cells", "steer"),
    ("SIGKILL of the worker after some cells", "steer"),
    ("SIGKILL of Snakemake", "activations"),
    ("SIGKILL of slurmd", "baseline"),
    ("memory limit", "steer"),
    ("disk full", "activations"),
    ("results read-only", "steer"),
    ("`.snakemake/` lost, study changed", "finished"),
    ("SIGKILL of the worker", "aggregate"),
    ("one of three nodes dies", "steer"),
    ("the clock was a day fast until some cells were there", "steer"),
}


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path: a job's socket below it has at most 108 characters, or the job is held for ever."""
    with tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def clusters(folder: Path) -> Iterator[dict[int, Slurm]]:
    """By their number of nodes: one large node, and three of 4 CPUs and 8 GB."""
    running = {nodes: cluster_of(folder / f"nodes{nodes}", nodes) for nodes in (1, 3)}
    for cluster in running.values():
        cluster.start()
    yield running
    for cluster in running.values():
        cluster.stop()


@pytest.fixture
def fresh(fresh: World) -> World:
    return asking_often(fresh)


@pytest.fixture
def slurm(clusters: dict[int, Slurm]) -> Slurm:
    return clusters[1]


def embedded(folder: Path, profile: str, **environment: str) -> World:
    """A world in which the embedded study has run on two models and few samples, with a GPU for each job that loads a model."""
    world = asking_often(make_world(folder))
    whole = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    few = {"samples": 3, "alphas": [-4, -0.1, 0, 0.1], "controls": {"random": 1, "flipped": 1}, "models": whole["models"][:2]}
    path = world.folder / "config/studies/gpu.yaml"
    path.write_text(yaml.safe_dump(whole | few | GPU))
    done = world.snakemake("--profile", f"profiles/{profile}", "--configfile", path, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return world


@pytest.fixture(scope="session")
def submitted(clusters: dict[int, Slurm], tmp_path_factory: pytest.TempPathFactory) -> World:
    return embedded(tmp_path_factory.mktemp("submitted"), "slurm", **clusters[1].environment)


def test_every_table_and_fingerprint_of_the_embedded_study_equals_the_local_runs(submitted, tmp_path):
    local, kinds = embedded(tmp_path, "local"), ["steering", "detection", "texts", "scores", "effects"]
    paths = [path for kind in kinds for path in (local.folder / "results/organisms" / kind).rglob("*.parquet")]
    assert len(paths) > 120  # its cells, and the tables
    for path in paths:
        other = submitted.folder / path.relative_to(local.folder)
        first, second = (pd.read_parquet(file, partitioning=None) for file in (path, other))
        pd.testing.assert_frame_equal(first, second)
        assert (read_footer(path) or {}).get(FINGERPRINT) == (read_footer(other) or {}).get(FINGERPRINT)


def test_a_gpu_is_asked_for_by_exactly_the_jobs_that_load_a_model(submitted, slurm):
    jobs = [job for job in slurm.jobs() if str(submitted.folder) in job.get("WorkDir", "")]
    assert jobs and {job["JobState"] for job in jobs} == {"COMPLETED"}
    with_gpu = [job for job in jobs if "gpu" in job.get("TresPerNode", "") + job.get("TresPerJob", "")]
    rules = [job["Comment"].split("_")[1] for job in with_gpu]
    assert sorted(rules) == sorted(rule for rule in MODEL_RULES for _model in range(2))
    assert {job["Partition"] for job in with_gpu} == {"gpu"} and {job["Requeue"] for job in jobs} == {"1"}


@pytest.fixture(scope="session")
def undisturbed(finished: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world of the campaign: other resources than those of the small study that has run need another report, no more."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    world = World(folder)
    world.run(world.study(**STUDY))
    return world


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if (fault.name, fault.phase) in IN_EVERY_TEST_RUN], ids=lambda fault: fault.name
)
def test_one_more_run_after_a_fault_ends_whole(fault: Fault, clusters, undisturbed, tmp_path):
    outcome = suffer(fault, clusters[fault.nodes], undisturbed, tmp_path / "fault")
    assert outcome.good, outcome


def test_a_second_snakemake_on_the_same_folder_is_refused_and_harms_nothing(fresh, slurm):
    study = fresh.study(**GPU, **FEW_JOBS)
    first = fresh.start("--profile", "profiles/slurm", "--configfile", study, quiet=True, **slurm.environment)
    wait_for(lambda: list((fresh.folder / ".snakemake/locks").glob("*")))
    second = fresh.snakemake("--profile", "profiles/slurm", "--configfile", study, **slurm.environment)
    assert second.returncode != 0 and "cannot be locked" in second.stderr and "--unlock" in second.stderr
    assert first.wait(timeout=300) == 0 and fresh.plan(study) == {}


def test_a_partition_that_is_missing_is_an_error_and_breaks_nothing(fresh, slurm):
    partitions = fresh.folder / "profiles/slurm/partitions.yaml"
    partitions.write_text(partitions.read_text().replace("gpu:\n", "nonesuch:\n"))
    done = fresh.snakemake("--profile", "profiles/slurm", "--configfile", fresh.study(**GPU), **slurm.environment)
    assert done.returncode != 0 and "nonesuch" in done.stdout + done.stderr
    assert not list((fresh.folder / "results").rglob("cell.parquet"))


def test_a_cluster_with_accounting_takes_jobs_with_an_account_and_refuses_others(fresh, folder):
    cluster = Slurm(folder / "accounting", accounting=True)
    cluster.start()
    try:
        profile = fresh.folder / "profiles/slurm/config.yaml"
        shipped = profile.read_text()
        run = ("--profile", "profiles/slurm", "--configfile", fresh.study(**GPU, **FEW_JOBS))
        profile.write_text(shipped.replace('# slurm_account: "my_project"', "slurm_account: nobody"))
        refused = fresh.snakemake(*run, **cluster.environment)
        assert refused.returncode != 0 and "nobody" in refused.stdout + refused.stderr
        assert not cluster.jobs() and not list((fresh.folder / "results/activations").rglob("*.parquet"))
        profile.write_text(shipped.replace('# slurm_account: "my_project"', f"slurm_account: {ACCOUNT}"))
        done = fresh.snakemake(*run, **cluster.environment)
        assert done.returncode == 0, done.stderr[-3000:]
        assert {job["Account"] for job in cluster.jobs()} == {ACCOUNT}
        states = cluster.run("sacct", "-n", "-X", "-P", "-S", "today", "-o", "State").stdout.split()
        assert states and set(states) == {"COMPLETED"}
    finally:
        cluster.stop()


def test_three_nodes_of_4_cpus_and_8_gb_share_a_study_and_light_jobs_take_turns(fresh, clusters):
    partitions = {"cpu": {"max_runtime": 1440, "max_mem_mb": 7_800, "max_threads": 4, "max_gpu": 0}}
    (fresh.folder / "profiles/slurm/partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))
    study = fresh.study(layers=[-1, 1, 2, 3], steering_layers=[1, 2, 3], alphas=[0, 5], samples=2, controls={"random": 1})
    cores = ("--cores", "4", "--set-threads", "activations=4", "baseline=4", "steer_1=4")
    done = fresh.snakemake("--profile", "profiles/slurm", "--configfile", study, *cores, **clusters[3].environment)
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = [job for job in clusters[3].jobs() if str(fresh.folder) == job.get("WorkDir")]
    asked = {(job["Comment"], job["NumCPUs"], job["MinMemoryNode"]) for job in jobs}
    groups = {(cpus, memory) for comment, cpus, memory in asked if "probes" in comment or "scores" in comment}
    assert groups == {("1", "2000M")}, asked
    assert {cpus for comment, cpus, _memory in asked if comment.startswith("rule_steer_1")} == {"4"}, asked
    assert {job["NodeList"] for job in jobs if "rule_steer_1" in job["Comment"]} == set(clusters[3].nodes)


def test_on_the_login_node_runs_as_much_at_a_time_as_the_profile_says(fresh, slurm):
    profile = fresh.folder / "profiles/slurm/config.yaml"
    assert "login=2" in yaml.safe_load(profile.read_text())["resources"]
    profile.write_text(profile.read_text().replace("login=2", "login=1"))
    models = [{"name": name, "source": f"resources/organisms/{name}"} for name in ("llama", "qwen2", "phi3")]
    scene = Scene(slurm, fresh, fresh.study(models=models))
    scene.start("--until", "model")
    most = 0
    while scene.run.poll() is None:
        most = max(most, len(list(scene.processes(b"probesteer model "))))
        time.sleep(0.02)
    assert scene.run.returncode == 0 and most == 1 and len(list(fresh.folder.glob("results/models/**/*.json"))) == 3


def test_a_retry_of_a_group_asks_for_twice_the_memory(fresh, slurm):
    study = fresh.study(**FEW_JOBS)
    (fresh.folder / "results/small/detection").mkdir(parents=True)
    (fresh.folder / "results/small/detection/model=llama").write_text("a file where a folder is needed")
    done = fresh.snakemake("--profile", "profiles/slurm", "--configfile", study, **slurm.environment)
    assert done.returncode != 0
    jobs = [job for job in slurm.jobs() if str(fresh.folder) in job.get("WorkDir", "") and "probes" in job["Comment"]]
    assert {job["MinMemoryNode"] for job in jobs} >= {"2000M", "4000M"}
