"""The plain command goes on after an interruption, and takes results from elsewhere for what they are."""

import csv
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import World

from probesteer.files.tables import read_table, write_table

pytestmark = pytest.mark.slow


def shuffle_times(folder: Path, seed: int = 0) -> None:
    """Dates in any order for the results, and newer sources: what copying does."""
    draw = random.Random(seed)
    for path in (folder / "results").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 1e6 * draw.random(),) * 2)
    for path in (folder / "resources").rglob("*"):
        os.utime(path)


def test_the_same_command_goes_on_after_ctrl_c_in_a_steering_job_and_says_the_verdicts(world):
    few_at_a_time = {"gpus": 0, "mem_mb": 2000, "batch_rows": 12}  # the job goes on for long after its first cells
    study = world.study("other", alphas=[-5, -3, -1, 0, 1, 3, 5], samples=12, resources=few_at_a_time)
    process = world.start("--configfile", study, quiet=True, session=True)
    while process.poll() is None and not any("arm=probe" in str(path) for path in world.cells("other")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) != 0
    there = world.cells("other")
    assert there and not (world.folder / "results/other/texts").exists()
    done = world.snakemake("--configfile", study)
    assert done.returncode == 0, done.stderr[-3000:]
    verdict = next(csv.DictReader((world.folder / "results/other/council/tables/verdict.csv").open()))
    assert f"{verdict['verdict']:7} llama\ncouncil report: results/other/council/report.html\n" in done.stdout
    assert {path: data for path, data in world.cells("other").items() if path in there} == there


def test_a_failed_job_ends_the_run_with_its_own_last_line(world):
    (world.folder / "results/small/effects/model=llama/trends.parquet").unlink()
    (world.folder / "results/small/scores/model=llama/scorer=grammar/scores.parquet").write_text("")
    shutil.rmtree(world.folder / "results/small/steering/locks")
    (world.folder / "results/small/steering/locks").write_text("in the way")
    (world.folder / "results/small/steering/arm=probe/model=llama/layer=3/scenario=the_maze/alpha=5/cell.parquet").unlink()
    done = world.snakemake("--configfile", "config/studies/small.yaml")
    assert done.returncode == 1
    assert "probesteer steer: error: results/small/steering/locks" in done.stderr
    assert "(all of it: results/small/logs/steer/llama.3.log)" in done.stderr


def test_copied_results_are_taken_for_what_they_are_whatever_their_times(world):
    shutil.rmtree(world.folder / ".snakemake")
    shuffle_times(world.folder)
    study = world.folder / "config/studies/small.yaml"
    assert world.plan(study) == {} and world.plan(study) == {}
    done = world.snakemake("--configfile", study)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_of_copied_results_what_the_study_does_not_imply_is_made_again(world):
    shutil.rmtree(world.folder / ".snakemake")
    path = world.folder / "results/small/detection/model=llama/detection.parquet"
    write_table(read_table(path), path, {"other": "inputs"})
    shuffle_times(world.folder)
    study = world.folder / "config/studies/small.yaml"
    assert world.plan(study) == {"detect": 1, "aggregate": 1, "all": 1}
    world.run(study)
    assert world.plan(study) == {}


def test_a_model_folder_that_differs_from_where_results_were_made_makes_them_again(world):
    shutil.rmtree(world.folder / ".snakemake")
    config = world.folder / "resources/organisms/llama/config.json"
    config.write_text(config.read_text() + "\n")
    os.utime(config, (1e9, 1e9))
    jobs = world.plan(world.folder / "config/studies/small.yaml")
    assert {"model", "activations", "probe", "detect", "baseline", "steer_1"} <= set(jobs)


def test_results_from_the_future_do_not_fail_a_run(world):
    study = world.folder / "config/studies/small.yaml"
    future = time.time() + 1e6
    for path in (world.folder / "results/activations").rglob("*.parquet"):
        os.utime(path, (future, future))
    (world.folder / "results/small/detection/model=llama/detection.parquet").unlink()
    world.run(study)
    assert world.plan(study) == {}


def test_sources_from_the_future_plan_no_job(world):
    future = time.time() + 1e6
    for path in (world.folder / "resources").rglob("*"):
        os.utime(path, (future, future))
    study = world.folder / "config/studies/small.yaml"
    assert world.plan(study) == {} and world.plan(study) == {}


@pytest.mark.parametrize("name", ["tables/verdict.csv", "report.html", "report.md"])
def test_a_failed_aggregate_leaves_the_last_good_report_and_its_history(name, world):
    council = world.folder / "results/small/council"
    before, history = (council / name).read_bytes(), (council.parent / "reports.jsonl").read_bytes()
    if name == "report.html":
        (council / "figures").rename(council / "other")
        (council / "figures").write_text("a file where a folder is needed")
    else:
        (council / ".new").mkdir()
        (council.parent / ".council.new").write_text("a file where a folder is needed")
    done = world.snakemake("--configfile", world.folder / "config/studies/small.yaml", "--forcerun", "aggregate")
    assert done.returncode != 0
    assert (council / name).read_bytes() == before and (council.parent / "reports.jsonl").read_bytes() == history


def test_from_another_folder_the_repository_is_worked_in_and_d_names_another_place_for_results(finished, tmp_path):
    snakefile, study = finished.folder / "Snakefile", finished.folder / "config/studies/small.yaml"
    elsewhere = World(tmp_path)
    assert elsewhere.plan(study, "-s", str(snakefile)) == {}
    jobs = elsewhere.plan(study, "-s", str(snakefile), "-d", str(tmp_path / "run"))
    assert jobs["aggregate"] == 1 and {path.name for path in tmp_path.iterdir()} == {"run"}
    done = elsewhere.snakemake("-n", "-s", snakefile, "-d", tmp_path / "demo")
    assert done.returncode == 0 and "qwen2" in done.stdout + done.stderr
