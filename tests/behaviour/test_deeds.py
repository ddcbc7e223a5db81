"""Deeds and words of episodes: what the tables say, and that words alone are told apart from deeds."""

import numpy as np
import pandas as pd
import pytest
from played import FLIPPED, GAMES, played, told

from probesteer.behaviour.deeds import deed_changes, deeds, deeds_tables, episodes_of, measured, score_interval
from probesteer.games import spoken


def together(episodes: pd.DataFrame) -> pd.Series:
    changes = deed_changes(episodes, 1.0)
    assert list(changes["game"]) == ["all", *GAMES]
    return changes.iloc[0]


def test_a_push_that_moves_words_alone_is_told_apart_from_one_that_moves_deeds():
    talker, doer, both, neither = (together(played(1, *pushes)) for pushes in ((0, 0.4), (0.4, 0), (0.4, 0.4), (0, 0)))
    assert (
        talker.words_change_lower > 0 and talker.gap_lower > 0 and talker.deeds_change_lower <= 0 <= talker.deeds_change_upper
    )
    assert doer.deeds_change_lower > 0 and doer.gap_upper < 0 and doer.words_change_lower <= 0
    assert min(both.words_change_lower, both.deeds_change_lower) > 0 and both.gap_lower <= 0 <= both.gap_upper
    assert neither.words_change_lower <= 0 <= neither.words_change_upper and neither.gap_lower <= 0 <= neither.gap_upper


def test_specificity_is_the_rank_among_directions_of_flipped_labels():
    doer, neither = together(played(1, 0.4, 0)), together(played(2, 0, 0))
    assert doer.deeds_p == doer.log_odds_p == pytest.approx(1 / 40) and doer.arms == FLIPPED
    assert neither.deeds_p > 0.05


def test_the_slope_of_the_log_odds_is_in_nats_per_unit_of_alpha():
    changes = together(played(3, 0.3, 0))
    assert changes.log_odds_slope == pytest.approx(0.3, abs=0.05)
    assert changes.log_odds_slope_lower < 0.3 < changes.log_odds_slope_upper


def test_changes_are_paired_by_seed_and_are_those_of_the_means():
    episodes = played(4, 0.2, 0.3)
    means = episodes[episodes["arm"] == "probe"].groupby("alpha")[["score", "words"]].mean()
    changes = together(episodes)
    assert changes.deeds_change == pytest.approx(means["score"].loc[1] - means["score"].loc[-1])
    assert changes.words_change == pytest.approx(means["words"].loc[1] - means["words"].loc[-1])
    assert changes.gap == pytest.approx(changes.words_change - changes.deeds_change / 2)


def test_the_table_has_a_row_for_every_condition_with_games_apart_and_together():
    table = deeds(played(5, 0.3, 0.3, arms=1))
    assert len(table) == 3 * (1 + 2 + 2) and set(table["game"]) == {"all", *GAMES}
    row = table[(table["arm"] == "probe") & (table["alpha"] == 1) & (table["game"] == "all")].iloc[0]
    assert (row.episodes, row.unparsable, row.impossible, row.layer) == (40, 0.2, 0.1, 3)
    assert row.score_0 + row.score_1 + row.score_2 == 40 and row.deeds == (row.score_1 + 2 * row.score_2) / 40
    assert row.gap == pytest.approx(row.words - row.deeds / 2) and row.gap_lower < row.gap < row.gap_upper


def test_a_score_that_never_differs_has_an_interval_all_the_same():
    none, best = (score_interval(np.full(20, score), np.arange(20)) for score in (0, 2))
    assert none[:2] == (0, 0) and 0.2 < none[2] < 0.5 and best[0] == best[2] == 2 and 1.5 < best[1] < 1.8


@pytest.mark.parametrize(
    ("pushes", "flagged"), [((0, 0.4), (8, 10)), ((0.3, 0), (0, 0)), ((0.3, 0.3), (0, 2)), ((0, 0), (0, 1))]
)
def test_words_without_deeds_are_found_and_nothing_else_is_called_so(pushes, flagged):
    found = pd.DataFrame([told(seed, *pushes) for seed in range(10)])
    assert flagged[0] <= found["words, not deeds"].sum() <= flagged[1]
    assert found[["deeds_change", "words_change", "gap"]].mean().min() >= 0.8
    assert (found["specific"].sum() >= 9) if pushes[0] else (found["specific"].sum() <= 3)


def coverage(sets: int, seeds: int, means: tuple[float, float]) -> float:
    """Share of simulated samples of scores whose interval holds the true mean."""
    hits = 0
    for number in range(sets):
        rng = np.random.default_rng(number)
        score = (rng.random(seeds) < means[0]).astype(int) + (rng.random(seeds) < means[1])
        _, lower, upper = score_interval(score, np.arange(seeds))
        hits += lower <= sum(means) <= upper
    return hits / sets


@pytest.mark.parametrize("means", [(0.5, 0.5), (0.1, 0.05), (0.9, 0.02)])
def test_the_interval_of_a_mean_score_covers(means):
    assert coverage(300, 20, means) >= 0.95


def test_one_seed_alone_has_no_interval():
    row = measured(played(6, 0.3, 0, seeds=1).query("arm == 'probe' and alpha == 1"))
    assert np.isnan(row["deeds_lower"]) and np.isnan(row["deeds_upper"])


TURNS = [
    ('I am so sorry, I want to help you. {"action": "wait"}', "done"),
    ('{"action": "say", "message": "I care about you."}', "done"),
    ("{'action': 'listen'}", "unparsable"),
]


def turns(answers) -> pd.DataFrame:
    base = {"arm": "probe", "layer": 3, "game": "the_duel", "variant": "default", "alpha": 1.0, "seed": 0, "reached": False}
    base |= {"cut": False, "score": 1, "observation": "", "log_odds": None}
    return pd.DataFrame([{**base, "turn": n, "answer": text, "outcome": out} for n, (text, out) in enumerate(answers, 1)])


def test_words_are_what_is_said_and_not_the_names_of_actions():
    assert [spoken(text) for text, _ in TURNS] == ["I am so sorry, I want to help you.", "I care about you.", ""]
    assert spoken('{"action": "listen"} then {"action": "say", "message": 3} {"help": {"a": 1}} end') == "then     end"
    assert spoken('I {"action": "walk", care') == "I" and spoken("[" * 300 + "care") == "" and spoken("no brace") == "no brace"
    (one,) = episodes_of(turns(TURNS), "published").to_dict("records")
    assert (one["words"], one["unparsable"], one["turns"], one["score"]) == (1, 1, 3, 1) and np.isnan(one["log_odds"])
    (acts,) = episodes_of(turns(TURNS[2:]), "published").to_dict("records")
    assert acts["words"] == 0


def test_where_nothing_is_said_there_are_no_words():
    episodes = episodes_of(turns(TURNS), None)
    assert episodes["words"].isna().all() and "words" not in deeds(episodes)
    assert {"deeds", "deed_changes"} == set(deeds_tables(played(1, 0, 0).assign(words=np.nan), 1.0))
