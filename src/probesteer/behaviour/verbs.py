"""Scores, effects and agreement of files that a user names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from probesteer.behaviour.agreement import ALL, agreement_with
from probesteer.behaviour.coherence import LIKELIHOODS, how_judged
from probesteer.behaviour.effects import OPTIONAL_COLUMNS, SCORE_COLUMNS, of_arm, rated, success_rates
from probesteer.behaviour.endpoint import answers_beside, endpoint_rater
from probesteer.behaviour.judging import judge_model, local_rater, rate_texts, refuse_own
from probesteer.behaviour.ratings import KEY, people_of, write_sheet
from probesteer.behaviour.scoring import PUBLISHED_WORDS, TEXT_COLUMNS, score, score_model, words_of, write_scores
from probesteer.concepts.concept import concept_folder, load_concept
from probesteer.concepts.data import study_concept
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.tables import read_table
from probesteer.files.whole import atomic, refuse_overwrite
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import URL_PATTERN


def score_job(study: Study, model: Model, scorer: str) -> None:
    """Score a model's texts in a study. Raises InputError."""
    concept = study_concept(study)
    if scorer == "rubric":
        judge_model(study, concept, model)
    else:
        score_model(study, concept, model, scorer)


def read_texts(path: Path, needs: Mapping[str, str], optional: Mapping[str, str]) -> pd.DataFrame:
    """A user's table with a row per text. Raises InputError where it is empty or has a text twice."""
    table = read_table(path, needs=needs, optional=optional).to_pandas()
    if table.empty:
        raise InputError(f"{path}: there are no rows")
    keys = [name for name in ("concept", "arm", *KEY) if name in table]
    if (again := table.duplicated(keys)).any():
        row = int(again.to_numpy().argmax())
        text = ", ".join(f"{key} {table[key][row]}" for key in keys)
        raise InputError(f"{path}: row {row}: {text} was there before; every text of a cell has a sample of its own")
    return table


def score_file(
    texts: Path,
    scorer: str,
    named: str | None,
    judge: Path | None,
    endpoint: tuple[str | None, str | None],
    output: Path,
) -> str:
    """Score a Parquet file of texts; `named` is a concept's name or folder, `endpoint` its URL and the model to ask for.

    Without a concept `lexical` takes the published words, and nothing counts as an echo of a prompt. Raises InputError.
    """
    refuse_overwrite(output, texts)
    url, name = endpoint
    if url and not re.match(URL_PATTERN, url):
        raise InputError("--endpoint: an address without blanks and credentials is expected, https://host/v1")
    table = read_texts(texts, TEXT_COLUMNS, {"arm": "text", "concept": "text", **dict.fromkeys(LIKELIHOODS, "number?")})
    concept = load_concept(concept_folder(named)) if named else None
    if scorer == "rubric":
        if concept is None or (judge is None) == (url is None) or bool(url) != bool(name):
            raise InputError("scorer rubric needs --concept and either --judge CARD or --endpoint URL with --judge-name NAME")
        card = read_card(judge) if judge else {}
        refuse_own([str(name) if name else str(card.get("name")), str(card.get("source"))], table["model"].unique())
        rater = local_rater(card) if card else endpoint_rater(str(url), str(name), answers_beside(output))
        scored = rate_texts(table, concept, rater)
    else:
        words = words_of(concept) if concept and scorer == "lexical" else PUBLISHED_WORDS
        scored = score(table, scorer, concept.prompts() if concept else None, words=words)
    write_scores(scored, output)
    known = rated(scored)
    shares = ", ".join(f"{known[name].mean():.3f} {name}" for name in ("positive", "negative", "coherent"))
    said = f"wrote {len(scored)} rows to {output}: {shares}{_left_out('without a rating', len(scored) - len(known))}"
    return "; ".join(filter(None, [said, how_judged(table, scored)]))


def effects_file(scores: Path, rule: str, output: Path) -> str:
    """Success rates of a file of scores, as CSV; returns what was written. Raises InputError."""
    refuse_overwrite(output, scores)
    table = read_texts(scores, SCORE_COLUMNS, OPTIONAL_COLUMNS)
    steered, known = of_arm(table), rated(table)
    if steered.empty:
        raise InputError(f"{scores}: no row has a layer and a rating; effects are of a push at a layer")
    success = success_rates(steered, rule)
    with atomic(output) as beside:
        success.to_csv(beside, index=False)
    left = _left_out("without a rating", len(table) - len(known))
    left += _left_out("of other arms or no layer", len(known) - len(steered))
    return f"wrote {len(success)} rows to {output}: mean success {success['success_rate'].mean():.3f} by rule {rule}{left}"


def _left_out(what: str, count: int) -> str:
    return f"; {count} texts {what} left out" if count else ""


def agreement_of_files(scores: Path, ratings: Sequence[Path]) -> list[str]:
    """The agreement of a file of scores with people's ratings, a CSV file each, in lines. Raises InputError."""
    needs = {name: kind for name, kind in TEXT_COLUMNS.items() if name in KEY} | {"evidence": "number?"}
    ours = read_table(scores, needs=needs, optional={"arm": "text", "text": "text"}).to_pandas()
    table, unmatched = agreement_with(ours, people_of(ratings, ours))
    lines = [f"{unmatched} ratings are of other texts"] if unmatched else []
    for row in table.to_dict("records"):
        who = "all of them" if row["first"] == ALL else f"{row['first']} and {row['second']}"
        names = ["alpha"] if row["first"] == ALL else ["kappa", "alpha"]
        found = [f"{name} {row[name]:.3f} [{row[f'{name}_lower']:.3f}, {row[f'{name}_upper']:.3f}]" for name in names]
        lines.append(f"{who}: {', '.join(found)} on {row['texts']} texts")
    return lines


def sheet_of_files(texts: Sequence[Path], concept: str, count: int, seed: int, output: Path) -> str:
    """Write a sheet of texts of these files to rate; returns what was written. Raises InputError."""
    refuse_overwrite(output, *texts)
    tables = [read_texts(path, TEXT_COLUMNS, {"arm": "text", "concept": "text"}) for path in texts]
    rows = write_sheet(pd.concat(tables, ignore_index=True), load_concept(concept_folder(concept)), count, seed, output)
    return f"wrote {rows} texts to {output}: fill in its column rating with 0, 1 or 2, and name it under ratings of the study"
