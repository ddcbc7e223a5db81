"""Runs of the DAG: a report comes out, and a change costs only what depends on it."""

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, World

from probesteer.behaviour.coherence import LIKELIHOODS
from probesteer.files.tables import FINGERPRINT, read_footer, write_table
from probesteer.study import load_study

TWO_MODELS = [{"name": name, "source": f"resources/organisms/{name}"} for name in ("llama", "qwen2")]


def table(world: World, name: str, study: str = "small") -> pd.DataFrame:
    return pd.read_csv(world.folder / f"results/{study}/council/tables/{name}.csv")


def test_a_study_ends_in_a_report_with_every_table(finished):
    council = finished.folder / "results/small/council"
    report = (council / "report.md").read_text()
    assert report.startswith("> **Model organisms: success here is by construction.**")
    assert {path.name for path in (council / "figures").iterdir()} == {
        f"{name}.{kind}" for name in load_study(council / "study.json").figures for kind in ("png", "svg", "pdf", "csv")
    }
    assert table(finished, "cells")["verified_cells"].tolist() == [2 * 4 + 2 * 2 * 4]
    assert set(table(finished, "cost")["phase"]) == {"activations", "steering", "probe, detect, score"}
    assert set(table(finished, "examples")["sample"]) == {0}


def test_the_dose_is_given_in_three_units(finished):
    doses = table(finished, "dose_response").query("alpha == 5").iloc[0]
    assert doses["dose_absolute"] == 5
    assert 0.1 < doses["dose_separation"] < 3 and 0.1 < doses["dose_residual"] < 3


def test_examples_are_quoted_from_their_cells(finished):
    for row in table(finished, "examples").itertuples():
        arm = "arm=baseline/model=llama" if row.alpha == 0 else f"arm=probe/model=llama/layer={row.layer}"
        dose = "" if row.alpha == 0 else f"alpha={row.alpha:g}/"
        path = finished.folder / f"results/small/steering/{arm}/scenario={row.scenario}/{dose}cell.parquet"
        assert pq.read_table(path)["text"].to_pylist()[row.sample] == row.text


def test_nothing_changed_plans_no_job(finished):
    assert finished.plan(finished.folder / "config/studies/small.yaml") == {}


def test_one_more_alpha_computes_only_its_cells_and_a_removed_one_does_not_come_back(world):
    before = world.cells()
    study = world.study(alphas=[0, 2.5, 5])
    jobs = world.plan(study)
    assert {rule for rule in jobs if rule not in ("texts", "score", "effects", "aggregate", "all")} == {"steer_1"}
    world.run(study)
    after = world.cells()
    assert {path: after[path] for path in before} == before and any("alpha=-5" in str(path) for path in after)
    assert {path.parts[-2] for path in set(after) - set(before)} == {"alpha=2.5"}
    log = (world.folder / "results/small/logs/steer/llama.3.log").read_text()
    assert "8 of 14 cells are up to date, 6 to compute" in log  # a flipped arm takes the extreme doses only
    assert set(table(world, "dose_response")["alpha"]) == {0, 2.5, 5}


def test_one_more_model_runs_only_its_own_jobs_and_the_aggregate(world):
    done = world.snakemake("-n", "--configfile", world.study(models=TWO_MODELS))
    wildcards = [line for line in (done.stdout + done.stderr).splitlines() if "wildcards:" in line]
    others = [line.strip() for line in wildcards if "model=qwen2" not in line]
    assert others == ["wildcards: model=llama"]  # its readings, since now there is a model to compare it with
    jobs = world.plan(world.folder / "config/studies/small.yaml")
    assert jobs == {
        **dict.fromkeys(("model", "activations", "forecast", "baseline", "probe", "detect", "steer_1", "texts"), 1),
        **dict.fromkeys(("effects", "aggregate", "all"), 1),
        "score": 2,
        "readings": 2,
    }


DOWNSTREAM = {"texts": 1, "score": 2, "effects": 1, "aggregate": 1, "all": 1}


