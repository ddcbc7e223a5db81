"""Lies planted into honest studies are named by the check that is meant for them; honest studies have no FAIL."""

import subprocess
import sys

import pytest
from conftest import ROOT
from forged import FORGERIES
from lies import LIES, study_rows
from threadpoolctl import threadpool_limits

FEW = {
    "the test pairs are training pairs with two words changed": "near-duplicates across the split",
    "each scenario has a direction of its own": "left-out scenarios",
    "a judge that favours positive doses": "specificity",
}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_lie_is_named_and_the_study_that_it_was_planted_into_has_no_fail(seed):
    with threadpool_limits(1):
        truth, *told = study_rows(seed, list(FEW))
    assert (truth["verdict"], truth["FAIL"]) == ("GREEN", [])
    assert {one["kind"] for one in told} == set(FEW) and all(one["named"] for one in told)
    assert all(FEW[one["kind"]] in one["FAIL"] + one["WARN"] for one in told)
    assert all(one["believed"] for one in told[1:])  # by the usual practice, as are most leaks
    assert "GREEN" not in {one["verdict"] for one in told}


def test_there_are_twenty_kinds_and_each_has_a_check_that_is_meant_for_it():
    assert len({one.name for one in LIES}) == len(LIES) >= 20
    assert all(one.check or one.why for one in LIES)


@pytest.mark.slow
def test_the_campaign_runs_small():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/lies.py", "--seeds", "1", "--honest", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert sum(line.startswith("| ") for line in lines) == len(LIES) + len(FORGERIES) + 2
    assert "- 2 honest studies: 0 have a FAIL." in lines
    assert float(lines[-1].split()[-2]) >= 95
