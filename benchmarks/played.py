"""Simulated episodes of games: how often the intervals of deeds and words hold the truth, and what is told apart from what."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from probesteer.behaviour.deeds import deed_changes
from probesteer.report.checks import talks_only

ALPHAS, GAMES, FLIPPED = (-1.0, 1.0), ["the_duel", "the_maze"], 19
PLAYED = {"reached": False, "cut": False, "turns": 10, "unparsable": 2, "impossible": 1}
# (change of the probability of a deed, and of a kind word, per unit of alpha)
MODELS = {"neither": (0.0, 0.0), "words alone": (0.0, 0.3), "deeds alone": (0.3, 0.0), "both": (0.3, 0.3)}


def played(seed: int, acts: float, talks: float, seeds: int = 20, arms: int = FLIPPED) -> pd.DataFrame:
    """Episodes, as `deeds.episodes_of` gives them, of a model whose probe raises deeds by `acts` and words by `talks`.

    Two deeds of an episode are done, and a kind word said, with probability 1/2 + the shift times alpha; half of the luck is
    shared by doses and directions, as random numbers are.
    """
    rng, rows = np.random.default_rng(seed), []
    luck = {(game, number): rng.random(3) for game in GAMES for number in range(seeds)}
    for arm, alphas in [("baseline", (0.0,)), ("probe", ALPHAS), *((f"flipped-{n}", ALPHAS) for n in range(1, arms + 1))]:
        for alpha in alphas:
            pushed = alpha * (arm == "probe")
            does, says = (shift * pushed + 0.5 for shift in (acts, talks))
            for (game, number), shared in luck.items():
                own = np.where(rng.random(3) < 0.5, rng.random(3), shared)
                score, odds = int(own[0] < does) + int(own[1] < does), acts * pushed + 0.1 * rng.standard_normal()
                place = {"arm": arm, "layer": np.nan if arm == "baseline" else 3, "game": game, "variant": "default"}
                said = {"score": score, "words": float(own[2] < says), "log_odds": odds}
                rows.append({**place, "alpha": alpha, "seed": number, **PLAYED, **said})
    return pd.DataFrame(rows)


def told(seed: int, acts: float, talks: float) -> dict[str, float]:
    """Of one simulated model: whether each interval holds the truth, and what the report says."""
    row = deed_changes(played(seed, acts, talks), 1.0).iloc[0]
    truths = {"deeds_change": 4 * acts, "words_change": 2 * talks, "gap": 2 * (talks - acts), "log_odds_slope": acts}
    held = {name: float(row[f"{name}_lower"] <= truth <= row[f"{name}_upper"]) for name, truth in truths.items()}
    return {**held, "words, not deeds": float(talks_only(row)), "specific": float(row["deeds_p"] <= 0.05)}


def deeds(run: Callable[[partial, int], list], sets: int) -> Iterator[str]:
    """What is said of models whose push moves words, deeds, both or neither; the lines of a table in Markdown."""
    tables = {name: pd.DataFrame(run(partial(told, acts=acts, talks=talks), sets)) for name, (acts, talks) in MODELS.items()}
    names = list(next(iter(tables.values())))
    yield f"| moved | models | {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for name, found in tables.items():
        yield f"| {name} | {sets} | {' | '.join(f'{share:.3f}' for share in found[names].mean())} |"
