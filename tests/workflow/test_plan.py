"""What a study will take, and that two jobs never write the same cells."""

import errno
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from conftest import ROOT, World

from probesteer.cli import main
from probesteer.concepts import check_study
from probesteer.errors import InputError
from probesteer.files.locks import only_writer
from probesteer.files.tables import read_inputs, read_table, write_table
from probesteer.plan import ASSUMED, MEASURED, START, plan_study, render_plan
from probesteer.study.load import load_study

HOLD = """
import sys, time
from pathlib import Path
from probesteer.files.locks import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_plan_counts_jobs_and_cells_and_says_where_its_hours_come_from(monkeypatch, finished: World):
    monkeypatch.chdir(finished.folder)
    done = plan_study(load_study(finished.folder / "config/studies/small.yaml"))[0]
    assert (done.cells, done.missing, done.jobs, done.source) == (24, 0, 0, MEASURED)
    fresh = load_study(finished.folder / "config/studies/small.yaml").model_copy(update={"study": "fresh"})
    new = plan_study(fresh)[0]
    assert (new.missing, new.jobs, new.source) == (24, 3, ASSUMED) and new.seconds > 0
    assert "earlier cells" in render_plan(fresh, [done], 1)


def test_the_hours_of_a_study_that_has_begun_are_those_of_its_cells(monkeypatch, world: World):
    monkeypatch.chdir(world.folder)
    seconds = [0.25 * number for number in range(len(world.cells()))]
    for path, spent in zip(world.cells(), seconds, strict=True):
        path = Path("results/small/steering") / path
        write_table(read_table(path), path, read_inputs(path), {"seconds": spent})
    more = plan_study(load_study(world.study(alphas=[-5, 0, 5, 20])))[0]
    assert (more.missing, more.jobs, more.source) == (2, 1, MEASURED)  # control arms stop at the trend range
    assert more.light_jobs == 4  # texts, two scores, effects
    assert more.seconds == pytest.approx(2 * median(seconds) + 5 * START, abs=0.05)  # and loading


def test_more_gpus_shorten_a_plan_and_a_price_is_multiplied(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "config/studies/paper.yaml")
    study = study.model_copy(update={"resources": study.resources.model_copy(update={"price_per_gpu_hour": 100.0})})
    plans = plan_study(study)
    lines = [render_plan(study, plans, gpus).splitlines() for gpus in (1, 4)]
    hours = [float(text[-2].split()[1]) for text in lines]
    assert hours[0] > hours[1] > 0
    total = sum(plan.seconds for plan in plans) / 3600
    assert lines[0][-1].startswith(f"about {100 * total:.2f} at 100.0")


def test_the_plan_verb_refuses_a_study_that_is_wrong(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["plan", "--configfile", "none.yaml"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_second_writer_leaves_with_one_line_and_a_dead_lock_is_none(tmp_path):
    lock = tmp_path / "locks/job"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {holder.pid} on .* is writing these results"), only_writer(lock):
        pass
    holder.kill()
    holder.wait()
    with only_writer(lock):
        pass


def test_a_file_system_without_locks_is_told_apart_from_a_lock_that_is_held(tmp_path, monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with pytest.raises(InputError, match=r"no POSIX locks .No locks available.; keep results/"), only_writer(tmp_path / "job"):
        pass


@pytest.mark.parametrize("study", ["config.yaml", "studies/paper.yaml", "studies/council.yaml"])
def test_a_plan_counts_what_a_dry_run_counts(study, fresh: World, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    path = fresh.folder / "config" / study
    loaded = check_study(load_study(path))
    total = sum(fresh.plan(path).values())
    said = render_plan(loaded, plan_study(loaded), 1)
    assert f"\n{total} jobs in all" in said and ("CPU time" in said) == (study == "config.yaml")


def test_pairs_that_are_still_to_be_downloaded_are_planned_whole_and_their_texts_are_not_in_the_minutes(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    pairs = {"file": "resources/mine.csv", "url": "http://127.0.0.1:9/mine.csv", "sha256": "0" * 64}
    path = fresh.study(concept="empathy_in_action", pairs=pairs, steering_layers=[])
    jobs = fresh.plan(path)
    assert jobs == dict.fromkeys(("download", "pairs", "model", "activations", "detect", "aggregate", "all"), 1)
    loaded = check_study(load_study(path))
    said = render_plan(loaded, plan_study(loaded), 1)
    assert f"\n{sum(jobs.values())} jobs in all" in said and "resources/mine.csv is still to be downloaded" in said


def test_a_plan_of_a_study_that_has_begun_counts_what_a_dry_run_counts(world: World, monkeypatch):
    monkeypatch.chdir(world.folder)
    for options in ({}, {"alphas": [-5, 0, 5, 20]}, {"scenarios": ["the_maze", "the_duel", "the_listener"]}):
        path = world.study(**options)
        loaded = check_study(load_study(path))
        total = sum(world.plan(path).values())
        assert f"\n{total} jobs in all" in render_plan(loaded, plan_study(loaded), 1), options
