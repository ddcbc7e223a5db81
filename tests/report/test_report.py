"""The report shows untrusted text inertly, in one self-contained page; the council judges by rule."""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from probesteer.behaviour.specificity import compared
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import Evidence
from probesteer.report.figures.style import dose_ticks
from probesteer.report.html import markdown_body
from probesteer.report.page import escape_markdown, markdown_table, plain
from probesteer.study.sections import Criteria

HOSTILE = [
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "a | b\n| c | d",
    "`code` *bold* __under__ ~~strike~~ $x$",
    "&lt;img src=x onerror=alert(1)&gt;",
    "\x00\x1b[31mred\u202eright-to-left",
    "# heading\n\n> quote",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text, tmp_path):
    html, _contents = markdown_body(markdown_table(pd.DataFrame({"text": [text], "next": ["cell"]})), tmp_path)
    cells = re.findall(r"<td>(.*?)</td>", html, re.S)
    assert len(cells) == 2 and cells[1] == "cell"
    assert not re.search(r"<(?!/?td)", cells[0]), "no markup inside the cell"
    assert not re.search(r"[\x00-\x08\x1b\u202e]", cells[0])


def test_escaping_keeps_plain_words_and_numbers_readable():
    assert escape_markdown("The light is low. I put (a) before b, -0.5.") == "The light is low. I put (a) before b, -0.5."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"),
        (1.0, "1"),
        (0.12345, "0.123"),
        (0.012345, "0.0123"),
        (0.0, "0"),
        (-2.0, "-2"),
        (float("nan"), ""),
        (None, ""),
        (True, "yes"),
        (3, "3"),
    ],
)
def test_numbers_are_shown_with_three_decimals(value, shown):
    assert plain(value) == shown


def test_the_page_is_self_contained(finished):
    html = (finished.folder / "results/small/council/report.html").read_text()
    assert not re.search(r"<(script|link|iframe)|https?://", html)
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert len(sources) == 8 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)


def test_numbers_of_the_report_stand_in_its_tables(finished):
    council = finished.folder / "results/small/council"
    report = (council / "report.md").read_text()
    for row in pd.read_csv(council / "tables/detection.csv").itertuples():
        interval = f"{plain(float(row.auroc))} [{plain(float(row.auroc_lower))}, {plain(float(row.auroc_upper))}]"
        assert f"| llama | {row.layer} | {escape_markdown(interval)} |" in report


def detection_rows(**changes: float) -> pd.DataFrame:
    row = {
        "model": "m",
        "auroc": 0.98,
        "auroc_lower": 0.93,
        "auroc_upper": 1.0,
        "out_of_scenario_auroc": 0.95,
        "out_of_scenario_auroc_lower": 0.9,
        "out_of_scenario_auroc_upper": 0.99,
        "out_of_scenario_dprime": 2.5,
        "above_embeddings": 0.38,
        "above_embeddings_lower": 0.2,
        "above_embeddings_upper": 0.5,
        "dprime": 3.0,
        "dprime_null_upper": 0.5,
        "purity": 0.9,
        "purity_p": 0.001,
        "permutation_auroc": 0.5,
        "permutation_p_max": 0.001,
        "random_auroc_p95": 0.7,
        "matched_auroc_p95": 0.7,
        "participation_ratio": 30.0,
        "top_share": 0.1,
        "separation": 5.0,
        "std_positive": 1.0,
        "std_negative": 1.0,
        "test_groups": 20,
    }
    return pd.DataFrame(
        [{**row, "layer": layer, "cv_auroc": cv, **changes} for layer, cv in ((0, 0.6), (1, 0.9), (2, 0.9))]
        + [{**row, "layer": -1, "cv_auroc": 1.0, "auroc": 0.6}]
    )


def selection_rows(p: float, model: str = "m") -> pd.DataFrame:
    return pd.DataFrame([{"model": model, "selected_layer": 1.0, "selection_p": p, "nested_auroc": 0.95}])


