"""People's ratings, blinded out and validated in, and the agreement of scorers with its intervals."""

import csv
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pytest
from agreement import simulated_levels
from conftest import ROOT
from sklearn.metrics import cohen_kappa_score

from probesteer.behaviour.agreement import agreement, agreement_with, alpha, interval, kappa, of_scorers
from probesteer.behaviour.ratings import SHEET, inert, people_of, read_sheet, write_sheet
from probesteer.cli import main
from probesteer.concepts.concept import load_concept
from probesteer.errors import InputError
from probesteer.report.checks import statistician_judge
from probesteer.report.evidence import Evidence
from probesteer.study.sections import Criteria

CONCEPT = load_concept(ROOT / "resources/concepts/empathy_in_action")


def texts(samples: int = 10) -> pd.DataFrame:
    """Texts of a study of one model at two layers, an unsteered one at both; control and calibration arms too."""
    rows = [
        {"arm": arm, "model": "m", "layer": layer, "scenario": "the_maze", "alpha": alpha, "sample": sample}
        for arm, layer, alpha in [
            *[("baseline", layer, 0.0) for layer in (3, 5)],
            *[("probe", layer, alpha) for layer in (3, 5) for alpha in (-1.0, 1.0)],
            ("flipped-1", 3, 1.0),
            ("calibration", None, 0.0),
            ("prompted-positive", None, 0.0),
        ]
        for sample in range(samples)
    ]
    table = pd.DataFrame(rows)

    def said(row: pd.Series) -> str:
        if row["arm"] == "baseline":
            return f"baseline {row['sample']}: I stay.\nNow."
        formula = row["arm"] == "probe" and row["layer"] == 3 and row["alpha"] == 1
        return f"{'=1+' if formula else row['arm']}{row['sample']} {row['layer']} {row['alpha']}"

    return table.assign(text=table.apply(said, axis=1))


