"""Agreement and emergence: the right values where the truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from probesteer.compare.agreement import agreement, correlation, matrix
from probesteer.compare.emergence import BEHAVIOUR, emergence
from probesteer.compare.readings import layer_table, read_readings
from probesteer.detection.activations import LayerActivations
from probesteer.detection.design import Design
from probesteer.files.tables import write_table


def texts(pairs: int = 60) -> Design:
    group = np.repeat(np.arange(pairs), 2)
    return Design(np.tile([True, False], pairs), np.array([f"p{g:03d}" for g in group]), group % 2 == 0, group % 5)


def cache(design: Design, activations: np.ndarray) -> LayerActivations:
    return LayerActivations(activations, design, np.ones(len(activations)), {}, {}, [], {})


def readings(tmp_path, name, design, activations):
    path = tmp_path / f"{name}.parquet"
    write_table(layer_table(cache(design, activations), 0, seed=0), path)
    return read_readings(path)


def test_a_correlation_is_pearsons_and_within_strata_that_of_what_the_sides_leave():
    rng = np.random.default_rng(0)
    side = np.tile([True, False], 40)
    first, second = rng.standard_normal((2, 80)) + 5 * side
    groups = np.arange(80) // 2
    assert correlation(first, second, groups)[0] == pytest.approx(pearsonr(first, second)[0])
    left = [values - np.where(side, values[side].mean(), values[~side].mean()) for values in (first, second)]
    assert correlation(first, second, groups, side)[0] == pytest.approx(pearsonr(*left)[0])
    assert np.isnan(correlation(first, np.ones(80), groups)).all()


@pytest.mark.parametrize("truth", [0.0, 0.7])
def test_the_interval_of_a_correlation_covers_when_texts_come_in_clusters(truth):
    rng, hits, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        shared = np.repeat(rng.standard_normal((2, 20)), 2, axis=1) + rng.standard_normal((2, 40))
        first, second = shared[0], truth * shared[0] + np.sqrt(1 - truth**2) * shared[1]
        _, lower, upper = correlation(first, second, np.arange(40) // 2)
        hits += lower <= truth <= upper
    assert 0.925 <= hits / runs <= 0.985


def test_models_with_one_code_agree_as_much_as_a_model_with_itself_and_others_do_not(tmp_path):
    rng, design = np.random.default_rng(2), texts()
    code = rng.standard_normal((120, 24)) + 0.4 * design.labels[:, None]
    rotation = np.linalg.qr(rng.standard_normal((24, 24)))[0]
    other = rng.standard_normal((120, 40)) + 0.4 * design.labels[:, None]
    models = {"a": code, "b": code @ rotation, "c": other}
    found = {name: readings(tmp_path, name, design, values) for name, values in models.items()}
    rows = agreement(found, dict.fromkeys(models, 1), dict.fromkeys(models, 0)).set_index(["model", "other"])
    same, different = rows.loc[("a", "b")], rows.loc[("a", "c")]
    assert same["r"] == pytest.approx(1) and same["of_ceiling"] == pytest.approx(1, abs=1e-6)
    assert same["halves_model"] == pytest.approx(same["halves_other"]) and same["halves_model"] < 0.97
    assert different["r_within_lower"] < 0 < different["r_within_upper"] and different["r"] > different["r_within"]
    whole = matrix(rows.reset_index(), ["a", "b", "c"])
    assert whole.loc["b", "a"] == same["r"] and whole.loc["a", "a"] == same["halves_model"]


def test_layers_are_compared_at_the_same_depth(tmp_path):
    rng, design = np.random.default_rng(3), texts(20)
    one = readings(tmp_path, "one", design, rng.standard_normal((40, 8)))

    def deep(layers):
        return type(one)(one.labels, one.groups, dict.fromkeys(layers, one.scores[0]), dict.fromkeys(layers, one.halves[0]))

    rows = agreement({"a": deep([-1, 0, 1, 2]), "b": deep(range(-1, 9))}, {"a": 3, "b": 9}, {"a": 1, "b": 8})
    assert list(zip(rows["layer"], rows["other_layer"], strict=True)) == [(-1, -1), (0, 2), (1, 5), (2, 8), (1, 8)]
    assert rows["selected"].tolist() == [False] * 4 + [True]


def test_a_block_emerges_where_its_interval_clears_the_null_and_the_plateau_is_around_the_peak():
    area = [0.5, 0.55, 0.8, 0.93, 0.95, 0.91, 0.7]
    rows = [
        {"model": "m", "layer": layer, "auroc": value, "auroc_lower": value - 0.05, "auroc_upper": value + 0.04}
        for layer, value in enumerate(area, -1)
    ]
    detection = pd.DataFrame(rows).assign(permutation_auroc_upper=0.7)
    factor = {"model": "m", "layer": 3, "metric": "factor_auroc", "of": "tone", "estimate": 0.6, "lower": 0.5, "upper": 0.7}
    found = emergence(detection, pd.DataFrame([factor]), {"m": 6}).set_index("what")
    own = found.loc[BEHAVIOUR]
    assert (own["first"], own["peak"], own["plateau_from"], own["plateau_to"]) == (1, 3, 2, 4)
    assert own["first_depth"] == pytest.approx(2 / 6) and own["embeddings"] == 0.5
    assert np.isnan(found.loc["factor tone", "first"]) and found.loc["factor tone", "peak"] == 3
