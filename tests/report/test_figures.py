"""Figures: one style, four files each, the same bytes for the same data; many models still fit."""

import re
import warnings
import xml.etree.ElementTree as ET
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from probesteer.report.figures import FIGURES, comparing, reading, steering
from probesteer.report.figures.style import DARK, INK, look, save, spread
from probesteer.report.views import MOST_PANELS
from probesteer.study.labels import FIGURE_TITLES


def detection(models: int, layers: int = 3) -> pd.DataFrame:
    rows = [
        {"model": f"m{model:02}", "layer": layer, "auroc": 0.6 + 0.1 * layer, "permutation_auroc": 0.5}
        for model in range(models)
        for layer in range(-1, layers)
    ]
    table = pd.DataFrame(rows)
    return table.assign(auroc_lower=table["auroc"] - 0.1, auroc_upper=table["auroc"] + 0.1)


def council(models: int) -> pd.DataFrame:
    table = detection(models).query("layer == 1").reset_index(drop=True)
    for name in ("random_auroc", "matched_auroc", "permutation_auroc", "residualised_auroc"):
        table = table.assign(**{name: 0.5, f"{name}_lower": 0.3, f"{name}_upper": 0.7})
    return table


def details(models: int) -> pd.DataFrame:
    rows = [{"model": f"m{model:02}", "metric": "surface_auroc", "of": "length", "layer": pd.NA} for model in range(models)]
    return pd.DataFrame(rows).assign(estimate=0.6, lower=0.5, upper=0.7).astype({"layer": "Int64"})


def arms(models: int) -> pd.DataFrame:
    rows = [
        {"model": f"m{model:02}", "layer": 1, "arm": arm, "alpha": alpha, "rate": 0.5 + alpha / 4, "samples": 100}
        for model in range(models)
        for arm, alphas in (("probe", (-1.0, 0.0, 1.0)), ("flipped-1", (-1.0, 1.0)), ("random-1", (-1.0, 1.0)))
        for alpha in alphas
    ]
    return pd.DataFrame(rows).assign(rate_lower=0.1, rate_upper=0.9)


def rates(models: int, scenarios: int = 2) -> pd.DataFrame:
    rows = [
        {"model": f"m{model:02}", "layer": 1, "scenario": f"s{scenario}", "alpha": alpha}
        for model in range(models)
        for scenario in range(scenarios)
        for alpha in (-1.0, 0.0, 1.0)
    ]
    table = pd.DataFrame(rows).assign(positive=0.5, positive_coherent=0.4, coherent=0.9, lower=0.3, upper=0.7, samples=20)
    return table.assign(rate_change=0.3, rate_change_lower=0.1, rate_change_upper=0.5, stuck="")


def trends(models: int) -> pd.DataFrame:
    table = pd.DataFrame([{"model": f"m{model:02}", "layer": layer} for model in range(models) for layer in (1, 2)])
    return table.assign(rate_change=0.3, rate_change_lower=0.1, rate_change_upper=0.5, flipped_largest=0.2)


def correlation(models: int) -> pd.DataFrame:
    table = pd.DataFrame([{"model": f"m{model:02}", "scope": scope} for model in range(models) for scope in ("overall", "s0")])
    table = table.assign(author="m00", against="score", texts="steered", block=1)
    return table.assign(pearson=0.5, pearson_lower=0.2, pearson_upper=0.7)


DRAW = {
    "auroc_by_layer": lambda models: reading.auroc_by_layer(detection(models), council(models), 0.9),
    "random_baseline": lambda models: reading.random_baseline(council(models)),
    "lexical_ablation": lambda models: reading.lexical_ablation(council(models), details(models)),
    "cross_model_layers": lambda models: reading.cross_model_layers(detection(models), council(models)),
    "dose_response": lambda models: steering.dose_response(arms(models), rates(models), "separation"),
    "baseline_behaviour": lambda models: steering.baseline_behaviour(rates(models)),
    "resistance_by_scenario": lambda models: steering.resistance_by_scenario(
        rates(models).query("alpha == 1").drop(columns="stuck"), rates(models)
    ),
    "steering_by_layer": lambda models: steering.steering_by_layer(
        trends(models).drop(columns="flipped_largest"), trends(models)
    ),
    "behavioural_correlation": lambda models: steering.behavioural_correlation(correlation(models)),
}


def agreed(names: list[str]) -> pd.DataFrame:
    rows = [{"model": one, "other": other} for one, other in combinations(names, 2)]
    return pd.DataFrame(rows).assign(selected=True, r=0.5, halves_model=0.9, halves_other=0.8)


def carried(names: list[str]) -> pd.DataFrame:
    rows = [{"source": one, "target": other} for one, other in permutations(names, 2)]
    return pd.DataFrame(rows).assign(method="ridge", cosine=-0.25)