def trend_tables(
    steerable: bool = True,
    coherent: float = 1.0,
    flipped: Sequence[float] = (0.1,) * 19,
    prompted: float = 0.5,
    slopes: Sequence[float] = (0.05, 0.05),
    layer: int = 1,
    **changes: float,
) -> dict[str, pd.DataFrame]:
    """A model's tables of effects: `flipped` is the rate change of each flipped arm, where the probe's is 0.6."""
    at = {"model": "m", "layer": layer}
    trend = at | {"spearman_min": 0.3, "spearman_mean": 0.4, "p": 0.001 if steerable else 0.4, "rate_change": 0.6, "units": 100}
    trend |= {"coherent_rate_change": 0.6, "scenarios": len(slopes), "detectable_change": 0.3} | changes
    rises = {"coherent_rate_change": 0.6}
    scenarios = [at | rises | {"scenario": f"s{number}", "slope_lower": slope} for number, slope in enumerate(slopes)]
    unsteered = at | {"scenario": "s", "alpha": 0, "coherent_published": coherent, "positive": 0.5}
    change = {"change": prompted, "change_lower": prompted - 0.2, "change_upper": prompted + 0.2}
    rates = pd.DataFrame([[0.2, 0.8], *([0.5, 0.5 + one] for one in flipped)], columns=[-5.0, 5.0])
    rates.index = ["probe", *(f"flipped-{number}" for number in range(len(flipped)))]
    return {
        "trends": pd.DataFrame([trend]),
        "scenario_trends": pd.DataFrame(scenarios),
        "dose_response": pd.DataFrame([unsteered]),
        "specificity": pd.DataFrame([at | compared(rates, [(-5.0, 5.0)])] if flipped else []),
        "prompting": pd.DataFrame([{"model": "m", **change}]),
    }


def verdict(
    detection: pd.DataFrame,
    steerable: bool | None,
    selection_p: float = 0.001,
    details: Sequence[dict] = (),
    controls: dict[str, float] | None = None,
    **steering: Any,
) -> dict:
    """The verdict on a model; `controls` is the rate change of each random arm, where the probe's is 0.6."""
    criteria = Criteria()
    tables = {} if steerable is None else trend_tables(steerable, **steering)
    trends = judge_trends(tables["trends"], {**tables, "detection": detection}, criteria) if tables else pd.DataFrame()
    arms = [{"model": "m", "layer": 1, "arm": arm, "rate_change": change} for arm, change in (controls or {}).items()]
    evidence = Evidence(
        criteria,
        select_layers(detection, selection_rows(selection_p), criteria),
        detection,
        pd.DataFrame(details),
        trends,
        tables.get("specificity", pd.DataFrame()),
        pd.DataFrame(arms),
        tables.get("prompting", pd.DataFrame()),
    )
    return deliberate(evidence)[1].iloc[0].to_dict()


@pytest.mark.parametrize(
    ("changes", "steerable", "expected"),
    [
        ({}, True, "GREEN"),
        ({}, None, "GREEN"),
        ({}, False, "AMBER"),
        ({"auroc": 0.8}, True, "AMBER"),
        ({"auroc": 0.8}, False, "RED"),
        ({"out_of_scenario_auroc": 0.8}, None, "RED"),
        ({"out_of_scenario_auroc_lower": 0.4}, None, "RED"),
        ({"out_of_scenario_dprime": 1.4}, None, "RED"),
        ({"out_of_scenario_auroc": np.nan, "out_of_scenario_auroc_lower": np.nan}, None, "GREEN"),
        ({"random_auroc_p95": 0.99}, True, "AMBER"),
        ({"std_positive": np.nan}, True, "AMBER"),
        ({"test_groups": 3}, True, "AMBER"),
    ],
)
def test_the_verdict_follows_from_the_rules(changes, steerable, expected):
    assert verdict(detection_rows(**changes), steerable)["verdict"] == expected


def test_a_choice_that_permuted_labels_make_as_well_is_red():
    assert verdict(detection_rows(), False, selection_p=0.5)["verdict"] == "RED"


def detail(metric: str, of: str, estimate: float, lower: float = np.nan, upper: float = np.nan, layer: object = 1) -> dict:
    return {"model": "m", "layer": layer, "metric": metric, "of": of, "estimate": estimate, "lower": lower, "upper": upper}


