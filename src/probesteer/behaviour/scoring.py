"""Does a generated text show the behaviour? Rows of texts in, rows of scores out."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from probesteer.behaviour.coherence import code_like, distinct_2, judge_coherence, published_coherent, repeated
from probesteer.concepts import grammar
from probesteer.concepts.concept import Concept
from probesteer.concepts.words import word_pattern
from probesteer.errors import InputError
from probesteer.files.tables import read_fingerprint, read_table, write_table
from probesteer.study.cells import CALIBRATION_ARM
from probesteer.study.experiment import Study
from probesteer.study.model import Model


class Words(NamedTuple):
    """What gives a text away: words of the behaviour, and of its opposite."""

    positive: Sequence[str]
    negative: Sequence[str]


NUMERICS = 3  # bump by hand when the same texts get other scores
# The word lists and the substring matching of the published Table 3, kept exactly for replication.
PUBLISHED_WORDS = Words(
    ["help", "support", "concern", "care", "worry", "feel", "understand", "sorry", "comfort", "listen", "reach out"],
    ["objective", "task", "goal", "win", "complete", "achieve", "strategy", "efficient", "optimal", "proceed"],
)
# What a negation denies, to the end of its clause, is no evidence (Pang, Lee and Vaithyanathan 2002, "Thumbs up?").
NEGATION = re.compile(
    r"(?<!\w)(?:not(?! (?:only|just|merely)\b)|no|never|nor|neither|none|nobody|nothing|nowhere|cannot|without|hardly|"
    r"(?:do|does|did|wo|ca|sha|could|should|would|must|need|is|are|was|were|ai|have|has|had)n'?t)(?!\w)"
)
CLAUSE_END = re.compile(r"[.,;:!?()\n—–]|(?<!\w)(?:but|yet|however|although|though|because|so|until|unless)(?!\w)")
TEXT_COLUMNS = {
    "model": "text",
    "layer": "number?",
    "scenario": "text",
    "alpha": "number",
    "sample": "number",
    "text": "text",
}


def published(text: str, prompt: str, words: Words = PUBLISHED_WORDS) -> int:
    """Published empathy words minus task words, each counted once if it is a substring of the lower-cased text."""
    lowered = text.lower()
    return sum(word in lowered for word in PUBLISHED_WORDS.positive) - sum(word in lowered for word in PUBLISHED_WORDS.negative)


def lexical(text: str, prompt: str, words: Words = PUBLISHED_WORDS) -> int:
    """The concept's positive minus its negative words, whole and with their inflections, each counted once.

    A word that stands in the prompt counts for nothing, since it may be an echo; nor does one that a negation denies.
    """
    said, asked = asserted(text.lower()), prompt.lower()
    patterns = [[pattern for pattern in map(word_pattern, side) if not pattern.search(asked)] for side in words]
    positive, negative = (sum(bool(pattern.search(said)) for pattern in side) for side in patterns)
    return positive - negative


def asserted(text: str) -> str:
    """Lower-case text without what follows a negation in its clause."""
    clauses = CLAUSE_END.split(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return " . ".join(NEGATION.split(clause, maxsplit=1)[0] for clause in clauses)


def person_first(text: str, prompt: str, words: Words = PUBLISHED_WORDS) -> int:
    """In the language of the organisms: commitments that put the person first minus those that put the goal first."""
    positive, negative = grammar.stances(text)
    return positive - negative


# (text, prompt, words of the concept) to evidence
SCORERS: dict[str, Callable[[str, str, Words], int]] = {"published": published, "lexical": lexical, "grammar": person_first}


def score(
    texts: pd.DataFrame,
    scorer: str,
    prompts: Mapping[str, str] | None = None,
    evidence: Sequence[int | None] | None = None,
    words: Words = PUBLISHED_WORDS,
) -> pd.DataFrame:
    """Score texts: needs TEXT_COLUMNS, keeps every column, leaves out calibration texts, and adds these.

    `scorer`; `evidence`, an integer, positive where the text shows the behaviour; `positive` (evidence > 0) and
    `negative` (evidence < 0), these three missing where a judge has failed; `distinct_2`, `repeated`, `code_like`, `empty`;
    `coherent_published`; `coherent` and `incoherence`, by `coherence.judge_coherence`.
    `prompts` maps scenarios to user prompts, which may be echoed; `evidence` is what a judge gave for those that `is_judged`;
    `words` are the concept's.
    Raises InputError for an unknown scorer.
    """
    coherence, texts = judge_coherence(texts)[is_judged(texts)], texts[is_judged(texts)]
    if evidence is None:
        if scorer not in SCORERS:
            raise InputError(f"scorer {scorer!r}: choose one of {', '.join([*SCORERS, 'rubric'])}")
        rows = zip(texts["text"], texts["scenario"], strict=True)
        evidence = [SCORERS[scorer](text, (prompts or {}).get(scenario, ""), words) for text, scenario in rows]
    scored = texts.assign(scorer=scorer, evidence=pd.array(evidence, "Int64") if None in evidence else evidence)
    scored["positive"], scored["negative"] = scored["evidence"] > 0, scored["evidence"] < 0
    scored["distinct_2"] = scored["text"].map(distinct_2).astype(float)
    for name, flag in (("repeated", repeated), ("code_like", code_like), ("empty", lambda text: not text.strip())):
        scored[name] = scored["text"].map(flag).astype(bool)
    scored["coherent_published"] = scored["text"].map(published_coherent).astype(bool)
    return scored.assign(**{name: coherence[name].to_numpy() for name in coherence})


def is_judged(texts: pd.DataFrame) -> np.ndarray:
    """All texts but those that only bound what is coherent: bool (texts,)."""
    return (texts["arm"] != CALIBRATION_ARM).to_numpy() if "arm" in texts else np.ones(len(texts), bool)


def words_of(concept: Concept) -> Words:
    """The word lists of a concept. Raises InputError where it has none."""
    if not concept.scored_by("lexical"):
        raise InputError(f"scorer lexical: {concept.title} has no positive_words and negative_words in its concept.yaml")
    return Words(concept.positive_words, concept.negative_words)


def scores_inputs(scorer: str, concept: Concept, texts: str, judge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything that determines a table of scores, given the fingerprint of its texts."""
    words = words_of(concept) if scorer == "lexical" else None
    inputs = {"numerics": NUMERICS, "scorer": scorer, "texts": texts, "words": words, "prompts": concept.prompts()}
    rubrics = {name: scenario.rubric for name, scenario in concept.scenarios.items()}
    return {**inputs, "judge": dict(judge or {}), "rubrics": rubrics} if scorer == "rubric" else inputs


def score_model(study: Study, concept: Concept, model: Model, scorer: str) -> None:
    """Score a model's texts by a scorer without a judge, and write the table. Raises InputError."""
    path = study.paths.texts(model.name)
    words = words_of(concept) if scorer == "lexical" else PUBLISHED_WORDS
    scored = score(read_table(path, needs=TEXT_COLUMNS).to_pandas(), scorer, concept.prompts(), words=words)
    write_scores(scored, study.paths.scores(model.name, scorer), scores_inputs(scorer, concept, read_fingerprint(path)))


def write_scores(scored: pd.DataFrame, path: Path, inputs: Mapping[str, Any] | None = None) -> None:
    """Write a table of scores."""
    write_table(pa.Table.from_pandas(scored, preserve_index=False), path, inputs)
