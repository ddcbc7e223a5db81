"""The shipped crossed pairs: no surface tells what is done, and every reader sees in which tone it is told."""

import re
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest
from conftest import ROOT, shipped_pairs
from sklearn.model_selection import GroupKFold

from probesteer.concepts.duplicates import near_duplicate_clusters
from probesteer.concepts.words import load_words
from probesteer.detection.surface import BASELINES, features
from probesteer.stats import auroc

CONCEPT = ROOT / "resources/concepts/empathy_in_action"
WORDS = load_words(CONCEPT / "ablation_words.txt")
TONES = ("warm", "plain")
PRONOUNS = re.findall(r"\w+", "i me my mine we us our you your he him his she her it its they them their nobody somebody")


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def words_per_character(texts: list[str]) -> np.ndarray:
    return np.array([[len(text.split()) / len(text)] for text in texts])


def pronouns(texts: list[str]) -> np.ndarray:
    return np.array([[words(text).count(pronoun) for pronoun in PRONOUNS] for text in texts], dtype=float)


SURFACE = BASELINES | {"words per character": features(words_per_character), "pronouns": features(pronouns)}


@pytest.fixture(scope="module")
def pairs():
    return shipped_pairs("empathy_in_action")


@pytest.fixture(scope="module")
def told(pairs):
    """Of each text: the text, whether a person comes first, whether it is warm, its situation, whether it is for training."""
    sides = [(pair, side) for pair in pairs for side in ("positive", "negative")]
    columns = zip(
        *[
            (getattr(pair, side), side == "positive", pair.factors["tone"] == "warm", pair.situation, pair.split == "train")
            for pair, side in sides
        ],
        strict=True,
    )
    return [np.array(column) for column in columns]


def test_fifty_situations_are_told_four_times_half_of_them_by_who_acts_and_three_in_ten_held_out(pairs):
    told = defaultdict(list)
    for pair in pairs:
        told[pair.situation, pair.scenario, pair.split, pair.voice].append(pair.factors["tone"])
    assert len(told) == len({situation for situation, *_ in told}) == 50 and all(tones == [*TONES] for tones in told.values())
    held_out = Counter(scenario for _situation, scenario, split, _voice in told if split == "test")
    voices = Counter((scenario, voice) for _situation, scenario, _split, voice in told)
    assert len(held_out) == 5 and set(held_out.values()) == {3}
    assert len(voices) == 10 and set(voices.values()) == {5}
    assert all(pair.generator is None for pair in pairs)


def test_texts_have_60_to_110_words_in_one_format_and_sides_match_in_length(pairs):
    for pair in pairs:
        sides = (pair.positive, pair.negative)
        for measure in (lambda text: len(text.split()), len):
            shorter, longer = sorted(map(measure, sides))
            assert longer <= 1.15 * shorter, pair.id
        for side in sides:
            assert 60 <= len(side.split()) <= 110, pair.id
            assert not re.search(r"[*_#`\n\t<>\[\]{}|\"]", side), pair.id
            assert side == side.strip() and side[-1] == "." and side.isascii(), pair.id
    longer_positive = sum(len(pair.positive) > len(pair.negative) for pair in pairs)
    assert 0.4 * len(pairs) < longer_positive < 0.6 * len(pairs)


def test_no_sentence_occurs_twice_and_no_two_texts_are_near_duplicates(told):
    texts, _deed, _warm, situations, _train = told
    sentences = Counter(sentence.lower() for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text))
    assert [sentence for sentence, count in sentences.items() if count > 1] == []
    assert len(set(near_duplicate_clusters([(text,) for text in texts]))) == len(texts)
    grams = [{tuple(words(text)[i : i + 5]) for i in range(len(words(text)) - 4)} for text in texts]
    shared = {
        (first, second): len(grams[first] & grams[second]) / min(len(grams[first]), len(grams[second]))
        for first, second in combinations(range(len(texts)), 2)
    }
    assert max(shared.values()) < 0.15
    assert max(share for (first, second), share in shared.items() if situations[first] != situations[second]) < 0.05


def test_the_ablation_words_occur_in_the_pairs(told):
    used = {word for text in told[0] for word in words(text)}
    assert sorted(set(WORDS)) == WORDS and len(WORDS) >= 41  # the published list had 41
    assert [word for word in WORDS if word not in used] == []


@pytest.mark.parametrize("name", SURFACE)
def test_no_surface_tells_the_deed_in_held_out_situations_of_either_tone(name, told):
    texts, deed, warm, _situations, train = told
    for tone in (warm, ~warm):
        for fit, out in ((train, ~train & tone), (train & tone, ~train & tone)):
            scores = SURFACE[name](list(texts[fit]), deed[fit], list(texts[out]), WORDS)
            assert 0.3 <= auroc(scores, deed[out]) <= 0.7


@pytest.mark.parametrize("name", SURFACE)
def test_no_surface_tells_the_deed_in_cross_validation_over_situations(name, told):
    texts, deed, warm, situations, _train = told
    found = {tone: [] for tone in (True, False)}
    for seed in range(3):
        for fit, rest in GroupKFold(5, shuffle=True, random_state=seed).split(texts, groups=situations):
            for tone in found:
                out = rest[warm[rest] == tone]
                scores = SURFACE[name](list(texts[fit]), deed[fit], list(texts[out]), WORDS)
                found[tone].append(auroc(scores, deed[out]))
    assert all(0.35 <= np.mean(values) <= 0.65 for values in found.values())


@pytest.mark.parametrize(
    ("name", "least"), [("TF-IDF of words", 0.95), ("TF-IDF of characters", 0.95), ("function words", 0.8), ("length", 0.8)]
)
def test_the_surface_tells_the_tone_in_held_out_situations(name, least, told):
    texts, _deed, warm, _situations, train = told
    scores = SURFACE[name](list(texts[train]), warm[train], list(texts[~train]), WORDS)
    assert auroc(scores, warm[~train]) >= least