@pytest.mark.parametrize(
    ("baseline", "lower", "status"), [(0.6, 0.2, "PASS"), (0.91, 0.02, "WARN"), (0.6, -0.01, "FAIL"), (1.0, -0.08, "FAIL")]
)
def test_the_probe_must_be_above_the_best_surface_baseline(baseline, lower, status):
    """The keyword count of the published pairs reaches AUROC 1.0 without any model."""
    rows = [detail("surface_auroc", "length", 0.5, layer=pd.NA), detail("above_surface", "length", 0.48, 0.3, 0.5)]
    rows += [detail("surface_auroc", "keyword count", baseline, layer=pd.NA)]
    rows += [detail("above_surface", "keyword count", 0.98 - baseline, lower, 0.5)]
    assert statuses(detection_rows(), rows)["surface baselines"] == status
    assert verdict(detection_rows(), True, details=rows)["verdict"] == ("AMBER" if status == "FAIL" else "GREEN")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "PASS"),
        ({"across": [(0.95, 0.8), (0.6, 0.45)]}, "FAIL"),  # one way does not stand out from chance
        ({"across": [(0.84, 0.7), (0.85, 0.7)]}, "FAIL"),  # both do, below the bar of .85
        ({"across": [(0.95, np.nan), (0.95, 0.9)]}, "FAIL"),  # nothing can be said of one way
        ({"without_factor_dprime": 1.4}, "FAIL"),  # of 3.0
        ({"cos_factor": -0.9}, "FAIL"),  # leaves a share of .44
        ({"cos_factor": 0.6}, "WARN"),
        ({"factor_tells_auroc": 0.05}, "WARN"),  # the other way round
        ({"factor_auroc": 0.6, "lower": 0.45, "cos_factor": 3.0}, "WARN"),  # levels that are not told apart
    ],
)
def test_a_direction_that_is_only_that_of_a_crossed_factor_cannot_be_green(changes, status):
    own = {"factor_auroc": 0.99, "factor_tells_auroc": 0.55, "cos_factor": 0.1, "without_factor_dprime": 2.9}
    across = zip(("warm", "plain"), changes.get("across", [(0.95, 0.9), (0.95, 0.9)]), strict=True)
    rows = [detail("across_level_auroc", f"tone: {level}", *bounds, 1.0) for level, bounds in across]
    rows += [detail(name, "tone", changes.get(name, value), changes.get("lower", value - 0.05)) for name, value in own.items()]
    assert statuses(detection_rows(), rows)["crossed factors"] == status
    judged = verdict(detection_rows(), True, details=rows)
    assert judged["verdict"] == ("AMBER" if status == "FAIL" else "GREEN")
    assert judged["failed_checks"] == ("Devil's Advocate: crossed factors" if status == "FAIL" else "")


def test_words_that_do_as_well_as_the_block_cannot_be_green():
    rows = detection_rows(above_embeddings=0.001, above_embeddings_lower=-0.03, above_embeddings_upper=0.03)
    rows.loc[rows["layer"] == -1, "auroc"] = 0.979
    judged = verdict(rows, True)
    assert judged["verdict"] == "AMBER" and "embeddings alone" in judged["failed_checks"]


def statuses(detection: pd.DataFrame, details: Sequence[dict] = (), nested: float = 0.95, leaks: float = 0) -> dict[str, str]:
    """The status of every check on detection, by its name."""
    chosen = selection_rows(0.001).assign(nested_auroc=nested, leaking_groups=leaks)
    council = select_layers(detection, chosen, Criteria())
    checks, _ = deliberate(Evidence(Criteria(), council, detection, pd.DataFrame(details)))
    return dict(zip(checks["check"], checks["status"], strict=True))


