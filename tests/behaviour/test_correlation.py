"""Readings against scores, the best blocks, and the samples that move the other way, on tables whose truth is known."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from agreement import planted
from scipy.stats import pearsonr, somersd, spearmanr

from probesteer.behaviour.anti_steered import anti_steered
from probesteer.behaviour.correlation import binary, coefficients, correlations, done, joined, pearson, spearman, trend
from probesteer.behaviour.gap import gap_row
from probesteer.files.tables import write_row_groups
from probesteer.report.published import replication
from probesteer.stats import auroc_interval
from probesteer.study.model import Model

SCENARIOS, SAMPLES = 5, 40


def points(slope: float = 1.0, between: float = 0.0, seed: int = 0, author: str = "m") -> pd.DataFrame:
    """Readings and scores of baseline, prompted and steered texts: the score follows the reading by `slope`, within scenarios,

    and both rise with the scenario by `between`.
    """
    rng = np.random.default_rng(seed)
    places = [("baseline", None, 0.0), ("prompted-positive", None, 0.0), ("prompted-negative", None, 0.0)]
    places += [("probe", 3, alpha) for alpha in (-1.0, 1.0)]
    rows = [
        {"author": author, "arm": arm, "layer": layer, "scenario": f"s{scenario}", "alpha": alpha, "sample": sample}
        for arm, layer, alpha in places
        for scenario in range(SCENARIOS)
        for sample in range(SAMPLES)
    ]
    table = pd.DataFrame(rows)
    scenario = table["scenario"].str[1:].astype(int)
    push = table["alpha"] + (table["arm"] == "prompted-positive") - 1.0 * (table["arm"] == "prompted-negative")
    reading = push + rng.standard_normal(len(table))
    evidence = np.round(slope * reading + 0.5 * rng.standard_normal(len(table)) + between * scenario)
    read = table.assign(block=2, projection=reading + between * scenario)
    return read.assign(evidence=evidence, positive=evidence > 0, against="score")


def test_the_coefficients_are_those_of_scipy_where_there_is_one_stratum():
    rng = np.random.default_rng(0)
    evidence = rng.integers(-1, 2, 60).astype(float)
    reading, one = evidence + rng.standard_normal(60), np.zeros(60, dtype=int)
    assert pearson(reading, evidence, one) == pytest.approx(pearsonr(reading, evidence).statistic)
    assert spearman(reading, evidence, one) == pytest.approx(spearmanr(reading, evidence).statistic)
    assert trend(reading, evidence, one, np.arange(60))[0] == pytest.approx(somersd(evidence, reading).statistic)
    two = evidence != 0
    area = auroc_interval(reading[two], evidence[two] > 0, np.arange(two.sum()))
    found = trend(reading[two], evidence[two], one[two], np.arange(two.sum()))
    assert found == pytest.approx(tuple(2 * bound - 1 for bound in area)), "of two levels it is the AUROC"


def test_within_scenarios_what_lies_between_them_does_not_count():
    table = pd.DataFrame(correlations(points(slope=0.0, between=2.0))).query("texts == 'unsteered'").set_index("scope")
    assert table.loc["overall", "pearson"] > 0.8 and table.loc["overall", "clusters"] == SCENARIOS
    within = table.loc["within scenarios"]
    assert within["pearson_lower"] < 0 < within["pearson_upper"] and within["clusters"] == SCENARIOS * SAMPLES
    assert set(table.index) == {"overall", "within scenarios", *(f"s{number}" for number in range(SCENARIOS))}


def test_every_author_and_set_has_its_rows_and_the_texts_of_others_are_not_steered():
    other = points(author="other")
    table = pd.DataFrame(correlations(pd.concat([points(), other[other["arm"] != "probe"]])))
    found = set(table[["author", "texts"]].itertuples(index=False, name=None))
    own = {("m", name) for name in ("unsteered", "prompted", "steered")}
    assert found == own | {("other", "unsteered"), ("other", "prompted")}
    assert table.query("author == 'm' and texts == 'prompted' and scope == 'overall'")["n"].item() == 3 * SCENARIOS * SAMPLES


def test_the_intervals_of_a_correlation_cover_with_clusters():
    """Samples under three prompts share what they are about: 200 studies; reading and score share half of their variance."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared = np.repeat(rng.standard_normal((2, 60)), 3, axis=1)
        first, second = np.sqrt(0.5) * (shared + rng.standard_normal((2, 180)))
        reading, evidence = first, (first + second) / np.sqrt(2)
        row = coefficients(reading, evidence, np.zeros(180, dtype=int), np.repeat(np.arange(60), 3).astype(str))
        covered.append(row["pearson_lower"] <= np.sqrt(0.5) <= row["pearson_upper"])
    assert 0.9 <= np.mean(covered) <= 0.99


