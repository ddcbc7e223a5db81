"""Rating texts by the rubric of their scenario: with a local model, or an OpenAI-compatible endpoint, in both orders."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from probesteer.behaviour.endpoint import LEVELS, SYSTEM, Rater, answers_beside, endpoint_rater
from probesteer.behaviour.scoring import TEXT_COLUMNS, is_judged, score, scores_inputs, write_scores
from probesteer.concepts.concept import Concept
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import read_fingerprint, read_table
from probesteer.jobs import judge_settings
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 1  # bump by hand when a judge is asked otherwise
ORDERS = {"level": LEVELS, "level_swapped": LEVELS[::-1]}  # columns of scores, and how the rubric lists the levels for each


def question(concept: Concept, scenario: str, text: str, order: Sequence[str] = LEVELS) -> str:
    """What a judge is asked of a text, blind to the model and the dose that it is from; `order` is that of the levels.

    Raises InputError for a scenario that the concept does not have.
    """
    if scenario not in concept.scenarios:
        raise InputError(f"scenario {scenario}: not in the concept, so there is no rubric for it")
    asked = concept.scenarios[scenario]
    meanings = {str(level): meaning for level, meaning in asked.rubric.items()}
    levels = "\n".join(f"{level}: {meanings[level]}" for level in order)
    parts = {"Situation": asked.user_prompt(), "Answer": f"<answer>\n{text}\n</answer>", "Rubric": levels}
    named = f"{', '.join(order[:-1])} or {order[-1]}"
    return "\n\n".join(f"{name}:\n{part}" for name, part in parts.items()) + f"\n\nThe level ({named}):"


def local_rater(card: Mapping[str, Any]) -> Rater:
    """A rater that asks the model of a card; the likeliest digit is its answer."""
    from probesteer.lm.judge import rate
    from probesteer.lm.load import load_card, render_prompt

    model, tokenizer = load_card(card)

    def rater(questions: Sequence[str]) -> list[int | None]:
        prompts = [render_prompt(tokenizer, SYSTEM, asked, card["chat_template"]) for asked in questions]
        return [*rate(model, tokenizer, prompts, LEVELS)]

    return rater


def rubric_levels(texts: pd.DataFrame, concept: Concept, rater: Rater) -> pd.DataFrame:
    """The level of each text, asked for in each of ORDERS: a column each, missing where the rater gave none.

    A text that occurs twice is asked about once. Questions are asked in the order of their digests, which knows nothing of
    models and doses: a judge that fails after a while, or changes, fails on all of them alike.
    """
    rows = list(zip(texts["text"], texts["scenario"], strict=True))
    asked = {name: [question(concept, scenario, text, order) for text, scenario in rows] for name, order in ORDERS.items()}
    distinct = sorted({one for questions in asked.values() for one in questions}, key=digest)
    levels = dict(zip(distinct, rater(distinct), strict=True)) if distinct else {}
    found = {name: pd.array([levels[one] for one in questions], "Int64") for name, questions in asked.items()}
    return pd.DataFrame(found, texts.index)


def rubric_evidence(levels: pd.DataFrame) -> list[int | None]:
    """Both levels of a text less one each, summed: 2 where it shows the behaviour in either order, -2 where its opposite.

    0 where the orders say the opposite of each other; None where one of them has no rating.
    """
    return [None if pd.isna(both) else int(both) - len(ORDERS) for both in levels.sum(axis=1, skipna=False)]


def rate_texts(texts: pd.DataFrame, concept: Concept, rater: Rater) -> pd.DataFrame:
    """Texts scored by the rubric of their scenario: `scoring.score` with what the rater said, and the columns of ORDERS."""
    levels = rubric_levels(texts[is_judged(texts)], concept, rater)
    return score(texts, "rubric", concept.prompts(), rubric_evidence(levels)).assign(**dict(levels.items()))


def refuse_own(judge: Collection[str], models: Collection[str]) -> None:
    """Raise InputError where a judge, by one of its names, is a model whose texts it would rate."""
    if own := sorted({*judge} & {*models}):
        raise InputError(f"judge {own[0]}: it wrote texts that it is to rate, and no model rates itself; name another judge")


def judge_inputs(study: Study, card: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who rates: a model by its digest, or an endpoint."""
    return {"numerics": NUMERICS, "card": card["digest"] if card else None, **judge_settings(study, study.models[0])}


def judge_card(study: Study) -> dict[str, Any] | None:
    """The card of the study's local judge, where it has one. Raises InputError."""
    cards = [read_card(study.paths.card(name, model.key)) for name, model in study.judges.items()]
    return cards[0] if cards else None


def judge_model(study: Study, concept: Concept, model: Model) -> None:
    """Let the study's judge rate a model's texts, and write the scores. Raises InputError."""
    assert study.judge is not None
    path, scores = study.paths.texts(model.name), study.paths.scores(model.name, "rubric")
    card, endpoint = judge_card(study), (str(study.judge.endpoint), str(study.judge.name))
    if card and card["digest"] == read_card(study.paths.card(model.name, model.key))["digest"]:
        refuse_own([model.name], [model.name])  # a copy of it, in another folder
    rater = local_rater(card) if card else endpoint_rater(*endpoint, answers_beside(scores))
    scored = rate_texts(read_table(path, needs=TEXT_COLUMNS).to_pandas(), concept, rater)
    inputs = scores_inputs("rubric", concept, read_fingerprint(path), judge_inputs(study, card))
    write_scores(scored, scores, inputs)
    if missing := int(scored["evidence"].isna().sum()):
        print(f"{missing} of {len(scored)} texts have no rating; to ask for them again, delete {scores}", file=sys.stderr)
