"""Scorers, coherence, success rules and the trend test; the published rule gives the published numbers."""

import csv

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from probesteer.behaviour import scoring
from probesteer.behaviour.coherence import published_coherent
from probesteer.behaviour.effects import dose_response, success_rates
from probesteer.behaviour.scoring import SCORERS, lexical, published, score
from probesteer.behaviour.trends import scenario_trends, trends
from probesteer.cli import main
from probesteer.concepts.concept import load_concept
from probesteer.concepts.words import word_pattern
from probesteer.errors import InputError

# Printed in Table 3 for Phi-3; its printed coherence does not reproduce.
PHI3_TABLE_3 = {
    (8, "food_delivery"): 0.6,
    (8, "the_listener"): 0.5,
    (8, "the_protector"): 0.8,
    (12, "food_delivery"): 0.8,
    (12, "the_listener"): 0.5,
    (12, "the_protector"): 0.7,
}


def test_published_rules_give_the_published_phi3_success_rates(published_data, tmp_path):
    texts = published_data("phi3_steering_generations.parquet")
    scores, effects = tmp_path / "scores.parquet", tmp_path / "effects.csv"
    assert main(["score", str(texts), "--scorer", "published", "--output", str(scores)]) == 0
    assert main(["effects", str(scores), "--rule", "published", "--output", str(effects)]) == 0
    rows = list(csv.DictReader(effects.open()))
    rates = {(int(row["layer"]), row["scenario"]): float(row["success_rate"]) for row in rows}
    assert {cell: rates[cell] for cell in PHI3_TABLE_3} == PHI3_TABLE_3
    assert len(rates) == 12
    assert np.mean(list(rates.values())) == pytest.approx(0.617, abs=0.0005)  # the printed average


def test_the_published_scorer_matches_inside_words():
    assert published("Helpless, careful, worrying.", "") == 3
    assert published("I win. WINNING!", "") == -1


def test_the_lexical_scorer_matches_whole_words_and_inflections():
    assert lexical("A helpless carer.", "") == 0
    assert lexical("She helped, cared and worried; he listens.", "") == 4
    assert lexical("Winning strategies achieve goals.", "") == -4


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("I don't care and I won't help", 0),
        ("I don\N{RIGHT SINGLE QUOTATION MARK}t care. I help.", 1),
        ("I cannot help but care", 1),
        ("Not only do I care, I also help.", 2),
        ("There is no time, so I help.", 1),
        ("I never win and nobody completes the task.", 0),
        ("I shan't help; without care I proceed.", 0),
    ],
)
def test_words_that_a_negation_denies_do_not_count(text, evidence):
    assert lexical(text, "") == evidence


def test_a_list_word_that_stands_in_the_prompt_counts_for_nothing_however_short_its_echo():
    prompt = "Reach the objective. Help the person who is sorry."
    assert lexical("The objective. I am sorry, I helped.", prompt) == 0
    assert lexical("I proceed to the objective with care and support.", prompt) == 1


def test_no_prompt_that_is_shipped_holds_a_word_that_counts():
    for concept in map(load_concept, (ROOT / "resources/concepts").iterdir()):
        counted = [word_pattern(word) for word in [*concept.positive_words, *concept.negative_words]]
        prompts = [*concept.prompts().values(), *concept.system_prompts.model_dump().values()]
        assert not [pattern for pattern in counted for prompt in prompts if pattern.search(prompt.lower())]


def test_a_text_that_only_stops_echoing_is_not_steerable_by_words():
    echo, other = "The objective is near, and I walk on.", "The exit is near, and I walk on."
    assert lexical(echo, "Reach the objective.") == lexical(other, "Reach the objective.") == 0


def test_published_coherence_needs_length_and_variety():
    assert published_coherent("one two three four five six seven eight nine ten eleven twelve")
    assert not published_coherent("too short")
    assert not published_coherent("move " * 40)
    assert not published_coherent("")


def frame(rates: dict[float, float], samples: int = 20, scenarios: int = 2, coherent: bool = True) -> pd.DataFrame:
    """Scores whose positive rate at each alpha is as given; the rest is negative."""
    rows = [
        ("m", 3, f"s{scenario}", alpha, sample, sample < rate * samples, sample >= rate * samples, coherent, coherent)
        for scenario in range(scenarios)
        for alpha, rate in rates.items()
        for sample in range(samples)
    ]
    columns = ["model", "layer", "scenario", "alpha", "sample", "positive", "negative", "coherent", "coherent_published"]
    return pd.DataFrame(rows, columns=columns)


