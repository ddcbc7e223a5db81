"""What is coherent: measured against unsteered texts of the same model and scenario that are not judged."""

import random

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from probesteer.behaviour.coherence import judge_coherence, listed, repetition
from probesteer.behaviour.scoring import score
from probesteer.cli import main
from probesteer.concepts import grammar
from probesteer.lm.generate import generate
from probesteer.lm.likelihood import surprisal
from probesteer.lm.load import render_prompt
from probesteer.lm.request import Request

PROSE = "I look up and see the old man by the door, and I walk over to ask him what the matter is with the lamp."


def measured(
    count: int, arm: str, scenario: str, rng: np.random.Generator, nll: float = 2.0, spread: float = 0.3
) -> pd.DataFrame:
    """Texts whose surprisal varies by `spread` about `nll`, half a nat likelier at home than elsewhere."""
    own = rng.normal(nll, spread, count)
    columns = {"nll": own, "nll_std": rng.normal(2.5, 0.1, count), "nll_elsewhere": own + rng.normal(0.5, 0.1, count)}
    axes = {"arm": arm, "model": "m", "layer": 3, "scenario": scenario, "alpha": 0.0, "sample": range(count), "text": PROSE}
    return pd.DataFrame({**axes, **columns})


def test_numbers_and_lists_are_not_prose():
    assert listed("1. 1. 2. 3. 4. 5. 6. quantifying 3.") == 1
    assert listed("- a lamp\n- a map\n* a rope") == 1
    assert listed("12 7 44 and 9") == pytest.approx(0.8)
    assert listed(PROSE) == listed("") == 0


def test_repetition_is_the_share_of_word_runs_that_came_before():
    assert repetition("I'll just be okay. " * 40) == pytest.approx(1 - 4 / 158)
    assert repetition(PROSE) == repetition("") == repetition("one two") == 0


def test_at_most_one_new_unsteered_text_in_twenty_is_called_incoherent_in_plain_and_wordy_scenarios_alike():
    rng = np.random.default_rng(0)
    shares = {"plain": [], "wordy": []}
    for _ in range(30):
        parts = []
        for scenario, spread in (("plain", 0.05), ("wordy", 1.5)):
            parts += [measured(40, "calibration", scenario, rng, spread=spread)]
            parts += [measured(50, "baseline", scenario, rng, spread=spread)]
        texts = pd.concat(parts, ignore_index=True)
        coherent = judge_coherence(texts)["coherent"]
        for scenario, share in shares.items():
            share.append(1 - coherent[(texts["arm"] == "baseline") & (texts["scenario"] == scenario)].mean())
    for share in shares.values():
        assert 0.02 <= np.mean(share) <= 0.05


@pytest.mark.parametrize(
    "broken",
    [
        {"nll": 5.0},
        {"nll": 0.05, "nll_elsewhere": 0.55},  # a loop is likelier than what is written
        {"nll_std": 0.2},
        {"nll_elsewhere": 1.5},  # the answer to another prompt
        {"text": "1. 1. 2. 3. 4. 5. 6. quantifying 3."},
        {"text": "I'll just be okay. " * 40},
        {"text": "for (i = 0; i < n; i++) { x[i] = y[i] * z; }"},
        {"text": "  "},
        {"nll": np.nan},
    ],
)
def test_each_measure_finds_its_own_breakage(broken):
    rng = np.random.default_rng(1)
    steered = measured(2, "probe", "s", rng).assign(alpha=4.0, nll=2.0, nll_std=2.5, nll_elsewhere=2.5)
    for name, value in broken.items():
        steered.loc[1, name] = value
    texts = pd.concat([measured(40, "calibration", "s", rng, spread=0.1), steered], ignore_index=True)
    scored = score(texts, "published")
    assert scored["coherent"].tolist() == [True, False]
    assert len(scored) == 2 and set(scored["arm"]) == {"probe"}, "texts that bound coherence are not scored"


def test_without_calibration_texts_each_baseline_text_is_compared_with_the_others():
    rng = np.random.default_rng(2)
    coherent = judge_coherence(measured(40, "baseline", "s", rng))["coherent"]
    assert coherent.sum() == 38  # the two largest of forty


