"""The first screen says by rule, from the tables, what was found, what speaks against it, and what it does not show."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from probesteer.report.charts import Chart, dose_chart
from probesteer.report.html import FOLD, MOST_CHARS, markdown_body, to_html
from probesteer.report.overview import Overview, featured, finding, phrase, reasons, worst_first
from probesteer.report.page import markdown_table, plain


def row(**changes: object) -> dict:
    sound = {"model": "m", "verdict": "GREEN", "detected": "yes", "steerable": "yes", "specific": "yes", "failed_checks": ""}
    return sound | {"rate_change": 0.6, "control_change": 0.2} | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "detected, steerable and specific"),
        ({"failed_checks": "PI: left-out scenarios"}, "detected, steerable and specific, with checks that fail"),
        ({"steerable": "in some scenarios"}, "detected, steerable in some scenarios and specific"),
        ({"specific": "no"}, "detected and steerable, but not shown to be specific"),
        (
            {"specific": "no", "control_change": -0.6},
            "detected and steerable, but a shuffled-label direction steers as strongly",
        ),
        ({"specific": "not tested"}, "detected and steerable, without a test against directions of shuffled labels"),
        ({"steerable": "no"}, "detected, not steerable"),
        ({"steerable": "not measurable"}, "detected, and steering cannot be measured"),
        ({"steerable": "not tested"}, "detected, steering not tested"),
        ({"detected": "no", "steerable": "no", "failed_checks": "PI: detection criterion"}, "neither detected nor steerable"),
        ({"detected": "no", "steerable": "not measurable"}, "not detected, and steering cannot be measured"),
        ({"detected": "no"}, "not detected, but steerable, more than by directions of shuffled labels"),
    ],
)
def test_a_phrase_per_verdict(changes, said):
    assert phrase(SimpleNamespace(**row(**changes))) == said


def test_models_of_which_the_same_is_said_are_one_group_and_many_are_counted():
    rows = pd.DataFrame([row(model=name) for name in ("a", "b")] + [row(model="c", detected="no", steerable="no")])
    said = "Kindness in a and b (2 of 3 models): detected, steerable and specific; in c: neither detected nor steerable."
    assert finding(rows, "Kindness") == said
    read = rows.assign(steerable="not tested")
    assert finding(read, "Kindness").endswith("(2 of 3 models): detected; in c: not detected; steering was not tested.")
    many = pd.DataFrame([row(model=f"m{number}") for number in range(100)])
    assert finding(many, "Kindness") == "Kindness in 100 of 100 models: detected, steerable and specific."


def test_reasons_are_those_that_failed_before_those_that_warn():
    checks = pd.DataFrame({"model": list("aaab"), "check": list("wxyz"), "status": ["WARN", "PASS", "FAIL", "PASS"]})
    assert [check["check"] for check in reasons(checks, ["a", "b"])["a"]] == ["y", "w"]
    assert reasons(checks, ["a", "b"])["b"] == []
    assert worst_first(checks)["check"].tolist() == ["y", "w", "x", "z"]


def test_the_three_texts_are_of_the_block_where_the_most_samples_change():
    chosen = pd.DataFrame({"model": "m", "layer": [1, 1, 1, 2, 2, 2], "alpha": [-1, 0, 1] * 2, "changed": [3] * 3 + [5] * 3})
    assert [text["layer"] for text in featured(pd.DataFrame([row()]), chosen)] == [2, 2, 2]
    assert featured(pd.DataFrame([row()]), pd.DataFrame()) == []


def test_the_small_chart_has_a_panel_for_each_of_four_models_at_most():
    arms = pd.DataFrame({"arm": ["probe"] * 3 + ["flipped-1"], "alpha": [-1.0, 0, 1, 1], "rate": [0.1, 0.5, 0.9, 0.4]})
    arms = arms.assign(rate_lower=0.0, rate_upper=1.0, layer=3)
    every = pd.concat([arms.assign(model=f"m{number}") for number in range(6)])
    chart = dose_chart(every, {f"m{number}": 3 for number in range(6)})
    assert chart is not None and len(chart.lines) == 4 and len(chart.crosses) == 4
    assert dose_chart(every, {}) is None


def test_long_tables_are_folded_and_headings_have_ids_of_their_own(tmp_path):
    tables = [markdown_table(pd.DataFrame({"a": range(rows)})) for rows in (FOLD, FOLD + 1)]
    html, contents = markdown_body(
        "\n\n".join(["# title", "words", "## One", tables[0], "### Below", "## One", tables[1]]), tmp_path
    )
    assert html.count("<details>") == html.count("</details>") == 1 and f"Table of {FOLD + 1} rows" in html
    assert [(heading.id, [below.id for below in heading.below]) for heading in contents] == [("one", ["below"]), ("one-2", [])]
    assert "words" not in html and 'id="one-2"' in html


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred\u202eleft", "x" * 10**6]
)
def test_hostile_text_on_the_first_screen_stays_text_and_is_cut(hostile, tmp_path):
    at = {"model": "m", "layer": 1, "scenario": "s", "sample": 0, "changed": 1, "reversed": 0, "samples": 9}
    texts = [at | {"alpha": alpha, "positive": alpha > 0, "coherent": True, "text": hostile} for alpha in (-1.0, 0.0, 1.0)]
    why = {"m": [{"status": "FAIL", "check": "c", "role": "PI", "evidence": hostile, "table": "council"}]}
    seen = Overview("found", [], why, texts, [], Chart("t", "told", "described"), None)
    study = SimpleNamespace(study="x", models=[SimpleNamespace(organism=False)], steered=[], digest=lambda: "d" * 64)
    concept = SimpleNamespace(title="kind", description=hostile)
    page = to_html(study, concept, seen, {"date": "", "version": "", "commit": ""}, "# t", tmp_path)
    assert not re.search(r"<(script|img|iframe|link)\b", page) and not re.search(r"[\x00-\x08\x1b\u202e]", page)
    assert page.count("x" * (MOST_CHARS + 1)) == 0 and len(re.findall("<blockquote>", page)) == 3


def test_the_first_screen_of_a_finished_study(finished):
    council = finished.folder / "results/small/council"
    page, report = (council / "report.html").read_text(), (council / "report.md").read_text()
    verdict = pd.read_csv(council / "tables/verdict.csv").iloc[0]
    head = page[: page.index('id="contents"')]
    said = re.search(r'<h1 class="finding" id="finding">(.*?)</h1>', head)
    assert said and "llama" in said[1] and f"**{said[1]}**" in report.replace("\\", "")
    assert verdict["verdict"] in head and "success here is by construction" in head
    checks = pd.read_csv(council / "tables/checks.csv")["status"].value_counts()
    for status in ("FAIL", "WARN"):
        assert (f"{checks.get(status, 0)} {status}</span>" in head) == (status in checks)
    assert head.count('href="#why-llama"') == 1 and page.count('id="why-llama"') == 1
    assert len(re.findall(r"<svg", head)) == 2 and "What this does not show" in head


def test_every_number_of_the_first_screens_table_is_in_a_table(finished):
    council = finished.folder / "results/small/council"
    page = (council / "report.html").read_text()
    cells = re.findall(r'<td data-label="([^"]+)">(.*?)</td>', page[: page.index('id="contents"')], re.S)
    shown = {label: re.findall(r"[-+]?\d[\d.e-]*", re.sub(r"<small>.*?</small>|<[^>]+>", "", cell)) for label, cell in cells}
    known = set()
    for name in ("council", "details", "trends", "specificity", "controls"):
        table = pd.read_csv(council / f"tables/{name}.csv")
        known |= {plain(float(value)) for value in table.select_dtypes("number").to_numpy().ravel()}
    for label in ("AUROC", "Best without a model", "p", "Rate change", "Strongest control"):
        assert shown[label] and {number.lstrip("+") for number in shown[label]} <= known, label


def test_links_on_the_page_lead_somewhere(finished):
    council = finished.folder / "results/small/council"
    page = (council / "report.html").read_text()
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert len(ids) == len(re.findall(r'\bid="([^"]+)"', page))
    for link in set(re.findall(r'href="([^"]+)"', page)):
        assert link[1:] in ids if link.startswith("#") else (council / link).is_file(), link
