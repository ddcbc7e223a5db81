"""What is found beside size and training: joined as the tables say, and correlated where there are enough models."""

import pandas as pd
import pytest
from scipy.stats import spearmanr

from probesteer.compare.scale import scale, scaling

SIZES = [9e6, 1e6, 4e6, 2e6, 8e6, 3e6]


def tables(count: int) -> list[pd.DataFrame]:
    names = [f"m{number}" for number in range(count)]
    sizes = SIZES[:count]
    models = pd.DataFrame({"name": names, "parameters": sizes})
    council = pd.DataFrame({"model": names, "layer": 3, "auroc": [0.5 + size / 2e7 for size in sizes]})
    trends = pd.DataFrame([(name, at, change) for name in names for at, change in ((2, 0.1), (4, 0.3))])
    trends.columns = ["model", "layer", "rate_change"]
    push = [
        (name, at, unit, 1e6 / size) for name, size in zip(names, sizes, strict=True) for at in (2, 4) for unit in ("kl", "x")
    ]
    doses = pd.DataFrame(push, columns=["model", "layer", "unit", "push"])
    forecast = pd.DataFrame([(name, at, 2.0) for name in names for at in (2, 4)], columns=["model", "layer", "residual_norm"])
    return [models, council, trends, doses, forecast]


def test_a_row_per_model_has_its_best_block_and_its_dose_and_what_grows_correlates():
    table = scale(*tables(6), "kl")
    assert (
        list(table["parameters"]) == sorted(SIZES) and set(table["steered_layer"]) == {4} and set(table["rate_change"]) == {0.3}
    )
    assert table["dose"].tolist() == pytest.approx([5e5 / size for size in sorted(SIZES)])
    found = scaling(table).set_index("measure")
    assert set(found.index) == {"auroc", "dose"} and set(found["against"]) == {"parameters"} and set(found["models"]) == {6}
    assert found.loc["auroc", "spearman"] == pytest.approx(1) and found.loc["dose", "spearman"] == pytest.approx(-1)
    assert 0.6 < found.loc["auroc", "spearman_lower"] < 0.7 and found.loc["auroc", "spearman_upper"] == pytest.approx(1)
    assert found.loc["auroc", "p"] == pytest.approx(2 / 720)  # six models in one order or its reverse
    mixed = table.assign(auroc=[0.6, 0.8, 0.7, 0.9, 0.65, 0.85], training_step=range(6))
    rows = scaling(mixed).set_index(["against", "measure"])
    expected = spearmanr(mixed["parameters"], mixed["auroc"])
    assert rows.loc[("parameters", "auroc"), ["spearman", "p"]].tolist() == pytest.approx([expected.statistic, expected.pvalue])
    assert rows.loc[("training_step", "auroc"), "spearman_lower"] < expected.statistic


def test_of_few_models_or_without_steering_nothing_is_correlated():
    assert scaling(scale(*tables(4), "kl")).empty
    models, council, *_ = tables(6)
    none = pd.DataFrame(columns=["model", "layer", "unit", "push"])
    table = scale(models, council, pd.DataFrame(), none, pd.DataFrame(), "separation")
    assert table[["rate_change", "dose", "steered_layer", "training_step"]].isna().all().all()
    assert set(scaling(table)["measure"]) == {"auroc"}