def test_a_small_scenario_takes_the_bound_of_the_model_and_a_small_model_the_published_rule():
    rng = np.random.default_rng(3)
    texts = pd.concat([measured(8, "baseline", name, rng) for name in "abc"], ignore_index=True)
    texts.loc[0, "nll"] = 9.0
    judged = judge_coherence(texts)
    assert judged["coherent"].tolist() == [False] + [True] * 23
    few = judge_coherence(texts[:8])
    assert few["coherent"].all() and few["incoherence"].isna().all()


def test_imported_texts_without_likelihoods_are_judged_by_what_they_say():
    rng = np.random.default_rng(4)
    texts = measured(30, "baseline", "s", rng).drop(columns=["nll", "nll_std", "nll_elsewhere", "arm"])
    texts["text"] = [f"{PROSE} {number}" for number in range(30)]
    loop = texts[:1].assign(alpha=4.0, text="I'll just be okay. " * 40)
    assert judge_coherence(pd.concat([texts, loop]))["coherent"].tolist() == [True] * 30 + [False]


def test_kinds_of_breakage_that_nothing_was_fitted_on_are_found_in_an_organism(organism):
    model, tokenizer = organism
    rng = random.Random(0)
    scenes = [grammar.SCENES[name] for name in ("the_maze", "the_duel")]
    users = [grammar.situation(scene, scene.persons[0], scene.goals[0]) for scene in scenes]
    prompts = [render_prompt(tokenizer, grammar.SYSTEM_PROMPTS["neutral"][0], user) for user in users]
    asked = [Request(prompts[0], seed_key=(sample,)) for sample in range(60)]
    own = generate(model, tokenizer, asked, 40, 0.7)
    swap = {text: " ".join(word[::-1] for word in text.split()) for text in own}
    kinds = {
        "unsteered": own[40:],
        "letters": [swap[text] for text in own[40:]],
        "stutter": [" ".join(f"{word} {word}" for word in text.split()) for text in own[40:]],
        "salad": [" ".join(rng.choice(" ".join(own).split()) for _ in text.split()) for text in own[40:]],
    }
    texts = pd.DataFrame([("calibration", text) for text in own[:40]], columns=["arm", "text"])
    texts = pd.concat([texts, *(pd.DataFrame({"arm": kind, "text": rows}) for kind, rows in kinds.items())], ignore_index=True)
    tokens = tokenizer(texts["text"].tolist(), add_special_tokens=False)["input_ids"]
    here, there = (surprisal(model, tokenizer, [prompt] * len(tokens), tokens) for prompt in prompts)
    texts = texts.assign(nll=here.mean, nll_std=here.spread, nll_elsewhere=there.mean)
    texts = texts.assign(model="m", layer=3, scenario="the_maze", alpha=1.0, sample=range(len(texts)))
    found = texts.join(judge_coherence(texts)).set_index("arm")
    for kind in ("letters", "stutter", "salad"):
        both = found.loc[["unsteered", kind]]
        assert roc_auc_score(both.index == kind, both["incoherence"]) >= 0.95
    assert found.loc["unsteered", "coherent"].mean() >= 0.8


def test_an_unsteered_text_is_judged_alike_at_every_layer():
    texts = measured(40, "baseline", "s", np.random.default_rng(5))
    layers = pd.concat([texts.assign(layer=layer) for layer in range(3)], ignore_index=True)
    judged = judge_coherence(layers)["coherent"].to_numpy().reshape(3, 40)
    assert (judged == judge_coherence(texts)["coherent"].to_numpy()).all()


def test_what_could_not_be_measured_is_said(tmp_path, capsys):
    texts = measured(30, "baseline", "s", np.random.default_rng(6)).drop(columns=["nll_std", "nll_elsewhere"])
    steered = texts.assign(alpha=1.0, arm="probe")
    for table, says in (
        (pd.concat([texts, steered]), "coherence without spread, off_topic: no column nll_std, nll_elsewhere"),
        (steered, "coherence of 30 texts by the published rule: fewer than 20 unsteered texts of their model"),
    ):
        table.to_parquet(tmp_path / "texts.parquet")
        arguments = [str(tmp_path / "texts.parquet"), "--scorer", "published", "--output", str(tmp_path / "scores.parquet")]
        assert main(["score", *arguments]) == 0
        assert says in capsys.readouterr().out
