"""What players by script get in the five games; `python benchmarks/games.py` prints the table of docs/games.md (10 s)."""

from collections.abc import Iterator

from probesteer.games import GAMES
from probesteer.games.policies import Policy, at_random, empathic, play, task_focused

SEEDS = range(100)
POLICIES = {"empathic": lambda seed: empathic, "task-focused": lambda seed: task_focused, "random": at_random}
HEAD = ["game", "player", "score 0", "score 1", "score 2", "mean", "task done"]


def row(name: str, player: str) -> list[str]:
    """Games out of 100 with each score, their mean, and in how many the task's objective was reached."""
    game, scores, reached = GAMES[name](), [], 0
    for seed in SEEDS:
        policy: Policy = POLICIES[player](seed)
        scores.append(play(game, policy, seed))
        reached += game.reached()
    counts = [str(scores.count(score)) for score in range(3)]
    return [game.title, player, *counts, f"{sum(scores) / len(scores):.2f}", str(reached)]


def table() -> Iterator[str]:
    """The lines of the table in Markdown."""
    rows = [HEAD, ["---"] * len(HEAD), *(row(name, player) for name in GAMES for player in POLICIES)]
    return (f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    print("\n".join(table()))