@pytest.mark.parametrize(
    ("options", "jobs"),
    [
        ({"layers": [-1, 2, 3]}, {"detect": 1, "forecast": 1, "aggregate": 1, "all": 1}),
        (
            {"layers": [-1, 2, 3], "steering_layers": [2, 3]},
            {"detect": 1, "forecast": 1, "probe": 1, "steer_1": 1, **DOWNSTREAM},
        ),
        ({"scenarios": ["the_maze", "the_duel", "the_listener"]}, {"baseline": 1, "steer_1": 1, **DOWNSTREAM}),
        ({"scenarios": ["the_maze"]}, DOWNSTREAM),
        ({"alphas": [-5, 0]}, DOWNSTREAM),
        ({"scorers": ["grammar"]}, {"effects": 1, "aggregate": 1, "all": 1}),
        ({"resources": {"batch_rows": 3, "mem_mb": 1000, "runtime": 9}}, {"aggregate": 1, "all": 1}),
        ({"criteria": {"auroc": 0.8}}, {"aggregate": 1, "all": 1}),
    ],
    ids=["layer", "steered layer", "scenario", "fewer scenarios", "fewer alphas", "fewer scorers", "resources", "criterion"],
)
def test_a_change_plans_what_depends_on_it_and_nothing_else(options, jobs, finished, tmp_path):
    study = yaml.safe_load((finished.folder / "config/studies/small.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study | options))
    assert finished.plan(tmp_path / "study.yaml") == jobs


def test_lost_snakemake_records_recompute_no_cell(world):
    before = world.cells()
    shutil.rmtree(world.folder / ".snakemake")
    study = world.folder / "config/studies/small.yaml"
    assert world.plan(study) == {}
    world.run(study, "--forcerun", "steer_1", "baseline", "--until", "steer_1", "baseline")
    assert world.cells() == before
    for log in ("steer/llama.3.log", "baseline/llama.log"):
        assert "0 to compute" in (world.folder / "results/small/logs" / log).read_text()


def test_a_lost_cell_and_foreign_results_are_made_again_the_same_and_alone(world):
    before, root = world.cells(), world.folder / "results/small"
    lost = next(path for path in before if "alpha=5" in str(path))
    foreign = Path("arm=probe/model=llama/layer=3/scenario=the_duel/alpha=-5/cell.parquet")
    assert foreign in before and lost != foreign
    spoiled = [root / "steering" / foreign, root / "detection/model=llama/detection.parquet"]
    whole = [pq.read_table(path, partitioning=None) for path in spoiled]
    for path, content in zip(spoiled, whole, strict=True):
        write_table(content.slice(1), path, {"other": "inputs"})
    (root / "steering" / lost).unlink()
    study = world.folder / "config/studies/small.yaml"
    world.run(study)
    after, again = world.cells(), {lost, foreign}
    assert {path: data for path, data in after.items() if path not in again} == {
        path: data for path, data in before.items() if path not in again
    }
    for path in again:
        (world.folder / "before.parquet").write_bytes(before[path])
        files = (root / "steering" / path, world.folder / "before.parquet")
        now, once = (pq.read_table(file, partitioning=None)["text"].to_pylist() for file in files)
        assert now == once
    assert [pq.read_table(path, partitioning=None).num_rows for path in spoiled] == [content.num_rows for content in whole]
    assert world.plan(study) == {}


def test_a_comment_edit_in_the_package_plans_no_job(world):
    copy = world.folder / "package"
    shutil.copytree(ROOT / "src", copy)
    for path in copy.rglob("*.py"):
        path.write_text(path.read_text() + "\n# a comment\n")
    study = world.folder / "config/studies/small.yaml"
    assert world.plan(study, PYTHONPATH=str(copy)) == {}


@pytest.mark.slow
def test_two_studies_share_activations_and_no_cells(world):
    before = world.cells()
    other = world.study("other", samples=2)
    jobs = world.plan(other)
    assert not {"model", "activations"} & set(jobs) and {"steer_1", "baseline"} <= set(jobs)
    world.run(other)
    assert world.cells() == before
    assert world.plan(world.study()) == {} and world.plan(world.study("other", samples=2)) == {}
    first, second = world.cells("small"), world.cells("other")
    assert set(first) == set(second) and all(first[path] != second[path] for path in first)


@pytest.mark.slow
def test_a_changed_pair_file_recomputes_what_depends_on_it(world):
    pairs = world.folder / "resources/concepts/empathy_grammar/pairs.jsonl"
    lines = pairs.read_text().splitlines()
    changed = json.loads(lines[0])
    changed["positive"] += " I look around."
    pairs.write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    jobs = world.plan(world.folder / "config/studies/small.yaml")
    assert jobs == {
        **dict.fromkeys(("pairs", "activations", "forecast", "probe", "detect", "steer_1", "texts"), 1),
        **dict.fromkeys(("effects", "aggregate", "all"), 1),
        "score": 2,
    }
    before = world.cells()
    world.run(world.folder / "config/studies/small.yaml")
    after = world.cells()
    assert all((after[path] == before[path]) == ("layer=3" not in path.parts) for path in before)


def test_an_edited_prompt_recomputes_only_its_scenario(world):
    concept = world.folder / "resources/concepts/empathy_grammar/concept.yaml"
    loaded = yaml.safe_load(concept.read_text())
    loaded["scenarios"]["the_maze"]["prompt"] += " I see the exit."
    concept.write_text(yaml.safe_dump(loaded, sort_keys=False))
    before = world.cells()
    world.run(world.folder / "config/studies/small.yaml", "--until", "steer_1", "baseline")
    after = world.cells()
    assert {path.parts[-3 if "alpha" in str(path) else -2] for path in before if before[path] != after[path]} == {
        "scenario=the_maze"
    }


def test_cells_hold_no_axes_and_carry_their_fingerprint(finished):
    for path in finished.cells():
        whole = finished.folder / "results/small/steering" / path
        assert pq.read_schema(whole).names == ["sample", "text", "tokens", "ended", *LIKELIHOODS, "kl", "perplexity"]
        assert len((read_footer(whole) or {})[FINGERPRINT]) == 64


def test_the_snakemake_report_is_written(finished, tmp_path):
    done = finished.snakemake("--configfile", "config/studies/small.yaml", "--report", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr[-2000:]
    report = (tmp_path / "report.html").read_text()
    for label in ("Council report", "What was found, and why to believe it", "Dose and response", "Rates by scenario and dose"):
        assert label in report


def test_success_rates_in_the_report_are_those_of_the_verb(finished, tmp_path):
    from probesteer.cli import main

    scores = finished.folder / "results/small/scores/model=llama/scorer=published/scores.parquet"
    assert main(["effects", str(scores), "--rule", "published", "--output", str(tmp_path / "effects.csv")]) == 0
    verb = {row["scenario"]: float(row["success_rate"]) for row in csv.DictReader((tmp_path / "effects.csv").open())}
    steering = table(finished, "steering")
    assert (
        verb == steering.query("rule == 'published' and scorer == 'published'").set_index("scenario")["success_rate"].to_dict()
    )
