"""Scores, effects and agreement of files that a user names."""

from pathlib import Path

import pandas as pd

from probesteer.behaviour.effects import SCORE_COLUMNS, of_arm, success_rates
from probesteer.behaviour.judging import endpoint_rater, judge_model, local_rater, rate_texts
from probesteer.behaviour.kappa import AXES, agreement
from probesteer.behaviour.scoring import PUBLISHED_WORDS, TEXT_COLUMNS, score, score_model, words_of, write_scores
from probesteer.concepts.concept import load_concept
from probesteer.concepts.data import study_concept
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.tables import read_table
from probesteer.files.whole import atomic
from probesteer.study.experiment import Study
from probesteer.study.model import Model


def score_job(study: Study, model: Model, scorer: str) -> None:
    """Score a model's texts in a study. Raises InputError."""
    concept = study_concept(study)
    if scorer == "rubric":
        judge_model(study, concept, model)
    else:
        score_model(study, concept, model, scorer)


def score_file(
    texts: Path,
    scorer: str,
    folder: Path | None,
    judge: Path | None,
    endpoint: tuple[str | None, str | None],
    output: Path,
) -> None:
    """Score a Parquet file of texts; `endpoint` is its URL and the model to ask for.

    Without a concept `lexical` takes the published words, and no echo of a prompt is removed. Raises InputError.
    """
    table = read_table(texts, needs=TEXT_COLUMNS).to_pandas()
    concept = load_concept(folder) if folder else None
    url, name = endpoint
    if scorer == "rubric":
        if concept is None or (judge is None) == (url is None) or bool(url) != bool(name):
            raise InputError("scorer rubric needs --concept and either --judge CARD or --endpoint URL with --judge-name NAME")
        rater = local_rater(read_card(judge)) if judge else endpoint_rater(str(url), str(name))
        scored = rate_texts(table, concept, rater)
    else:
        words = words_of(concept) if concept and scorer == "lexical" else PUBLISHED_WORDS
        scored = score(table, scorer, concept.prompts() if concept else None, words=words)
    write_scores(scored, output)


def effects_file(scores: Path, rule: str, output: Path) -> None:
    """Success rates of a file of scores, as CSV. Raises InputError."""
    table = success_rates(of_arm(read_table(scores, needs=SCORE_COLUMNS).to_pandas()), rule)
    with atomic(output) as beside:
        table.to_csv(beside, index=False)


def agreement_of_files(scores: Path, ratings: Path) -> dict[str, float]:
    """Cohen's kappa of a file of scores with a CSV file of ratings. Raises InputError."""
    ours = read_table(scores, needs={**dict.fromkeys(["model", "scenario"], "text"), "evidence": "number"}).to_pandas()
    try:
        theirs = pd.read_csv(ratings)
    except (ValueError, OSError) as error:
        raise InputError(f"{ratings}: not a readable CSV file") from error
    if missing := [column for column in [*AXES, "rating"] if column not in theirs]:
        raise InputError(f"{ratings}: column {missing[0]} is missing; it needs {', '.join([*AXES, 'rating'])}")
    if not theirs["rating"].isin([0, 1, 2]).all():
        row = int((~theirs["rating"].isin([0, 1, 2])).to_numpy().argmax())
        raise InputError(f"{ratings}: row {row + 1}: rating {theirs['rating'][row]} is not 0, 1 or 2")
    return agreement(ours, theirs)