def filled(path: Path, rating: str = "2", delimiter: str = ",", again: bool = False, **first: str) -> Path:
    """The sheet as a person gives it back, in a file of their name; with other cells in the first row, or that row twice."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{**row, "rating": rating} for row in csv.DictReader(file)]
    back = path.with_name("ann.csv")
    with back.open("w", encoding="utf-8", newline="") as file:
        sheet = csv.DictWriter(file, SHEET, delimiter=delimiter)
        sheet.writeheader()
        sheet.writerows([{**rows[0], **first}, *rows[1:], *(rows[:1] if again else [])])
    return back


def test_a_sheet_is_blind_shuffled_and_holds_no_formula(tmp_path):
    count = write_sheet(texts(), CONCEPT, 1000, 0, tmp_path / "sheet.csv")
    sheet = pd.read_csv(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    assert list(sheet) == SHEET and count == len(sheet) == 10 + 4 * 10 + 10, "unsteered once, no control, no calibration"
    assert set(sheet["rating"]) == {""} and sheet["id"].is_unique and sheet["id"].str.fullmatch("t[0-9a-f]{16}").all()
    assert not sheet["text"].str.startswith("=").any() and sheet["text"].str.startswith("'=1+").sum() == 10
    assert "baseline 3: I stay.\nNow." in set(sheet["text"]), "texts as they are"
    kinds = sheet["text"].str.split().str[0].tolist()
    assert kinds != sorted(kinds), "shuffled"
    assert (tmp_path / "sheet.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "spreadsheets know the encoding by it"
    assert write_sheet(texts(), CONCEPT, 7, 0, tmp_path / "few.csv") == 7
    few = pd.read_csv(tmp_path / "few.csv", dtype=str)["id"].tolist()
    assert set(few) < set(sheet["id"]) and few == sheet["id"].tolist()[:7], "the same draw, cut"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "＝1"])
def test_what_a_spreadsheet_takes_for_a_formula_is_made_inert(text):
    assert inert(text) == f"'{text}" and inert(f" {text}") == f" {text}" and inert("I stay.") == "I stay."


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_sheet_comes_back_with_its_ratings_on_the_texts_that_they_are_of(tmp_path, delimiter):
    write_sheet(texts(), CONCEPT, 1000, 0, tmp_path / "sheet.csv")
    back = read_sheet(filled(tmp_path / "sheet.csv", delimiter=delimiter), texts())
    assert len(back) == 60 and set(back["rating"]) == {2}
    assert set(back["arm"]) == {"baseline", "probe", "prompted-positive"}
    some = filled(tmp_path / "sheet.csv", rating="")
    with pytest.raises(InputError, match="no row has a rating"):
        read_sheet(some, texts())
    one = filled(tmp_path / "sheet.csv", "1")
    assert len(read_sheet(one, texts()[texts()["arm"] == "baseline"])) == 10, "texts of other models are theirs"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rating": "3"}, "row 1: rating 3 is not 0, 1 or 2"),
        ({"rating": "good"}, "row 1: rating good is not 0, 1 or 2"),
        ({"text": "I edited this."}, "row 1: its text is not the one that was to be rated"),
        ({"id": "1.2E15"}, "row 1: id '1.2E15' is none of a sheet"),
        ({"again": True}, "row 61: id t.* was there before"),
    ],
)
def test_a_sheet_that_was_spoilt_is_one_line_with_its_row(tmp_path, changes, says):
    write_sheet(texts(), CONCEPT, 1000, 0, tmp_path / "sheet.csv")
    spoilt = {"rating": "2", **changes}
    rating = spoilt.pop("rating")
    with pytest.raises(InputError, match=says):
        read_sheet(filled(tmp_path / "sheet.csv", rating, **spoilt), texts())


def test_the_verbs_write_a_sheet_and_read_it_back(tmp_path, capsys):
    table = texts(30)
    table.to_parquet(tmp_path / "texts.parquet")
    sheet = tmp_path / "sheet.csv"
    asked = ["ratings", str(tmp_path / "texts.parquet"), "--concept", str(ROOT / "resources/concepts/empathy_in_action")]
    assert main([*asked, "--texts", "50", "--output", str(sheet)]) == 0
    assert f"wrote 50 texts to {sheet}" in capsys.readouterr().out
    table.assign(evidence=np.where(table["sample"] % 2, 1, -1)).to_parquet(tmp_path / "scores.parquet")
    assert main(["agreement", str(tmp_path / "scores.parquet"), str(filled(sheet))]) == 0
    assert "scores and human: ann: kappa 0.000" in capsys.readouterr().out


def test_kappa_and_alpha_have_known_values():
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", and Cohen 1960 by hand
    first, second = np.array([-1, -1, 0, 1, 1, 1.0]), np.array([-1, 0, 0, 1, 1, -1.0])
    expected = 6 * (2 * 2 + 1 * 2 + 3 * 2) / 36 / 6
    assert kappa(np.array([first, second])) == pytest.approx((4 / 6 - expected) / (1 - expected))
    assert kappa(np.array([first, second])) == pytest.approx(cohen_kappa_score(first, second))
    levels = np.array([first, second, [np.nan, 0, 0, 1, np.nan, 1]])
    assert alpha(levels) == pytest.approx(krippendorff.alpha(levels, level_of_measurement="ordinal"))
    assert np.isnan(kappa(np.ones((2, 5)))) and np.isnan(alpha(np.ones((2, 5)))) and np.isnan(alpha(np.full((2, 5), np.nan)))


def test_where_nobody_disagrees_few_texts_are_less_sure_than_many():
    def least(count: int) -> float:
        same = np.tile([-1.0, 1.0], count // 2)
        return interval(kappa, np.array([same, same]), np.arange(count).astype(str))[1]

    assert least(10) < 0.5 < least(40) < 0.9 < least(400) < 1


@pytest.mark.parametrize("true", [0.4, 0.8])
def test_the_intervals_of_agreement_cover(true):
    """At a small size; the full one is a task of benchmarks/calibration.py."""
    found = [simulated_levels(seed, 60, true) for seed in range(200)]
    covered = [lower <= truth <= upper for truth, (_, lower, upper) in found]
    assert 0.91 <= np.mean(covered) <= 0.995


def test_every_two_raters_have_a_row_and_all_of_them_one():
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 2, 80).astype(float)
    levels = pd.DataFrame({"rubric": truth, "human: a": truth, "human: b": np.where(rng.random(80) < 0.2, -truth, truth)})
    levels.loc[:9, "rubric"] = np.nan
    rows = pd.DataFrame(agreement(levels, pd.Series(np.arange(80).astype(str)))).set_index(["first", "second"])
    assert rows["texts"].tolist() == [70, 70, 80, 80] and rows.index[-1] == ("all", "all")
    assert rows.loc[("rubric", "human: a"), "kappa"] == 1 and np.isnan(rows.loc[("all", "all"), "kappa"])
    assert rows.loc[("rubric", "human: b"), "kappa"] < rows.loc[("rubric", "human: a"), "kappa_lower"]


def scored(table: pd.DataFrame) -> pd.DataFrame:
    evidence = np.where(table["sample"] % 3 == 0, 2, np.where(table["sample"] % 3 == 1, -2, 0))
    return table.assign(evidence=evidence, level=evidence // 2 + 1, level_swapped=np.where(evidence < 0, 1, evidence // 2 + 1))


def test_a_judge_stands_beside_people_and_beside_itself_in_the_other_order(tmp_path):
    table = scored(texts(30))
    table = table[table["arm"] != "calibration"]
    write_sheet(table, CONCEPT, 1000, 0, tmp_path / "sheet.csv")
    people = people_of([filled(tmp_path / "sheet.csv")], table)
    people["ann"]["rating"] = np.sign(people["ann"]["evidence"]) + 1
    rows = of_scorers({"rubric": table, "lexical": table.assign(evidence=1).drop(columns=["level", "level_swapped"])}, people)
    rows = rows.set_index(["first", "second"])
    assert rows.loc[("rubric", "human: ann"), ["texts", "kappa"]].tolist() == [180, 1], "each text once"
    assert 0 < rows.loc[("rubric, level", "rubric, level_swapped"), "kappa"] < 1
    assert set(rows["model"]) == {"m"} and ("lexical", "human: ann") in rows.index


def judged(rows: list[dict], scorer: str = "rubric") -> list:
    trends, agreement = pd.DataFrame({"model": ["m"]}), pd.DataFrame(rows)
    evidence = Evidence(Criteria(), pd.DataFrame(), pd.DataFrame(), trends=trends, agreement=agreement, scorer=scorer)
    return list(statistician_judge(evidence))


def test_a_verdict_by_a_judge_needs_the_lower_end_of_kappa_with_every_person():
    row = {"model": "m", "first": "rubric", "second": "human: ann", "texts": 90}
    row |= {"kappa": 0.8, "kappa_lower": 0.65, "kappa_upper": 0.9}
    [check] = judged([row])
    assert check.status == "PASS" and "human: ann 0.80 [0.65, 0.90] on 90 texts (bar 0.6" in check.evidence
    assert [check.status for check in judged([row, {**row, "second": "human: bob", "kappa_lower": 0.55}])] == ["FAIL"]
    assert [check.status for check in judged([{**row, "kappa_lower": np.nan}])] == ["FAIL"]
    for rows in ([], [{**row, "second": "lexical"}], [{**row, "model": "other"}]):
        [check] = judged(rows)
        assert check.status == "FAIL" and check.evidence == "nobody rated its texts"
    assert judged([], scorer="lexical") == [], "no judge decides"


def test_ratings_and_scores_of_other_texts_are_refused():
    table = scored(texts())
    ours, unmatched = agreement_with(table, {"ann": table.assign(rating=np.sign(table["evidence"]) + 1).head(50)})
    assert unmatched == 0 and ours["kappa"].iloc[0] == 1
    with pytest.raises(InputError, match="no row in common"):
        agreement_with(table, {"ann": table.assign(rating=1, model="other")})
    with pytest.raises(InputError, match="two files are named ann"):
        people_of([Path("a/ann.csv"), Path("b/ann.csv")], table)