def test_twelve_texts_find_a_correlation_of_three_quarters_and_hundreds_a_small_one():
    rng = np.random.default_rng(0)

    def detectable(count: int) -> float:
        reading, evidence = rng.standard_normal((2, count))
        return coefficients(reading, evidence, np.zeros(count, dtype=int), np.arange(count).astype(str))["detectable"]

    assert 0.6 < np.median([detectable(12) for _ in range(20)]) < 0.85
    assert 0.1 < detectable(600) < 0.13


def test_the_trend_is_told_from_none_and_what_does_not_vary_is_missing():
    table = pd.DataFrame(correlations(points())).query("texts == 'steered' and scope == 'within scenarios'").iloc[0]
    assert table["trend_lower"] > 0.3
    rng = np.random.default_rng(0)
    strata, groups = np.repeat(np.arange(5), 20), np.arange(100).astype(str)
    nothing = [trend(rng.standard_normal(100), rng.integers(-1, 2, 100) * 1.0, strata, groups) for _ in range(200)]
    assert np.mean([lower > 0 or upper < 0 for _, lower, upper in nothing]) <= 0.09
    apart = trend(np.arange(40.0), np.repeat([-1.0, 1.0], 20), np.zeros(40, dtype=int), np.arange(40))
    assert apart[0] == 1 and 0.8 < apart[1] < 1, "no error was seen, and some is possible"
    constant = pd.DataFrame(correlations(points().assign(evidence=1.0)))
    assert constant[["pearson", "pearson_lower", "trend", "detectable"]].isna().all(axis=None)


def test_the_binary_metrics_are_those_of_their_confusion_matrix():
    table = points()
    row = next(row for row in binary(table) if row["texts"] == "unsteered")
    own = table[table["arm"] == "baseline"]
    said, is_so = own["projection"] > 0, own["positive"]
    assert (row["tp"], row["fn"]) == ((said & is_so).sum(), (~said & is_so).sum())
    assert row["tp"] + row["fp"] + row["tn"] + row["fn"] == row["n"] == SCENARIOS * SAMPLES
    assert row["accuracy"] == (said == is_so).mean() and row["accuracy_lower"] < row["accuracy"] < row["accuracy_upper"]
    assert row["precision"] == row["tp"] / (row["tp"] + row["fp"]) and row["specificity"] == row["tn"] / (row["tn"] + row["fp"])
    assert row["f1"] == pytest.approx(2 / (1 / row["precision"] + 1 / row["recall"])) and row["auroc_lower"] > 0.8
    only = next(iter(binary(table.assign(positive=True))))
    assert np.isnan(only["specificity"]) and np.isnan(only["auroc"])


def test_readings_meet_the_scores_of_the_same_texts_which_are_coherent_and_rated():
    table = points()
    scores = table.drop(columns=["author", "block", "projection"]).assign(coherent=True)
    scores.loc[scores["arm"] == "baseline", "layer"] = 3
    again = scores[scores["arm"] == "baseline"].assign(layer=5)  # an unsteered text stands at every steered layer
    scores.loc[0, "coherent"] = False
    scores["positive"] = scores["positive"].astype("boolean")
    scores.loc[1, "positive"] = pd.NA
    readings = table.drop(columns=["evidence", "positive", "against"]).assign(turn=None).astype({"layer": "Int32"})
    found = joined(readings, pd.concat([scores, again[again["sample"] > 1]]), "m")
    assert len(found) == len(table) - 2 and found["projection"].notna().all()