def test_what_eleven_warnings_said_is_a_failure_each():
    """A probe of AUROC .95 whose every rival does as well, and that loses what it reads whenever anything is taken away."""
    detection = detection_rows(
        auroc=0.95,
        auroc_lower=0.9,
        auroc_upper=0.98,
        test_groups=60,
        **{"out_of_scenario_auroc": 0.501, "out_of_scenario_auroc_lower": 0.4, "out_of_scenario_auroc_upper": 0.6},
        **{"ablated_auroc": 0.51, "residualised_auroc": 0.51},
        **{"above_embeddings": 0.001, "above_embeddings_lower": -0.03, "above_embeddings_upper": 0.03},
        **{"control_concept_auroc": 0.94, "cos_control_concept": 0.8},
        **{"above_control_concept": 0.01, "above_control_concept_lower": -0.02, "above_control_concept_upper": 0.04},
    )
    detection.loc[detection["layer"] == -1, "auroc"] = 0.949
    rows = [
        detail("surface_auroc", "TF-IDF of words", 0.899, layer=pd.NA),
        detail("above_surface", "TF-IDF of words", 0.051, -0.01, 0.11),
        *(detail("without_scenario", name, 0.501) for name in ("a", "b")),
    ]
    found = statuses(detection, rows, nested=0.6, leaks=6)
    failed = {name for name, status in found.items() if status == "FAIL"}
    assert failed == {
        *("left-out scenarios", "interval", "surface baselines", "near-duplicates across the split", "embeddings alone"),
        *("lexical ablation", "length and formatting", "control concept", "out-of-scenario drop"),
    }
    assert verdict(detection, True, details=rows)["verdict"] != "GREEN"


@pytest.mark.parametrize("what", ["generator", "voice", "scenario"])
@pytest.mark.parametrize(("left", "status"), [(0.9, "PASS"), (0.7, "FAIL")])
def test_a_drop_in_what_was_left_out_fails_beyond_its_criterion(what, left, status):
    rows = [
        detail(f"without_{what}", "a", left),
        detail(f"without_{what}", "b", left),
        detail(f"without_{what}", "a", 0.1, layer=2),
    ]
    assert statuses(detection_rows(), rows)[f"out-of-{what} drop"] == status


@pytest.mark.parametrize(("alone", "status"), [(0.5, "PASS"), (0.35, "WARN"), (1.0, "FAIL"), (0.1, "FAIL")])
def test_a_generator_that_tells_the_sides_apart_fails(alone, status):
    chosen = selection_rows(0.001).assign(generator_auroc=alone)
    council = select_layers(detection_rows(), chosen, Criteria())
    checks, _ = deliberate(Evidence(Criteria(), council, detection_rows()))
    assert checks.set_index("check").loc["generator", "status"] == status


def test_another_method_that_reads_better_is_named_with_its_numbers():
    rows = [detail("method_gain", "lda", 0.3, 0.2, 0.4), detail("method_gain", "logistic", 0.01, -0.1, 0.1)]
    detection = detection_rows(auroc=0.6)
    council = select_layers(detection, selection_rows(0.001), Criteria())
    checks, _ = deliberate(Evidence(Criteria(), council, detection, pd.DataFrame(rows)))
    row = checks.set_index("check").loc["another method"]
    assert row["status"] == "WARN" and "lda 0.900 (+0.300 [+0.200, +0.400])" in row["evidence"]
    assert "logistic" not in row["evidence"]


@pytest.mark.parametrize(("lower", "status"), [(0.7, "WARN"), (0.4, "PASS"), (np.nan, "PASS")])
def test_a_probe_that_reads_on_after_erasure_warns(lower, status):
    detection = detection_rows(erased_auroc=0.8, erased_auroc_lower=lower, erased_auroc_upper=0.9)
    assert statuses(detection)["erasure"] == status


def test_a_single_scenario_is_said_not_to_tell_whether_the_direction_holds_elsewhere():
    unknown = detection_rows().drop(columns=[f"out_of_scenario_auroc{bound}" for bound in ("_lower", "_upper")])
    assert statuses(unknown.assign(out_of_scenario_auroc=np.nan))["left-out scenarios"] == "WARN"


@pytest.mark.parametrize(
    ("flipped", "specific", "expected"),
    [
        ([0.1] * 19, "yes", "GREEN"),
        ([0.1] * 18 + [-0.7], "yes", "GREEN"),  # one of 19 as large: p = 2 / 40
        ([0.1] * 17 + [-0.7, 0.6], "no", "AMBER"),  # two of them: p = 3 / 40
        ([0.1] * 9, "yes", "GREEN"),
        ([0.1] * 8, "no", "AMBER"),
        ([], "not tested", "AMBER"),
    ],
)
def test_what_flipped_directions_do_as_well_is_steerable_and_not_specific(flipped, specific, expected):
    judged = verdict(detection_rows(), True, flipped=flipped)
    assert (judged["steerable"], judged["specific"], judged["verdict"]) == ("yes", specific, expected)
    assert ("not shown specific" in judged["why"]) == (expected == "AMBER")


