"""Is a generated text coherent, and what speaks against it?

Every text is compared with unsteered texts of the same model in the same scenario, in six measures: how surprising its tokens
are and how much that varies, by the unsteered model, how much likelier it is elsewhere than where it was asked for, how much of
it repeats, is a list, or is code. Both sides count of the first two: text that loops is likelier than text that is written.
The weighted sum of what exceeds is its incoherence; its bound is calibrated on unsteered texts that are not judged.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from probesteer.study.cells import BASELINE_ARM, CALIBRATION_ARM

MIN_CHARS, MIN_WORDS, MIN_UNIQUE_WORD_RATIO = 50, 10, 0.3  # of the published Table 3
REPEATED_WORDS, REPEATED_RUN = 4, 3
CODE_SHARE = 0.08  # of the characters: prose with brackets and dashes stays below, code and tables do not
CODE_CHARACTERS = "{}[]<>;=|\\/_#@$%^&*"
NUMBER, MARKER = re.compile(r"\W*\d[\d.,:/-]*\W*"), re.compile(r"\s*(?:\d+\s*[.):]|[-*+•–])(?:\s|$)")
FALSE_ALARMS = 0.05  # nominal share of unsteered texts that are called incoherent
LEAST_UNSTEERED = 20  # with fewer, no text is rarer than 5 % of them
# Per measure: its weight, of which the one that is not 1 is fitted by benchmarks/coherence.py (docs/calibration.md), and the
# least spread that it is measured in, since the unsteered texts of a scenario may not vary at all: nats per token, or shares.
WEIGHTS = {"surprisal": 1.0, "spread": 1.0, "off_topic": 5.0, "repetition": 1.0, "listed": 1.0, "code": 1.0}
FLOORS = {"surprisal": 0.05, "spread": 0.05, "off_topic": 0.1, "repetition": 0.03, "listed": 0.05, "code": 0.01}
TWO_SIDED = ("surprisal", "spread")


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


def runs(text: str, length: int) -> Counter[tuple[str, ...]]:
    """How often each run of so many words occurs."""
    words = text.lower().split()
    return Counter(tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def repeated(text: str) -> bool:
    """A run of REPEATED_WORDS words occurs three times or more."""
    return max(runs(text, REPEATED_WORDS).values(), default=0) >= 3


def code_like(text: str) -> bool:
    """Programming code, markup or data rather than prose: a fence, or more than CODE_SHARE of its characters are code's."""
    return "```" in text or code(text) > CODE_SHARE


def repetition(text: str) -> float:
    """Share of the runs of REPEATED_RUN words that have occurred before."""
    found = runs(text, REPEATED_RUN)
    return 1 - len(found) / found.total() if found else 0.0


def listed(text: str) -> float:
    """Share of the words that are numbers, or of the lines that begin as a list's do, whichever is larger."""
    words, lines = text.split(), [line for line in text.splitlines() if line.strip()]
    if not words:
        return 0.0
    numbers = sum(bool(NUMBER.fullmatch(word)) for word in words) / len(words)
    return max(numbers, sum(bool(MARKER.match(line)) for line in lines) / len(lines))


def code(text: str) -> float:
    """Share of the characters that prose has no use for."""
    return sum(char in CODE_CHARACTERS for char in text) / max(1, len(text))


OF_TEXT: dict[str, Callable[[str], float]] = {"repetition": repetition, "listed": listed, "code": code}
LIKELIHOODS = ("nll", "nll_std", "nll_elsewhere")  # columns of cells; an imported table may lack them


def measures(texts: pd.DataFrame) -> pd.DataFrame:
    """Of each text the measures that the table allows, one column each, in the order of WEIGHTS.

    `surprisal` and `spread` need the columns nll and nll_std, `off_topic` nll and nll_elsewhere; a measure without any value
    is left out. An empty text has no surprisal.
    """
    nll, spread, elsewhere = (texts.get(name, pd.Series(np.nan, texts.index)).astype(float) for name in LIKELIHOODS)
    found = {"surprisal": nll, "spread": spread, "off_topic": nll - elsewhere}
    found |= {name: texts["text"].map(of).astype(float) for name, of in OF_TEXT.items()}
    return pd.DataFrame({name: found[name] for name in WEIGHTS if found[name].notna().any()})


def how_judged(texts: pd.DataFrame, judged: pd.DataFrame) -> str:
    """What is to be known of the coherence of these texts: what could not be measured; nothing where all could."""
    if few := int(judged["incoherence"].isna().sum()):
        return f"coherence of {few} texts by the published rule: fewer than {LEAST_UNSTEERED} unsteered texts of their model"
    if left_out := [name for name in WEIGHTS if name not in measures(texts)]:
        lacking = [name for name in LIKELIHOODS if name not in texts]
        return f"coherence without {', '.join(left_out)}: no column {', '.join(lacking)}" if lacking else ""
    return ""


