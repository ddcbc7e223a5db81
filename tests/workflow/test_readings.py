"""A study in which models read what was written, and people rate it: what runs, what is read, what stands in the report."""

import csv
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from conftest import World

from probesteer.cli import main
from probesteer.concepts import check_study
from probesteer.concepts.data import activations_path, pair_set
from probesteer.detection.activations import read_layer
from probesteer.detection.reading import Reader, chosen_block, said_in, written
from probesteer.files.cards import read_card
from probesteer.jobs import results, unfinished
from probesteer.lm.capture import pooled_activations
from probesteer.lm.load import load_card
from probesteer.plan import plan_study, shared_jobs
from probesteer.report.adopt import adopt
from probesteer.study import load_study

TWO_MODELS = [{"name": name, "source": f"resources/organisms/{name}"} for name in ("llama", "qwen2")]


def table(world: World, name: str) -> pd.DataFrame:
    return pd.read_csv(world.folder / f"results/small/council/tables/{name}.csv")


def test_a_reader_is_0_at_the_threshold_and_one_half_at_the_mean_of_the_positive_side(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    study = check_study(load_study(finished.folder / "config/studies/small.yaml"))
    cache = read_layer(activations_path(study, study["llama"], pair_set(study)), 3)
    reader, sides = Reader.of(cache), cache.training_sides()
    assert np.mean(reader.read(sides[0])) == pytest.approx(0.5) and np.mean(reader.read(sides[1])) == pytest.approx(-0.5)


def test_what_is_read_are_unsteered_and_prompted_texts_once_and_ones_own_steered_ones(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    texts = pd.read_parquet("results/small/texts/model=llama/texts.parquet", partitioning=None)
    own, others = (written(texts, "llama", mine, 5.0) for mine in (True, False))
    assert own["arm"].value_counts().to_dict() == {"probe": 12, "baseline": 6, "prompted-positive": 6, "prompted-negative": 6}
    assert set(others["arm"]) == {"baseline", "prompted-positive", "prompted-negative"}
    assert "probe" not in set(written(texts, "llama", True, 1.0)["arm"]), "steered farther than the trend range"


def test_answers_in_games_are_read_turn_by_turn_where_somebody_is_in_need():
    pushes = (("baseline", None, 0.0), ("probe", 3, -2.0), ("probe", 3, 9.0), ("flipped-1", 3, 2.0))
    played = itertools.product(pushes, ("default", "no_need", "child"), (1, 2))
    turns = pd.DataFrame(
        [(*push, variant, turn) for push, variant, turn in played], columns=["arm", "layer", "alpha", "variant", "turn"]
    ).assign(game="the_duel", seed=0, answer="so")
    own, others = (written(said_in(turns), "m", mine, 5.0) for mine in (True, False))
    assert own.groupby(["arm", "variant"]).size().to_dict() == dict.fromkeys(
        itertools.product(("baseline", "probe"), ("child", "default")), 2
    )
    assert set(others["arm"]) == {"baseline"} and set(own["scenario"]) == {"the_duel"} and set(own["text"]) == {"so"}


@pytest.mark.slow
def test_reading_adds_one_job_that_loads_a_model_and_a_model_more_only_its_own(world, monkeypatch):
    study = world.study(correlation=True)
    assert world.plan(study) == {"correlation": 1, "aggregate": 1, "all": 1}
    monkeypatch.chdir(world.folder)
    loaded = check_study(load_study(study))
    plans = plan_study(loaded)
    assert (plans[0].jobs, plans[0].light_jobs, shared_jobs(loaded, plans)) == (1, 0, 2)
    world.run(study)
    assert world.plan(study) == {} and unfinished(loaded) == ([], []) and adopt(loaded) == []
    assert all(path.exists() for path in results(loaded))
    points, rows = table(world, "points"), table(world, "correlation")
    assert set(rows["texts"]) == {"unsteered", "prompted", "steered"} and set(table(world, "gap")["steered_blocks"]) == {1}
    card = read_card(next((world.folder / "results/models/llama").glob("*.json")))
    texts = pd.read_parquet("results/small/texts/model=llama/texts.parquet", partitioning=None)
    row = points[points["arm"] == "prompted-positive"].iloc[0]
    at = (texts["arm"] == row["arm"]) & (texts["scenario"] == row["scenario"]) & (texts["sample"] == row["sample"])
    block = chosen_block(loaded, loaded["llama"])
    found = pooled_activations(*load_card(card), [texts.loc[at, "text"].item()], [block], loaded.pooling)
    reader = Reader.of(read_layer(activations_path(loaded, loaded["llama"], pair_set(loaded)), block))
    assert reader.read(found[:, 0])[0] == pytest.approx(row["projection"], abs=1e-4)
    before = {path: path.read_bytes() for path in (world.folder / "results/small/readings").rglob("*.parquet")}
    world.run(world.study(correlation=True, models=TWO_MODELS))
    assert all(path.read_bytes() == data for path, data in before.items()), "the first model read nothing again"
    rows = table(world, "correlation")
    assert set(rows.loc[rows["model"] == "qwen2", "author"]) == {"qwen2", "llama"}
    report = (world.folder / "results/small/council/report.md").read_text()
    for heading in ("Does what a model reads go with what the text does?", "Samples that move the other way"):
        assert f"### {heading}" in report


@pytest.mark.slow
def test_what_people_say_of_a_study_stands_in_its_report(world, monkeypatch, capsys):
    monkeypatch.chdir(world.folder)
    texts = "results/small/texts/model=llama/texts.parquet"
    assert main(["ratings", texts, "--concept", "empathy_grammar", "--output", "ann.csv"]) == 0
    with open("ann.csv", encoding="utf-8-sig", newline="") as file:
        rows = [{**row, "rating": number % 3} for number, row in enumerate(csv.DictReader(file))]
    with open("ann.csv", "w", encoding="utf-8", newline="") as file:
        sheet = csv.DictWriter(file, list(rows[0]))
        sheet.writeheader()
        sheet.writerows(rows)
    study = world.study(ratings=["ann.csv"])
    assert world.plan(study) == {"effects": 1, "aggregate": 1, "all": 1}
    world.run(study)
    found = table(world, "scorer_agreement").set_index(["first", "second"])
    assert found.loc[("grammar", "human: ann"), "texts"] == len(rows) and ("all", "all") in found.index
    assert json.loads((world.folder / "results/small/council/study.json").read_text())["ratings"] == ["ann.csv"]
    assert world.plan(study) == {}
