"""Games as part of the DAG: planned, played, gathered, told in the report; what is there is kept."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, World, make_world

from probesteer.concepts import check_study
from probesteer.files.tables import read_table
from probesteer.jobs import unfinished
from probesteer.plan import plan_study, render_plan
from probesteer.report.adopt import adopt
from probesteer.study import load_study, parse_study
from probesteer.study.load import read_mapping

GAMES = {"play": ["the_duel", "the_listener"], "episodes": 2, "max_new_tokens": 8}
JOBS = {"play_unsteered": 1, "play_1": 1, "transcripts": 1, "deeds": 1}


def add_player(world: World, name: str) -> None:
    """An organism that reads prompts as long as those of games; it was not trained to play."""
    folder = world.folder / "resources/organisms" / name
    shutil.copytree(ROOT / "resources/organisms/llama", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))


def models(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "source": f"resources/organisms/{name}"} for name in names]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gamer(tmp_path_factory) -> World:
    """A world in which a small study with games has run."""
    world = make_world(tmp_path_factory.mktemp("gamer"))
    for name in ("untrained", "other"):
        add_player(world, name)
    world.run(world.study(models=models("untrained"), games=GAMES))
    return world


def test_the_games_of_a_study_are_in_its_report(gamer: World):
    report = gamer.folder / "results/small/council"
    deeds, changes = (pd.read_csv(report / "tables" / f"{name}.csv") for name in ("deeds", "deed_changes"))
    assert set(deeds["game"]) == {"all", "the_duel", "the_listener"} and set(deeds["model"]) == {"untrained"}
    assert {"baseline", "probe", "random-1", "flipped-1", "prompted-positive"} <= set(deeds["arm"])
    assert (deeds[deeds["game"] != "all"]["episodes"] == 2).all() and list(changes["game"]) == [
        "all",
        "the_duel",
        "the_listener",
    ]
    checks = pd.read_csv(report / "tables/checks.csv").query("check == 'words and deeds' or check == 'actions understood'")
    assert set(checks["status"]) <= {"PASS", "WARN"} and len(checks) == 2
    assert "## Games" in (report / "report.md").read_text()
    turns = read_table(gamer.folder / "results/small/transcripts/model=untrained/transcripts.parquet").to_pandas()
    assert turns.groupby(["arm", "layer", "game", "variant", "alpha", "seed"], dropna=False).ngroups == 2 * 2 * (3 + 2 * 4)
    assert {"observation", "answer", "outcome", "legal", "log_p", "score"} <= set(turns)


def test_what_was_played_stays_and_one_more_model_adds_its_own_games_alone(gamer: World):
    assert gamer.plan(gamer.study(models=models("untrained"), games=GAMES)) == {}
    more = gamer.plan(gamer.study(models=models("untrained", "other"), games=GAMES))
    assert {rule: more.get(rule) for rule in JOBS} == JOBS and more["aggregate"] == 1 and more["baseline"] == 1


def test_an_option_of_the_games_plays_them_again_and_nothing_else(gamer: World):
    more = gamer.plan(gamer.study(models=models("untrained"), games={**GAMES, "episodes": 4}))
    assert more == {**JOBS, "aggregate": 1, "all": 1}
    less = gamer.plan(gamer.study(models=models("untrained"), games={**GAMES, "play": ["the_duel"]}))
    assert less == {"transcripts": 1, "deeds": 1, "aggregate": 1, "all": 1}
    assert set(gamer.plan(gamer.study(models=models("untrained")))) == {"aggregate", "all"}  # the report without games


def test_cells_that_are_missing_are_played_and_the_others_kept(gamer: World, monkeypatch):
    study = gamer.study(models=models("untrained"), games=GAMES)
    root = gamer.folder / "results/small/games"
    lost = next(root.rglob("arm=probe/**/scenario=the_duel/alpha=5/cell.parquet"))
    kept = {path: path.read_bytes() for path in root.rglob("cell.parquet") if path != lost}
    before = read_table(lost)["answer"]
    lost.unlink()
    gamer.run(study)
    assert read_table(lost)["answer"] == before and all(path.read_bytes() == was for path, was in kept.items())
    monkeypatch.chdir(gamer.folder)
    read = check_study(load_study(Path("config/studies/small.yaml")))
    assert unfinished(read) == ([], []) and adopt(read) == []


def test_the_paper_s_study_plans_its_games_by_a_switch(fresh: World, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    study = fresh.folder / "config/studies/paper.yaml"
    plain, more = fresh.plan(study), fresh.plan(study, "--config", "games=all")
    added = {rule: count - plain.get(rule, 0) for rule, count in more.items() if count != plain.get(rule, 0)}
    assert added == {"play_unsteered": 3, "play_1": 4, "play_2": 3, "play_3": 3, "transcripts": 3, "deeds": 3}
    loaded = check_study(parse_study({**read_mapping(study), "games": "all"}, []))
    assert f"\n{sum(more.values())} jobs in all" in render_plan(loaded, plan_study(loaded), 1)