def test_a_random_direction_that_moves_the_rate_half_as_much_is_a_warning():
    plain, moved = (verdict(detection_rows(), True, controls=arms) for arms in ({"random-1": 0.1}, {"random-1": -0.4}))
    assert moved["warnings"] - plain["warnings"] == 1 and moved["verdict"] == "GREEN"


def test_a_rise_that_comes_from_broken_text_is_not_steerable():
    judged = verdict(detection_rows(), True, coherent_rate_change=0.02)
    assert judged["steerable"] == "no" and judged["verdict"] == "AMBER"


def test_steering_that_holds_in_one_scenario_names_it():
    judged = verdict(detection_rows(), True, slopes=(0.05, -0.01))
    assert judged["steerable"] == "in some scenarios" and judged["verdict"] == "AMBER"
    assert judged["why"] == "steerable at block 1 in s0 only"
    unspecific = verdict(detection_rows(), True, slopes=(0.05, -0.01), flipped=[0.7] * 19)
    assert unspecific["why"] == "steerable at block 1 in s0 only, not shown specific (p 0.500)"


def test_steering_at_a_block_where_nothing_is_read_is_not_green():
    rows = detection_rows()
    assert verdict(rows, True, layer=2)["verdict"] == "GREEN"
    rows.loc[rows["layer"] == 2, "auroc"] = 0.5
    judged = verdict(rows, True, layer=2)
    assert judged["verdict"] == "AMBER" and judged["why"] == "not detected at block 2, where it is steered"


def test_where_prompts_change_nothing_steering_is_not_measurable():
    judged = verdict(detection_rows(), True, prompted=0.08)
    assert judged["steerable"] == "not measurable" and judged["verdict"] == "AMBER"


@pytest.mark.parametrize("steerable", [True, False])
def test_an_incoherent_baseline_gives_no_steering_verdict(steerable):
    judged = verdict(detection_rows(), steerable, coherent=0.4)
    assert judged["steerable"] == "not measurable" and judged["verdict"] == "AMBER"
    assert verdict(detection_rows(auroc=0.6), steerable, coherent=0.4)["verdict"] == "RED"
    assert verdict(detection_rows(), steerable, coherent=0.5)["steerable"] == ("yes" if steerable else "no")


@pytest.mark.parametrize("name", ["council", "dose_response"])
def test_the_councils_table_links_to_the_table_that_a_check_read(name):
    shown = markdown_table(pd.DataFrame({"check": ["c", "d"], "table": [name, "deeds"]}), linked=[name])
    assert f"](tables/{name}.csv)" in shown and "| deeds |" in shown


@pytest.mark.parametrize(
    ("grid", "ticks"),
    [
        ([-0.2, -0.1, 0, 0.1, 0.2], [-0.2, -0.1, 0, 0.1, 0.2]),
        ([-40, -20, -10, -5, -3, -1, 0, 1, 3, 5, 10, 20, 40], [-40, -5, -1, 0, 1, 5, 40]),
        ([0, 5], [0, 5]),
        ([-20, 0], [-20, 0]),
    ],
)
def test_the_ticks_of_the_dose_are_those_of_the_grid(grid, ticks):
    assert dose_ticks(map(float, grid)) == ticks


def test_p_values_are_corrected_over_models():
    two = pd.concat([detection_rows(), detection_rows().assign(model="n")])
    chosen = pd.concat([selection_rows(0.03), selection_rows(0.03, "n")])
    assert select_layers(two, chosen, Criteria())["detected"].tolist() == [False, False]


def test_every_function_that_a_caption_names_is_there():
    template = (ROOT / "src/probesteer/report/templates/report.md.j2").read_text()
    named = set(re.findall(r"`(probesteer(?:\.\w+)+)`", template))
    for name in named - {"probesteer.report.checks", "probesteer.report.sceptic"}:
        module, _, function = name.rpartition(".")
        assert hasattr(import_module(module), function), name
    assert len(named) >= 20
