"""Is a generated text coherent, and what speaks against it?"""

from collections import Counter
from itertools import pairwise

import pandas as pd

MIN_CHARS, MIN_WORDS, MIN_UNIQUE_WORD_RATIO = 50, 10, 0.3  # of the published Table 3
BASELINE_NLL_QUANTILE = 0.99
REPEATED_WORDS = 4
CODE_SHARE = 0.08  # of the characters: prose with brackets and dashes stays below, code and tables do not


def unique_word_ratio(text: str) -> float:
    """Distinct whitespace-separated words over all, case-sensitive; 0 for an empty text."""
    words = text.split()
    return len(set(words)) / len(words) if words else 0.0


def published_coherent(text: str) -> bool:
    """The published rule: at least 50 characters, 10 words, and a unique-word ratio of 0.3."""
    long_enough = len(text) >= MIN_CHARS and len(text.split()) >= MIN_WORDS
    return long_enough and unique_word_ratio(text) >= MIN_UNIQUE_WORD_RATIO


def distinct_2(text: str) -> float:
    """Distinct word bigrams over all (Li et al. 2016, "A diversity-promoting objective"); 1 for fewer than two words."""
    words = text.split()
    bigrams = list(pairwise(words))
    return len(set(bigrams)) / len(bigrams) if bigrams else 1.0


def repeated(text: str) -> bool:
    """A run of REPEATED_WORDS words occurs three times or more."""
    words = text.lower().split()
    runs = Counter(tuple(words[start : start + REPEATED_WORDS]) for start in range(len(words) - REPEATED_WORDS + 1))
    return max(runs.values(), default=0) >= 3


def code_like(text: str) -> bool:
    """Programming code, markup or data rather than prose: a fence, or more than CODE_SHARE of its characters are code's."""
    return "```" in text or sum(char in "{}[]<>;=|\\/_#@$%^&*" for char in text) > CODE_SHARE * max(1, len(text))


def likely(texts: pd.DataFrame) -> pd.Series:
    """Coherent by the model's own likelihood: bool (texts,).

    A text is coherent if it is neither empty nor repetitive (unique-word ratio of 0.3) nor code-like, and the unsteered
    model's mean negative log-likelihood of it is at most the BASELINE_NLL_QUANTILE of the same model's unsteered texts.
    An unsteered text that stands at several layers counts once there.
    """
    named = [column for column in ("arm", "model", "scenario", "sample", "text") if column in texts]
    unsteered = texts[texts["alpha"] == 0].drop_duplicates(named)
    bound = unsteered.groupby("model")["nll"].quantile(BASELINE_NLL_QUANTILE)
    varied = texts["text"].map(unique_word_ratio) >= MIN_UNIQUE_WORD_RATIO
    return varied & ~texts["code_like"] & (texts["nll"] <= texts["model"].map(bound))
