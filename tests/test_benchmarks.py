"""The benchmarks run; what they measure is not tested here."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("task", ["extraction", "sweep"])
def test_a_benchmark_prints_a_table_with_every_side(task):
    command = [sys.executable, ROOT / "benchmarks/engine.py", task, "--size", "organism", "--texts", "4", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    sides = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert sides[0] == "probesteer" and sides[-1] == "reference way" and len(sides) == 3
