"""Crossed factors: what is read in both tones passes, what is only the tone fails, where the truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factors import FACTORS, KINDS, TRUE, crossed_pairs, found, status

from probesteer.concepts import grammar
from probesteer.concepts.card import cluster_names
from probesteer.concepts.pairs import Pair
from probesteer.detection.activations import LayerActivations, cache_rows
from probesteer.detection.crossed import crossed, levels_of, true_cosine
from probesteer.detection.design import Design
from probesteer.detection.robustness import held_out_auroc
from probesteer.errors import InputError
from probesteer.lm.capture import pooled_activations
from probesteer.lm.load import load_model
from probesteer.stats import auroc_interval


def layer(kind: str, situations: int = 60, hidden: int = 64, seed: int = 0) -> LayerActivations:
    return crossed_pairs(kind, situations, hidden, np.random.default_rng(seed))


def metrics(cache: LayerActivations) -> dict[tuple[str, str], float]:
    return {(row["metric"], row["of"]): row["estimate"] for row in crossed(cache, FACTORS)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_finds_what_is_only_the_tone_and_passes_what_is_not(kind):
    said = [status(seed, kind, 48, 64) for seed in range(10)]
    if kind in TRUE:
        assert "FAIL" not in said
        assert (said.count("PASS") >= 9) == (kind != "the behaviour, half of which is the tone")
    else:
        expected = "WARN" if kind == "tones that are not told apart" else "FAIL"
        assert said.count(expected) >= 9


def test_the_directions_are_fitted_in_one_level_and_scored_in_the_other_with_whole_situations():
    cache = layer("in one tone only")
    design, warm = cache.design, cache.factors["tone"] == "warm"
    rows = pd.DataFrame(list(crossed(cache, FACTORS))).set_index(["metric", "of"])
    fit = design.train & ~warm
    direction = cache.activations[fit & design.labels].mean(0) - cache.activations[fit & ~design.labels].mean(0)
    out = design.test & warm
    expected = auroc_interval(cache.activations[out] @ direction, design.labels[out], design.groups[out])
    assert rows.loc[("across_level_auroc", "tone: warm")].tolist() == pytest.approx(expected, abs=1e-6)
    assert rows.loc[("within_level_auroc", "tone: warm"), "estimate"] > 0.95
    assert rows.loc[("within_level_auroc", "tone: plain"), "estimate"] < 0.7
    assert rows.loc[("level_drop", "tone: warm"), "lower"] > 0


def test_what_the_tone_adds_to_all_of_its_texts_counts_for_nothing_across_levels():
    cache = layer("the behaviour in both tones")
    moved = np.where((cache.factors["tone"] == "warm")[:, None], cache.activations + 100 * np.eye(64)[0], cache.activations)
    for level in FACTORS["tone"]:
        key = "across_level_auroc", f"tone: {level}"
        assert metrics(replace(cache, activations=moved))[key] == pytest.approx(metrics(cache)[key], abs=1e-3)


def test_the_factors_direction_points_to_its_first_level_and_is_measured_on_both_questions():
    both, sign = metrics(layer("the behaviour in both tones")), metrics(layer("the behaviour, half of which is the tone"))
    for found_ in (both, sign):
        assert found_["factor_auroc", "tone"] > 0.95
    assert abs(both["factor_tells_auroc", "tone"] - 0.5) < 0.15 and sign["factor_tells_auroc", "tone"] > 0.7
    assert abs(both["cos_factor", "tone"]) < 0.15 and sign["cos_factor", "tone"] == pytest.approx(0.71, abs=0.1)
    turned = crossed(layer("the behaviour, half of which is the tone"), {"tone": FACTORS["tone"][::-1]})
    (cosine,) = (row["estimate"] for row in turned if row["metric"] == "cos_factor")
    assert cosine == pytest.approx(-sign["cos_factor", "tone"])


@pytest.mark.parametrize(("kind", "truth"), [("the behaviour in both tones", 0.0), ("more of the tone on one side", 1.0)])
def test_the_cosine_is_that_of_the_true_directions_however_many_dimensions_of_noise_there_are(kind, truth):
    for hidden in (64, 512):
        caches = [layer(kind, 48, hidden, seed) for seed in range(15)]
        cosines = [true_cosine(cache.activations, cache.design, cache.factors["tone"] == "warm") for cache in caches]
        assert np.mean([one.estimate for one in cosines]) == pytest.approx(truth, abs=0.05)
        assert np.mean([one.lower <= truth <= one.upper for one in cosines]) >= 0.85


def test_a_cosine_without_a_difference_is_unknown():
    cache = layer("the behaviour in both tones", situations=8)
    same = cache.activations - cache.activations
    assert np.isnan(true_cosine(same, cache.design, cache.factors["tone"] == "warm").estimate)


def test_a_text_of_the_behaviour_that_is_only_more_of_the_tone_is_read_across_levels_and_fails_all_the_same():
    """The confound that crossing alone cannot see: within each tone the sides differ in the tone."""
    cache = layer("more of the tone on one side")
    read = metrics(cache)
    assert min(read["across_level_auroc", f"tone: {level}"] for level in FACTORS["tone"]) > 0.95
    assert read["without_factor_auroc", "tone"] < 0.8 and found(cache)[0] == "FAIL"


def test_levels_that_cannot_be_compared_are_one_line():
    cache = layer("the behaviour in both tones", situations=8)
    assert levels_of(cache, {}) == {"tone": ["plain", "warm"]} and levels_of(cache, FACTORS) == FACTORS
    with pytest.raises(InputError, match="factor tone of the activations has the levels plain, warm; two are expected, with"):
        levels_of(replace(cache, factors={"tone": np.where(cache.design.train, "warm", "plain")}), {})
    with pytest.raises(InputError, match="has the levels warm; two are expected"):
        levels_of(replace(cache, factors={"tone": np.full(32, "warm")}), {})


# ---- organisms: what is planted is known ----------------------------------------------------------------------------------

PAIRS = [
    Pair(**{key: value for key, value in row.items() if key != "tone"}, factors={"tone": row["tone"]})
    for row in grammar.write_crossed_pairs()
]
TONES = {"tone": [*grammar.TONES]}


def organism_layer(name: str) -> LayerActivations:
    """The organism's block in which a stance is planted, or would be, on the grammar's crossed pairs."""
    rows = cache_rows(PAIRS, cluster_names(PAIRS), [], 0)
    model, tokenizer = load_model(f"resources/organisms/{name}", device="cpu")
    read = pooled_activations(model, tokenizer, [row.text for row in rows], layers=[3])[:, 0]
    columns = [[row.positive, row.cluster, row.pair.split == "train", row.pair.scenario] for row in rows]
    design = Design(*(np.array(column) for column in zip(*columns, strict=True)))
    return LayerActivations(
        read, design, np.ones(len(rows)), {}, {"tone": np.array([r.pair.factors["tone"] for r in rows])}, [], {}
    )


def test_no_situation_of_the_crossed_pairs_is_a_near_duplicate_of_another():
    assert cluster_names(PAIRS) == [PAIRS[number - number % 2].id for number in range(120)]


@pytest.fixture(scope="module", params=["llama", "qwen2", "control"])
def organism_read(request: pytest.FixtureRequest) -> tuple[str, LayerActivations]:
    return request.param, organism_layer(request.param)


def test_the_planted_organisms_pass_and_one_that_reads_the_tone_alone_fails(organism_read):
    name, cache = organism_read
    status_, evidence = found(cache, TONES)
    assert status_ == ("FAIL" if name == "control" else "PASS"), evidence
    read = {(row["metric"], row["of"]): row["estimate"] for row in crossed(cache, TONES)}
    across = np.mean([read["across_level_auroc", f"tone: {level}"] for level in grammar.TONES])
    assert read["factor_auroc", "tone"] > 0.85, "the tone is readable in each of them"
    assert across < 0.75 if name == "control" else across == 1


def test_pairs_that_are_not_crossed_find_a_behaviour_in_the_organism_that_reads_the_tone(organism_read):
    """A person first in one tone, a goal first in the other, as in published pairs: this looks like a finding in any model."""
    name, cache = organism_read
    agree = cache.design.labels == (cache.factors["tone"] == "felt")
    assert held_out_auroc(cache.activations[agree], cache.design.among(agree)).lower > 0.75, name
