"""The benchmarks run; how fast the engine is, they say themselves."""

import subprocess
import sys

import pytest
from conftest import ORGANISMS, ROOT

pytestmark = pytest.mark.slow


def rows_of(script: str, *arguments: str) -> list[list[str]]:
    """The cells of the table that a benchmark prints."""
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("task", "sides"), [("extraction", 6), ("sweep", 3), ("scaling", 8)])
def test_an_engine_benchmark_has_a_row_for_every_side(task, sides):
    rows = rows_of("engine.py", task, "--size", "organism", "--texts", "4", "--repeats", "1", "--threads", "1")
    assert len(rows) == sides and all(float(row[1]) > 0 for row in rows)
    if task != "scaling":
        assert rows[0][0] == "probesteer" and rows[-1][0] == "reference way"


def test_the_benchmark_of_threads_has_a_row_for_each_number_of_them():
    rows = rows_of("threads.py", "--size", "organism", "--texts", "4", "--repeats", "1", "--threads", "1,2")
    assert [row[0] for row in rows if row[0].endswith("threads")] == ["1 threads", "2 threads"] * 2


def test_extraction_takes_no_more_memory_for_a_hundred_times_the_texts():
    few, many = rows_of("memory.py", "--texts", "100", "10000")
    assert float(many[1]) > 90 * float(few[1])  # the cache itself did grow, to many times the allowance
    assert float(many[3]) < 1.1 * float(few[3])


def test_the_gpu_benchmark_runs_small_on_a_cpu():
    rows = dict(row[:2] for row in rows_of("gpu.py", "--size", "tiny"))
    assert 0 < float(rows["capture, share of the measured matrix rate"].rstrip(" %")) <= 100
    assert float(rows["sweep, tokens per second"].replace(",", "")) > 0
    assert float(rows["sweep, share of the memory-bandwidth roofline"].rstrip(" %")) > 0


SMALL = ["--alphas", "2", "--samples", "1", "--tokens", "4"]


def test_the_sweep_of_a_checkpoint_is_timed_beside_transformers_and_the_likelihood_pass():
    rows = rows_of("real.py", str(ORGANISMS / "llama"), *SMALL, "--repeats", "1", "--threads", "1")
    assert [row[0].partition(",")[0] for row in rows] == ["probesteer", "transformers", "transformers", "likelihood pass"]
    assert all(float(row[1]) > 0 for row in rows[:3]) and float(rows[0][3]) == 1


def test_the_profile_of_the_sweep_accounts_for_all_of_its_time():
    rows = rows_of("real.py", str(ORGANISMS / "llama"), *SMALL, "--profile")
    shares = {row[0]: float(row[1].rstrip(" %")) for row in rows}
    assert min(shares.values()) >= 0 and sum(shares.values()) == pytest.approx(100, abs=1)
    assert {"matrix products", "attention", "sampling"} <= set(shares)


def test_oracles_that_are_not_installed_are_named_and_the_others_agree():
    rows = rows_of("oracles.py", str(ORGANISMS / "llama"))
    assert {row[1].partition(",")[0] for row in rows} == {"TransformerLens", "llama.cpp"}
    assert all(row[2].startswith("not run: ") or max(float(row[3]), float(row[4])) < 1e-4 for row in rows)


@pytest.mark.parametrize("decides", ["answer", "odds"])
def test_rollouts_in_lockstep_write_the_transcripts_of_those_played_one_by_one(decides):
    rows = rows_of("games.py", "rollouts", "--rollouts", "10", "--alone", "5", "--decides", decides)
    assert rows[0][3] == "5 of 5" and float(rows[1][1]) > 0


def test_the_calibration_runs_small():
    tasks = ["detection", "coverage", "private", "attacks", "changes", "success", "agreement", "anti", "deeds"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/calibration.py", *tasks, "--sets", "8"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {f"### {task}" for task in tasks} <= set(done.stdout.splitlines())
    assert "nan" not in done.stdout


def test_the_report_of_twice_the_models_verifies_twice_the_cells():
    one, two = rows_of("scale.py", "aggregate", "--models", "1", "2")
    assert int(two[1].replace(",", "")) == 2 * int(one[1].replace(",", "")) == 2 * 2470


def test_breakage_that_coherence_was_not_fitted_on_is_found(tmp_path):
    rows = rows_of("coherence.py", "--keep", str(tmp_path))
    assert all(float(share) <= 0.08 for share in rows[0][2:])
    assert len(rows) == 16 and all(float(cell.split()[0]) >= 0.85 for row in rows[1:] for cell in row[2:])