def patched(names: list[str]) -> pd.DataFrame:
    rows = [{"model": name, "site": site, "layer": layer} for name in names for site in comparing.SITES for layer in range(4)]
    return pd.DataFrame(rows).assign(kind="denoising", positions="response", share=0.5)


def evidence(names: list[str]) -> pd.DataFrame:
    rows = [{"model": name, "layer": layer, "measured_slope": layer / 3} for name in names for layer in range(4)]
    return pd.DataFrame(rows).assign(forecast_slope=1.0, cv_auroc=0.9, split_cosine=0.5, kl_dose=np.nan)


BETWEEN_MODELS = {
    "foretold": lambda names: comparing.foretold(evidence(names)),
    "agreement": lambda names: comparing.agreement(agreed(names), names),
    "transfer": lambda names: comparing.transfer(carried(names)),
    "causes": lambda names: comparing.causes(patched(names)),
}


@pytest.mark.parametrize("models", [2, 30])
@pytest.mark.parametrize("name", BETWEEN_MODELS)
def test_a_figure_of_what_is_between_models_fits_and_holds_every_number(name, models):
    names = [f"m{number:02}" for number in range(models)]
    drawn = BETWEEN_MODELS[name](names)
    width, height = drawn.figure.get_size_inches()
    assert width <= 7.5 and height <= 40
    assert {*names} == {*drawn.data.get("model", drawn.data.get("source")), *drawn.data.get("other", [])}
    written = {text.get_text() for text in drawn.figure.axes[0].texts}
    assert written == (
        {"agreement": {"0.50", "0.90", "0.80"}, "transfer": {"-0.25"}}.get(name, set()) if models == 2 else set()
    )


def test_every_figure_is_drawn_named_and_listed():
    assert set(FIGURES) == set(FIGURE_TITLES) == {*DRAW, *BETWEEN_MODELS}


@pytest.mark.parametrize("models", [1, 3, 100])
@pytest.mark.parametrize("name", DRAW)
def test_a_figure_of_one_model_or_of_a_hundred_shows_its_numbers_with_their_intervals(name, models):
    drawn = DRAW[name](models)
    width, height = drawn.figure.get_size_inches()
    assert width <= 7.5 and height <= 40
    assert len(drawn.figure.axes) <= MOST_PANELS + 1
    assert any(column.endswith("_lower") for column in drawn.data) and drawn.data["model"].nunique() == models


@pytest.mark.parametrize("name", ["auroc_by_layer", "dose_response"])
def test_four_files_and_the_same_bytes_for_the_same_data(name, tmp_path):
    written = []
    for folder in ("a", "b"):
        save(DRAW[name](2), tmp_path / folder / name)
        written.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert written[0] == written[1] and set(written[0]) == {f"{name}.{kind}" for kind in ("png", "svg", "pdf", "csv")}
    svg = written[0][f"{name}.svg"].decode()
    assert any("m00" in (text.text or "") for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
    assert "prefers-color-scheme: dark" in svg and f"fill: {INK}" in svg and DARK[INK] in svg
    assert len(pd.read_csv(tmp_path / "a" / f"{name}.csv")) == len(DRAW[name](2).data)


def test_every_figure_stands_in_the_report_with_the_function_that_draws_it():
    template = (ROOT / "src/probesteer/report/templates/report.md.j2").read_text()
    called = dict(re.findall(r'figure\("(\w+)", "[^"]+", "([\w.]+)"', template))
    assert set(called) == set(DRAW)
    for name, function in called.items():
        assert hasattr({"reading": reading, "steering": steering}[function.split(".")[0]], name) and function.endswith(
            f".{name}"
        )


def test_no_two_of_the_models_shown_have_colour_and_marker_in_common():
    looks = [tuple(look(number).values()) for number in range(MOST_PANELS)]
    assert len(set(looks)) == MOST_PANELS


def test_labels_are_moved_apart_as_little_as_it_takes_and_keep_their_order():
    assert spread([0.0, 1.0, 5.0], 0.5).tolist() == [0.0, 1.0, 5.0]
    assert spread([1.0, 1.0], 0.5).tolist() == [0.75, 1.25]
    crowded = spread(np.zeros(5), 1.0)
    assert np.diff(crowded).tolist() == [1.0] * 4 and crowded.mean() == 0
    assert spread([], 1.0).tolist() == []


def test_correlations_without_an_interval_are_not_drawn_and_none_at_all_warn_of_nothing():
    two = correlation(2)
    two.loc[two["model"] == "m01", "pearson_lower"] = np.nan
    assert {*steering.behavioural_correlation(two).data["model"]} == {"m00"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert steering.behavioural_correlation(two.assign(pearson_lower=np.nan)).data.empty
