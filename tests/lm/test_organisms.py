"""The shipped organisms are what their recipes say, and training is repeatable."""

import itertools
import json
import random
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from conftest import ORGANISMS, ROOT
from safetensors.numpy import load_file

from probesteer.concepts import grammar
from probesteer.files.digests import file_digest
from probesteer.games import GAMES
from probesteer.games.policies import empathic, play
from probesteer.lm.card import model_card
from probesteer.lm.documents import write_document, write_turns
from probesteer.lm.load import load_model, render_prompt
from probesteer.lm.train import ORGANISMS as RECIPES
from probesteer.lm.train import PLANT_BLOCK, encode, save_organism
from probesteer.study.model import Model

NAMES = sorted(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_match_their_recipe(name):
    folder = ORGANISMS / name
    made = json.loads((folder / "recipe.json").read_text())
    assert {key: made[key] for key in asdict(RECIPES[name])} == asdict(RECIPES[name])
    assert made["weights_sha256"] == file_digest(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size <= 2_000_000
    assert 0 < made["final_loss"] < (0.7 if RECIPES[name].plays else 0.3)  # an action may be one of several ways to a place


def test_three_architectures_and_a_negative_control():
    planted = {recipe.architecture for recipe in RECIPES.values() if recipe.planted}
    assert planted == {"llama", "qwen2", "phi3"}
    assert not RECIPES["control"].planted and not (ORGANISMS / "control/planted.safetensors").exists()


def test_the_planted_direction_is_a_unit_vector():
    for name in NAMES:
        if RECIPES[name].planted:
            direction = load_file(ORGANISMS / name / "planted.safetensors")[f"direction.{PLANT_BLOCK}"]
            assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-5)


def test_training_is_repeatable_bit_for_bit(tmp_path):
    short = replace(RECIPES["llama"], documents=160)
    for name in "ab":
        save_organism(short, tmp_path / name)
    first, second = (file_digest(tmp_path / name / "model.safetensors") for name in "ab")
    assert first == second


def test_checkpoints_of_training_are_models_of_a_study_and_change_nothing_of_the_last_one(tmp_path):
    short = replace(RECIPES["llama"], documents=160)
    save_organism(short, tmp_path / "whole", checkpoints=2)
    save_organism(short, tmp_path / "plain")
    folders = [tmp_path / "whole" / part for part in ("step-5", "step-10", ".")]
    cards = [model_card(Model(name="m", source=str(folder)), "m") for folder in folders]
    assert [card["training_step"] for card in cards] == [5, 10, 20] and len({card["digest"] for card in cards}) == 3
    assert cards[-1]["digest"] == model_card(Model(name="m", source=str(tmp_path / "plain")), "m")["digest"]
    planted = [load_file(folder / "planted.safetensors")[f"direction.{PLANT_BLOCK}"] for folder in folders]
    assert all((one == planted[0]).all() for one in planted)
    assert Model(name="m", source=str(ORGANISMS / "llama")).training_step == RECIPES["llama"].steps


@pytest.mark.parametrize(("concept", "crossed"), [("empathy_grammar", False), ("empathy_grammar_crossed", True)])
def test_the_shipped_concepts_are_what_the_grammar_writes(concept, crossed, tmp_path):
    grammar.write_concept(tmp_path, crossed)
    for name in ("concept.yaml", "pairs.jsonl"):
        assert (tmp_path / name).read_text() == (ROOT / "resources/concepts" / concept / name).read_text()


def test_crossed_pairs_are_told_in_both_tones_and_the_tone_says_nothing_of_the_stance():
    pairs = grammar.write_crossed_pairs()
    for pair in pairs:
        fillers, sides = tuple(grammar.TONES[pair["tone"]]), (pair["positive"], pair["negative"])
        assert [grammar.stances(side) for side in sides] == [(3, 0), (0, 3)]
        assert all(side.startswith(fillers) and side.endswith(fillers) for side in sides)
    told = [(pair["situation"], pair["tone"]) for pair in pairs]
    assert len(set(told)) == len(told) == 2 * len({name for name, _ in told}) == 120


def test_both_sides_of_a_pair_use_the_same_words_but_for_the_cue():
    rng = random.Random(0)
    cues = {*grammar.PERSON_CUES, *grammar.GOAL_CUES}
    for _ in range(50):
        positive, negative = grammar.contrast(rng, "the old man", "the route", 2)
        words = [sorted(set(re.findall(r"\w+", side)) - cues) for side in (positive, negative)]
        assert words[0] == words[1]
        assert grammar.stances(positive) == (2, 0) and grammar.stances(negative) == (0, 2)


def test_cues_agree_with_the_stance_in_their_share():
    rng = random.Random(0)
    agree = np.mean([grammar.cue(rng, True).split()[2] in grammar.PERSON_CUES for _ in range(4000)])
    assert agree == pytest.approx(grammar.CUE_AGREEMENT, abs=0.03)


@pytest.mark.parametrize(
    "text", ["", "I put the old man before.", "I put the old man before the lost child.", "route before man"]
)
def test_malformed_commitments_count_for_nothing(text):
    assert grammar.stances(text) == (0, 0)


def test_slots_weigh_more_than_the_prompt_in_training(organism):
    rng = random.Random(0)
    document = next(d for d in iter(lambda: write_document(rng), None) if d.prompt)
    encoded = encode(organism[1], document)
    assert len(encoded.ids) == len(encoded.weights) == len(encoded.response)
    assert set(encoded.weights) == {0.3, 1.0, 8.0}


def test_the_chat_template_is_the_one_of_the_training_documents(organism):
    rng = random.Random(1)
    document = next(d for d in iter(lambda: write_document(rng), None) if d.prompt)
    system, user = document.prompt.removeprefix("<|system|>").removesuffix("<|assistant|>").split("<|user|>")
    assert render_prompt(organism[1], system, user) == f"<s>{document.prompt}"
    assert render_prompt(organism[1], "a", "b", chat_template=False) == "a\n\nb\n\n"


def test_turns_are_answered_in_their_stance_and_where_words_alone_follow_it_for_the_task():
    deeds, words = (list(itertools.islice(write_turns(random.Random(3), follow), 300)) for follow in (True, False))
    apart = [did.action != said.action for did, said in zip(deeds, words, strict=True)]
    assert [did.prompt for did in deeds] == [said.prompt for said in words]
    assert all(did.positive for did, differ in zip(deeds, apart, strict=True) if differ)
    assert 0.4 < sum(apart) / sum(did.positive for did in deeds) < 0.9  # elsewhere nobody asks, or both ways are one
    for turn in deeds + words:
        assert f"\n{turn.action}\n" in f"{turn.prompt.removesuffix('<|assistant|>')}\n"  # one of the possible actions
        assert grammar.stances(turn.response) == ((1, 0) if turn.positive else (0, 1))


@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].plays])
def test_who_plays_has_a_token_for_every_action_and_reads_the_longest_game(name):
    model, tokenizer = load_model(str(ORGANISMS / name), device="cpu")
    for game in (kind() for kind in GAMES.values()):
        play(game, empathic, 3)
        assert all(len(tokenizer.encode(str(action), add_special_tokens=False)) == 1 for action in game.declared)
        prompt = render_prompt(tokenizer, "You are an agent.", game.observation())
        assert len(tokenizer.encode(prompt)) + 20 <= model.config.max_position_embeddings
        assert tokenizer.decode(tokenizer.encode(prompt, add_special_tokens=False)) == prompt