def location(unsteered: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where unsteered texts (texts, measures) lie, and how far they spread, at least FLOORS: (measures,) each.

    Median and median absolute deviation, in units of a normal's standard deviation, of what a model's likelihoods say, since a
    single odd text would hide others; mean and standard deviation of the shares, most of which are zero.
    """
    middle = np.median(unsteered, 0)
    robust = 1.4826 * np.median(np.abs(unsteered - middle), 0)
    share = np.isin(names, list(OF_TEXT))
    spread = np.where(share, unsteered.std(0), robust)
    return np.where(share, unsteered.mean(0), middle), np.maximum(spread, [FLOORS[name] for name in names])


def exceedances(own: np.ndarray, unsteered: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """What each text exceeds the unsteered ones by in each measure, in their spreads: (texts, measures)."""
    middle, spread = location(unsteered, names)
    exceeds = (own - middle) / spread
    return np.where(np.isin(names, TWO_SIDED), np.abs(exceeds), np.maximum(exceeds, 0))


def incoherence(own: np.ndarray, unsteered: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The weighted sum of the exceedances, (texts,); a text without a surprisal is infinitely incoherent."""
    weights = np.array([WEIGHTS[name] for name in names])
    return np.nan_to_num(exceedances(own, unsteered, names) @ weights, nan=np.inf, posinf=np.inf)


def calibrating(texts: pd.DataFrame) -> np.ndarray:
    """The unsteered texts that bounds are taken from, bool (texts,): the calibration arm, or where there is none the baseline.

    An empty text is none; one that stands at several layers is there as often.
    """
    arms = texts["arm"] if "arm" in texts else pd.Series(BASELINE_ARM, texts.index)
    own = arms == CALIBRATION_ARM
    unsteered = own if own.any() else (arms == BASELINE_ARM) & (texts["alpha"] == 0)
    return (unsteered & (texts["text"].str.strip() != "")).to_numpy(copy=True)


def judge_coherence(texts: pd.DataFrame) -> pd.DataFrame:
    """Per text, in order: `incoherence`, and `coherent`.

    A text is incoherent if it is empty, or if at most FALSE_ALARMS of the unsteered texts of its model and scenario are as
    incoherent: p = (1 + number of these) / (1 + number of all), a rank among exchangeable texts, so that FALSE_ALARMS holds on
    average whatever they are like (conformal prediction, Vovk et al. 2005). An unsteered text that the bound is taken from is
    compared with the others. A scenario with fewer than LEAST_UNSTEERED of them takes those of all scenarios of the model; a
    model with fewer is judged by the published rule, and its incoherence is missing.
    """
    everywhere, number = calibrating(texts), np.arange(len(texts))
    same = texts[["model", "scenario", "sample", "text"]].reset_index(drop=True)[everywhere]
    bounding = everywhere.copy()
    bounding[everywhere] = ~same.duplicated().to_numpy()  # an unsteered text counts once, at however many layers it stands
    judged = pd.DataFrame({"incoherence": np.nan, "coherent": texts["text"].map(published_coherent).to_numpy(bool)})
    for _model, rows in texts.assign(number=number).groupby("model", sort=False):
        found = measures(rows).set_axis(rows["number"])
        unsteered = found[bounding[rows["number"]]].dropna()
        if len(unsteered) < LEAST_UNSTEERED:
            continue
        for _scenario, at in rows.groupby("scenario", sort=False)["number"]:
            own = found.loc[at]
            there = unsteered[unsteered.index.isin(at)]
            score, p = _ranked(own, there if len(there) >= LEAST_UNSTEERED else unsteered)
            judged.loc[at, "incoherence"], judged.loc[at, "coherent"] = score, p > FALSE_ALARMS
    first = judged[everywhere].groupby(same.apply(tuple, axis=1)).transform("first") if everywhere.any() else judged.head(0)
    judged.loc[first.index] = first
    judged["coherent"] &= (texts["text"].str.strip() != "").to_numpy()
    return judged.set_axis(texts.index)


def _ranked(own: pd.DataFrame, unsteered: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Incoherence of the own texts, and the share of the unsteered ones (texts, measures) that are as incoherent: (texts,)."""
    names, values = list(own), unsteered.to_numpy()
    # each unsteered text is measured by the others, as a new text is by all
    left_out = [incoherence(row[None], np.delete(values, at, 0), names)[0] for at, row in enumerate(values)]
    bounds = pd.Series(left_out, unsteered.index)
    scores = pd.Series(incoherence(own.to_numpy(), values, names), own.index)
    inside = own.index.isin(bounds.index)
    scores[inside] = bounds[own.index[inside]]
    as_incoherent = (bounds.to_numpy() >= scores.to_numpy()[:, None]).sum(1)
    return scores.to_numpy(), (as_incoherent + ~inside) / (len(values) + ~inside)