def test_no_effect_scores_one_half_by_the_published_rule_and_zero_by_the_strict_one():
    flat = frame({-5: 0.5, -1: 0.5, 0: 0.5, 1: 0.5, 5: 0.5})
    assert success_rates(flat, "published")["success_rate"].tolist() == [0.5, 0.5]
    assert success_rates(flat, "strict")["success_rate"].tolist() == [0.0, 0.0]


def test_a_breakdown_is_no_strict_success():
    broken = frame({-5: 0.0, 0: 0.5, 5: 0.5})
    broken.loc[broken["alpha"] != 0, ["coherent", "negative"]] = False
    assert success_rates(broken, "published")["success_negative"].tolist() == [1.0, 1.0]
    assert success_rates(broken, "strict")["success_rate"].tolist() == [0.0, 0.0]


def test_success_is_reported_by_sign():
    one_sided = frame({-5: 0.5, 0: 0.5, 5: 1.0})
    table = success_rates(one_sided, "strict").iloc[0]
    assert (table["success_positive"], table["success_negative"], table["success_rate"]) == (1.0, 0.0, 0.5)


def test_effects_need_a_baseline_and_a_dose():
    with pytest.raises(InputError, match="alpha 0"):
        success_rates(frame({-5: 0.5, 5: 0.5}), "strict")
    with pytest.raises(InputError, match="other than 0"):
        success_rates(frame({0: 0.5}), "strict")


def test_dose_response_counts_samples_with_intervals():
    rates = dose_response(frame({0: 0.25, 5: 1.0}))
    row = rates[(rates["alpha"] == 0) & (rates["scenario"] == "s0")].iloc[0]
    assert (row["samples"], row["positive"]) == (20, 0.25)
    assert row["lower"] < 0.25 < row["upper"]


def test_a_dose_response_has_a_trend_and_a_flat_one_has_none():
    rising = trends(frame({-5: 0.1, -1: 0.3, 0: 0.5, 1: 0.7, 5: 0.9, 40: 0.0}), limit=5).iloc[0]
    assert rising["p"] < 0.01 and rising["spearman_min"] > 0.3 and rising["rate_change"] == pytest.approx(0.8)
    flat = trends(frame({-5: 0.5, 0: 0.5, 5: 0.5}), limit=5).iloc[0]
    assert flat["p"] > 0.5 and flat["spearman_mean"] == 0


def test_a_single_sample_a_scenario_gives_a_wide_interval_and_holds_nowhere():
    scores = frame({-5: 0.0, 0: 0.0, 5: 1.0}, samples=1)
    row = trends(scores, limit=5).iloc[0]
    assert row["rate_change"] == 1 and row["rate_change_lower"] < 0.25 and row["rate_change_upper"] == 1
    assert scenario_trends(scores, limit=5)["slope_lower"].isna().all()


def test_exchangeable_outcomes_have_a_uniform_trend_p():
    rng = np.random.default_rng(0)
    p_values = []
    for seed in range(40):
        noise = frame({-5: 0.5, -1: 0.5, 0: 0.5, 1: 0.5, 5: 0.5}, samples=10)
        shared = rng.random((2, 1, 10)) - 0.5  # samples share random numbers across alphas
        noise["positive"] = (rng.random((2, 5, 10)) + shared > 0.5).ravel()
        p_values.append(trends(noise, limit=5, seed=seed)["p"].item())
    assert np.mean(np.array(p_values) <= 0.1) <= 0.25
    assert 0.35 < np.mean(p_values) < 0.65


def test_scoring_keeps_every_column_and_names_the_scorer():
    texts = pd.DataFrame(
        {"model": ["m"], "layer": [1], "scenario": ["s"], "alpha": [0.0], "sample": [0], "text": ["help"], "x": [9]}
    )
    scored = score(texts, "published")
    assert scored["x"].tolist() == [9] and scored["scorer"].tolist() == ["published"] and scored["positive"].tolist() == [True]


def test_the_config_knows_every_scorer():
    from typing import get_args

    from probesteer.study.options import Scorer

    assert set(get_args(Scorer)) == {*SCORERS, "rubric"}  # which a judge gives
    assert scoring.SCORERS["grammar"]("I choose the old man over the route.", "") == 1
