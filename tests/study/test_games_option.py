"""The option `games:`: what may be written, what follows from it, and that a study without it is as it was."""

from typing import get_args

import pytest
from conftest import ROOT

from probesteer.errors import InputError
from probesteer.games import GAMES, VARIANTS
from probesteer.study import load_study, options, parse_study
from probesteer.study.paths import GAME_TABLES


def demo(**given):
    return parse_study({**load_study(ROOT / "config/config.yaml").model_dump(), **given}, [])


def test_the_names_of_a_study_are_those_of_the_games():
    assert get_args(options.GameName) == tuple(GAMES) and get_args(options.VariantName) == tuple(VARIANTS)


@pytest.mark.parametrize("given", ["all", list(GAMES), {"play": "all"}, {}])
def test_all_games_can_be_asked_for_in_several_ways(given):
    assert demo(games=given).games == demo(games="all").games and demo(games=given).games.play == list(GAMES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["the_mase"], "did you mean the_maze?"),
        ("the_maze", "a list of games, or all, is expected"),
        ({"variants": ["kid"]}, "Input should be 'default', 'no_need', 'hostile' or 'child'"),
        ({"episode": 3}, "did you mean episodes?"),
        (["the_maze", "the_maze"], "the_maze is given twice"),
        ({"play": []}, "at least 1 item"),
    ],
)
def test_what_is_wrong_with_them_is_one_line(given, said):
    with pytest.raises(InputError) as error:
        demo(games=given)
    assert said in str(error.value) and "\n" not in str(error.value) and "games" in str(error.value)


def test_nobody_plays_where_nobody_is_steered():
    with pytest.raises(InputError, match="games: steered models play them"):
        demo(games="all", steering_layers=[], scorers=["grammar"])


def test_a_study_without_games_has_no_trace_of_them():
    study = demo()
    assert "games" not in study.model_dump_json() and not {*GAME_TABLES} & {*study.tables} and study.players == []
    assert study.game_jobs(study.models[0]) == []


def test_games_are_played_within_the_trend_range_by_every_arm():
    study = demo(games=["the_duel", "the_maze"])
    unsteered, steered = study.game_jobs(study["llama"])
    assert {(cell.arm, cell.scenario) for cell in unsteered} == {
        (arm, game) for arm in ("baseline", "prompted-positive", "prompted-negative") for game in ("the_duel", "the_maze")
    }
    assert {cell.alpha for cell in steered} == {-0.1, 0.1}  # criteria.trend_alpha is 0.1
    assert {cell.arm for cell in steered} == {"probe", *study.controls.arms()}
    assert str(steered[0].path(study.paths.games)) == (
        "results/organisms/games/arm=probe/model=llama/layer=3/scenario=the_duel/alpha=-0.1/cell.parquet"
    )