def test_answers_in_games_meet_the_deeds_of_their_episode(tmp_path):
    """Two episodes at one dose, two turns each: what counts is the score of the last turn, whatever the order of rows."""
    at = {"arm": "probe", "layer": 3, "game": "the_duel", "variant": "default", "alpha": 0.5}
    beside = {"outcome": "done", "reached": False, "cut": False, "log_odds": None}
    scored = {(0, 2): 2, (0, 1): 0, (1, 1): 0, (1, 2): 1}
    turns = [{**at, **beside, "seed": seed, "turn": turn, "score": score} for (seed, turn), score in scored.items()]
    write_row_groups([pa.Table.from_pylist(turns)], tmp_path / "turns.parquet")
    written = pd.DataFrame(turns).rename(columns={"game": "scenario", "seed": "sample"}).drop(columns=["score", *beside])
    readings = written.assign(author="m", block=2, projection=[1.0, 0.0, -1.0, -2.0])
    elsewhere = readings.head(1).assign(turn=None, variant=None, projection=9.0)
    found = done(pd.concat([readings, elsewhere]), tmp_path / "turns.parquet", "m").sort_values("sample")
    assert found["projection"].tolist() == [0.5, -1.5] and found["evidence"].tolist() == [1.0, 0.0]
    assert found["positive"].tolist() == [True, False] and set(found["against"]) == {"deed"}
    rows = pd.DataFrame(correlations(pd.concat([points(), found])))
    assert set(rows.query("against == 'deed'")["texts"]) == {"steered"} and len(rows.query("against == 'score'"))


@pytest.mark.parametrize(("doses", "label"), [((-1.0, 0.0, 1.0), "-1 to 1"), ((-2.0, -1.0, 0.0, 1.0, 2.0), "all")])
def test_a_planted_share_of_30_per_cent_that_moves_the_other_way_is_found_within_5_points(doses, label):
    for seed in range(20):
        for noise in (0.0, 0.2):
            table = anti_steered(planted(seed, 0.3, 1000, noise, doses), 5).set_index("doses")
            assert abs(table.loc[label, "anti_of_moved"] - 0.3) < 0.05, (seed, noise)
    assert table.loc[label, "anti_of_moved_lower"] < 0.3 < table.loc[label, "anti_of_moved_upper"] + 0.03


def test_the_interval_of_the_share_covers_what_is_planted():
    found = [anti_steered(planted(seed, 0.3, 100, 0.0, (-1.0, 0.0, 1.0)), 5).iloc[0] for seed in range(200)]
    assert 0.92 <= np.mean([row["anti_lower"] <= 0.3 <= row["anti_upper"] for row in found]) <= 0.99


def test_noise_alone_moves_half_of_what_moves_and_broken_texts_have_no_score():
    noise = anti_steered(planted(0, 0.3, 2000, 1.0, (-1.0, 0.0, 1.0)), 5).iloc[0]
    assert noise["anti_of_moved"] == pytest.approx(0.5, abs=0.04) and noise["moved"] == pytest.approx(2 / 3, abs=0.04)
    broken = planted(0, 0.3, 100, 0.0, (-1.0, 0.0, 1.0)).assign(coherent=lambda table: table["sample"] >= 10)
    row = anti_steered(broken, 5).iloc[0]
    assert (row["samples"], row["lost"]) == (90, 10) and np.isnan(row["chance_anti"])


def test_control_directions_say_how_many_move_the_other_way_by_chance():
    probe = planted(0, 0.0, 200, 0.0, (-1.0, 0.0, 1.0))
    arms = [planted(seed, 0.0, 200, 1.0, (-1.0, 1.0)).assign(arm=f"flipped-{seed}") for seed in (1, 2, 3)]
    row = anti_steered(pd.concat([probe, *arms]), 5).iloc[0]
    assert row["anti"] == 0 and row["chance_anti"] == pytest.approx(1 / 3, abs=0.1)


