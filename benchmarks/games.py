"""Games: what players by script get, and how much faster many episodes are in lockstep than one by one.

`python benchmarks/games.py` prints the table of players by script of docs/games.md (10 s); `... rollouts` that of
docs/benchmarks.md: a model of the organisms' size plays, steered, and both sides must write the same transcripts. Its weights
are random and its tokenizer is of the games' texts: its answers are no actions, and an episode has all its turns.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from probesteer.games import GAMES
from probesteer.games.policies import Policy, at_random, empathic, play, task_focused
from probesteer.lm.documents import Document
from probesteer.lm.request import Request
from probesteer.lm.train import Recipe, build_model, train_tokenizer
from probesteer.steering import lockstep
from probesteer.steering.episodes import Seat
from probesteer.study.sections import Games, Sampling

SEEDS = range(100)
POLICIES = {"empathic": lambda seed: empathic, "task-focused": lambda seed: task_focused, "random": at_random}
HEAD = ["game", "player", "score 0", "score 1", "score 2", "mean", "task done"]
SAMPLING = Sampling(max_new_tokens=Games().max_new_tokens)
TOLERANCE = 1e-2  # nats, of the sum of log P of an action's tokens


def row(name: str, player: str) -> list[str]:
    """Games out of 100 with each score, their mean, and in how many the task's objective was reached."""
    game, scores, reached = GAMES[name](), [], 0
    for seed in SEEDS:
        policy: Policy = POLICIES[player](seed)
        scores.append(play(game, policy, seed))
        reached += game.reached()
    counts = [str(scores.count(score)) for score in range(3)]
    return [game.title, player, *counts, f"{sum(scores) / len(scores):.2f}", str(reached)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    return (f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def table() -> Iterator[str]:
    """The lines of the table of players by script in Markdown."""
    return markdown(HEAD, [row(name, player) for name in GAMES for player in POLICIES])


def organism() -> tuple[Any, Any]:
    """A random model of the organisms' size that reads games, and a tokenizer of their texts."""
    texts = []
    for game in GAMES.values():
        playing = game()
        for seed in range(5):
            play(playing, at_random(seed), seed)
            texts.append(playing.observation())
    torch.manual_seed(0)
    recipe = Recipe("llama", planted=False, seed=0)
    model = build_model(recipe, recipe.vocabulary).eval()
    model.config.max_position_embeddings = 8192
    return model, train_tokenizer([Document("", text, True, 0.0) for text in texts], recipe.vocabulary)


def seats(rollouts: int, game: str, hidden: int) -> list[Seat]:
    """Episodes at five doses of one direction."""
    direction = np.eye(hidden, dtype=np.float32)[0]
    pushes = [Request("", 3, direction, float(push)) for push in (-2, -1, 0, 1, 2)]
    return [Seat(game, "default", number // 5, "You are an agent.", pushes[number % 5], True, 0) for number in range(rollouts)]


def rollouts(count: int, alone: int, game: str, decides: str) -> Iterator[str]:
    """Lockstep against one by one, of which the first `alone` are played; the lines of a table in Markdown."""
    model, tokenizer = organism()
    asked, sampling = seats(count, game, model.config.hidden_size), SAMPLING if decides == "answer" else None
    started = time.process_time()
    together, rows = lockstep.play(model, tokenizer, asked, sampling, 512)
    seconds = time.process_time() - started
    started = time.process_time()
    single = [lockstep.play(model, tokenizer, [seat], sampling, 512)[0][0] for seat in asked[:alone]]
    apart = (time.process_time() - started) / alone * count
    equal = sum(map(same, together, single))
    return markdown(
        ["side", "seconds of CPU time, one thread", "times the first", "transcripts that are equal"],
        [
            [f"lockstep, up to {rows} rows", f"{seconds:.1f}", "1.00", f"{equal} of {alone}"],
            [f"one by one, {alone} of {count}, scaled", f"{apart:.1f}", f"{apart / seconds:.2f}", ""],
        ],
    )


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether two transcripts are equal: every text, and every number up to rounding."""
    numbers = ("log_p", "log_odds")
    plain = [[{key: value for key, value in turn.items() if key not in numbers} for turn in side] for side in (one, other)]
    close = (np.allclose(mine["log_p"], its["log_p"], atol=TOLERANCE) for mine, its in zip(one, other, strict=False))
    return plain[0] == plain[1] and all(close)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="?", choices=["scripts", "rollouts"], default="scripts")
    parser.add_argument("--rollouts", type=int, default=500)
    parser.add_argument("--alone", type=int, default=50, help="how many are played one by one")
    parser.add_argument("--game", choices=[*GAMES], default="the_duel")
    parser.add_argument("--decides", choices=["answer", "odds"], default="answer")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = table() if given.task == "scripts" else rollouts(given.rollouts, given.alone, given.game, given.decides)
    print("\n".join(found))
