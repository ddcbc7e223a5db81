"""Games that a model plays: many at a time as one by one, what is logged of a turn, and jobs that go on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from games import organism

from probesteer.errors import InputError
from probesteer.games import GAMES, VARIANTS
from probesteer.games.policies import empathic
from probesteer.lm.load import encode_prompt, render_prompt
from probesteer.lm.request import Request
from probesteer.steering import lockstep
from probesteer.steering.episodes import Episode, Seat, continuation
from probesteer.study.sections import Sampling

SAMPLING = Sampling(temperature=0.7, max_new_tokens=12)


@pytest.fixture(scope="module")
def model() -> tuple:
    """A random model that reads games, with its tokenizer."""
    return organism()


@pytest.fixture
def reads(model, monkeypatch) -> Callable[[int], None]:
    """Lets the model read so many tokens."""
    return lambda tokens: monkeypatch.setattr(model[0].config, "max_position_embeddings", tokens)


def seats(games, seeds=2, variants=("default",)) -> list[Seat]:
    direction = np.eye(64, dtype=np.float32)[3]
    pushes = [Request(""), Request("", 0, direction, 2.0), Request("", 1, direction, -2.0)]
    return [
        Seat(game, variant, seed, "You are an agent.", push, True, 5)
        for game in games
        for variant in variants
        for push in pushes
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("sampling", [None, SAMPLING], ids=["by likelihood", "by answer"])
def test_episodes_in_lockstep_are_those_played_one_by_one(model, sampling):
    asked = [*seats(["the_duel"]), *seats(["the_listener"], 1)[:2]]  # of different lengths
    together, largest = lockstep.play(*model, asked, sampling, 512)
    alone = [lockstep.play(*model, [seat], sampling, 512)[0][0] for seat in asked]
    assert largest == len(asked)
    for one, other in zip(together, alone, strict=True):
        for mine, its in zip(one, other, strict=True):
            np.testing.assert_allclose(mine.pop("log_p"), its.pop("log_p"), atol=2e-3)
            assert (mine.pop("log_odds") or 0) == pytest.approx(its.pop("log_odds") or 0, abs=2e-3)
            assert mine == its


def test_a_turn_logs_what_the_model_thinks_of_every_possible_action(model):
    (episode,), _ = lockstep.play(*model, seats(["the_duel"], 1)[:1], None, 512)
    game = GAMES["the_duel"]()
    shown, _ = game.reset(seed=0, options=VARIANTS["default"])
    for turn in episode:
        assert turn["observation"] == shown and turn["legal"] == game.legal_actions()
        prompt = encode_prompt(model[1], render_prompt(model[1], "You are an agent.", shown))
        for action, value in zip(turn["legal"], turn["log_p"], strict=True):
            answer = model[1](continuation(action), add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                logits = model[0](input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
            direct = sum(logits[len(prompt) - 1 + at, token] for at, token in enumerate(answer))
            assert value == pytest.approx(float(direct), abs=2e-3)
        values = dict(zip(turn["legal"], turn["log_p"], strict=True))
        assert (turn["log_odds"] is None) == (turn["needed"] in (None, turn["task"]))
        if turn["log_odds"] is not None:
            assert turn["log_odds"] == pytest.approx(values[turn["needed"]] - values[turn["task"]])
        shown, _, _, _, info = game.step(turn["answer"])
        assert (turn["score"], turn["outcome"]) == (info["score"], "done")
    assert game.over and [turn["turn"] for turn in episode] == list(range(1, len(episode) + 1))


def test_the_message_of_say_stands_for_any():
    assert continuation('{"action": "say", "message": "..."}') == '{"action": "say", "message": "'
    assert continuation('{"action": "wait"}') == '{"action": "wait"}'


def test_an_answer_decides_and_what_nobody_understands_passes_the_turn(model, monkeypatch):
    for said, outcome in [("I will help you.", "unparsable"), ('Yes. {"action": "hold_fire"}', "done")]:
        monkeypatch.setattr(type(model[1]), "batch_decode", lambda _self, rows, said=said, **_: [said] * len(rows))
        (episode,), _ = lockstep.play(*model, seats(["the_duel"], 1)[:1], SAMPLING, 512)
        assert [turn["outcome"] for turn in episode] == [outcome] * 6 and {turn["answer"] for turn in episode} == {said}
        assert episode[-1]["score"] == (outcome == "done")


def test_the_deeds_of_an_episode_are_scored_as_the_game_scores_them():
    episode = Episode(seats(["the_maze"], 1)[0])
    while not episode.game.over:
        episode.step(str(empathic(episode.game)), np.zeros(len(episode.legal())))
    assert episode.turns[-1]["score"] == 2 and episode.turns[-1]["reached"]
    assert any(turn["log_odds"] == 0 for turn in episode.turns)


def test_a_prompt_that_outgrows_the_model_ends_the_episode_and_its_score_stands(model, reads):
    seat = seats(["the_duel"], 1)[0]
    players, third = lockstep.Players(*model, SAMPLING), Episode(seat)
    for _ in range(2):
        third.step("", np.zeros(len(third.legal())))  # the model writes no action either
    reads(len(players.prompt(third)) + players.room(third) - 1)
    told: list[int] = []
    (episode,), _ = lockstep.play(*model, [seat], SAMPLING, 512, told.append)
    assert [turn["cut"] for turn in episode] == [False, True] and sum(told) == 6


def test_a_game_that_the_model_cannot_read_is_one_line(model, reads):
    reads(300)
    with pytest.raises(InputError, match=r"games: the first prompt of The Duel .* the model takes 300; leave this game out"):
        lockstep.play(*model, seats(["the_duel"], 1), None, 512)
