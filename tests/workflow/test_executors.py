"""Executors other than the local one and Slurm: a study through cluster-generic, as PBS, SGE or LSF would get it."""

import pandas as pd
import pytest
from conftest import World

pytestmark = pytest.mark.slow

SUBMIT = """#!/bin/sh
# A queue of no length: the job runs in the background, and its id is its process.
echo "$1 $2 $3" >> submitted
nohup sh "$4" > /dev/null 2>&1 &
echo $!
"""


def test_a_study_through_cluster_generic_gives_the_tables_of_a_local_run(finished: World, fresh: World):
    submit = fresh.folder / "submit.sh"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    asked = "./submit.sh {rule} {threads} {resources.mem_mb}"
    options = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", asked, "--jobs", "2", "--local-cores", "1")
    light = ("--group-components", "probes=8", "scores=8", "--resources", "light=1", "--latency-wait", "10")
    study = fresh.study()
    done = fresh.snakemake("--configfile", study, *options, *light)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("detection", "texts", "scores", "effects"):
        for path in (finished.folder / "results/small" / kind).rglob("*.parquet"):
            other = fresh.folder / path.relative_to(finished.folder)
            pd.testing.assert_frame_equal(*(pd.read_parquet(file, partitioning=None) for file in (path, other)))
    jobs = [line.split() for line in (fresh.folder / "submitted").read_text().splitlines()]
    loading, memory = {"activations", "baseline", "steer_1"}, "2004"  # 4 MB of it for the organism's 0.7 million parameters
    assert {tuple(job) for job in jobs if job[0] in loading} == {(rule, "1", memory) for rule in loading}
    assert fresh.plan(study) == {}