def held_out(dprimes: dict[int, float], groups: int = 60, seed: int = 0) -> pd.DataFrame:
    """Projections of held-out pairs at blocks that read them by so many standard deviations."""
    rng = np.random.default_rng(seed)
    rows = []
    for layer, dprime in dprimes.items():
        for positive in (True, False):
            values = rng.standard_normal(groups) + dprime * positive
            own = {"layer": layer, "group": np.arange(groups).astype(str), "positive": positive, "projection": values}
            rows.append(pd.DataFrame(own).assign(scenario=[f"s{number % 5}" for number in range(groups)]))
    return pd.concat(rows, ignore_index=True)


def sweep(changes: dict[int, float], samples: int = 40, seed: int = 0) -> pd.DataFrame:
    """Scores whose rate changes by so much at each block between the ends of the grid."""
    rng = np.random.default_rng(seed)
    parts = []
    for layer, change in changes.items():
        for alpha in (-1.0, 0.0, 1.0):
            table = pd.DataFrame({"scenario": np.repeat([f"s{number}" for number in range(5)], samples), "alpha": alpha})
            positive = rng.random(5 * samples) < 0.5 + alpha * change / 2
            table = table.assign(sample=np.tile(np.arange(samples), 5), positive=positive)
            parts.append(table.assign(layer=layer, arm="baseline" if alpha == 0 else "probe"))
    scores = pd.concat(parts, ignore_index=True).assign(model="m", coherent=True)
    return scores.assign(negative=~scores["positive"])


def test_the_gap_lies_between_the_best_block_to_read_and_the_best_to_steer():
    row = gap_row(held_out({0: 0.5, 4: 1.0, 8: 4.0}), sweep({4: 0.8, 8: 0.2}), 1.0)
    assert (row["read_block"], row["steered_block"], row["gap"]) == (8, 4, 4)
    assert row["read_certain"] > 0.95 and row["steered_certain"] == 1 and row["gap_lower"] <= 4 <= row["gap_upper"]
    assert row["change"] == pytest.approx(0.8, abs=0.1) and row["lost_lower"] < 0.6 < row["lost_upper"]
    assert (row["read_blocks"], row["steered_blocks"]) == (3, 2)


def test_blocks_that_are_alike_leave_the_gap_open_and_a_single_steered_block_has_none():
    open_ = gap_row(held_out({0: 1.5, 4: 1.5, 8: 1.5}), sweep({0: 0.4, 4: 0.4, 8: 0.4}), 1.0)
    assert open_["gap_lower"] < 0 < open_["gap_upper"] and open_["read_certain"] < 0.95
    single = gap_row(held_out({0: 1.5, 4: 4.0}), sweep({4: 0.4}), 1.0)
    assert single["steered_block"] == 4 and np.isnan([single["gap"], single["lost"], single["steered_certain"]]).all()
    assert single["change_lower"] < 0.4 < single["change_upper"]


def test_blocks_that_read_everything_are_told_apart_by_how_far():
    assert gap_row(held_out({0: 30.0, 4: 60.0, 8: 30.0}), sweep({4: 0.4, 8: 0.1}), 1.0)["read_block"] == 4


def test_the_published_correlations_stand_beside_ours(monkeypatch):
    from conftest import ROOT

    monkeypatch.chdir(ROOT)
    stanza = {"revision": "0" * 40, "blocks": 32, "parameters_b": 3.8}
    model = Model(name="phi", source="microsoft/Phi-3-mini-4k-instruct", **stanza)
    ours = points(author="phi").assign(model="phi")
    tables = {"correlation": correlations(ours), "binary": binary(ours)}
    found = {name: pd.DataFrame(rows).assign(model="phi") for name, rows in tables.items()}
    detection = pd.DataFrame([{"model": "phi", "layer": 8, "auroc": 0.9, "cv_auroc": 0.9}])
    table = replication([model], detection, pd.DataFrame(), found).set_index("claim")
    assert table.loc["behaviour: pearson", "printed"] == 0.71 and table.loc["behaviour: accuracy", "printed"] == 1
    overall = found["correlation"].query("texts == 'prompted' and scope == 'overall'").iloc[0]
    assert table.loc["behaviour: pearson", ["ours", "ours_lower"]].tolist() == [overall["pearson"], overall["pearson_lower"]]
    assert table.loc["behaviour: recall", "printed"] == 1 and "12 texts" in table.loc["behaviour: f1", "why"]
