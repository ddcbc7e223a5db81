"""Evidence without generation beside the measured slope."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from probesteer.compare.foretold import EVIDENCE, foretold, points


def cells(count: int, noise: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    slope = rng.standard_normal(count)
    evidence = {name: slope + noise * rng.standard_normal(count) for name in EVIDENCE}
    return pd.DataFrame({**evidence, "measured_slope": slope})


def test_the_correlation_is_spearmans_with_an_interval_around_it_and_none_of_few_points():
    table = cells(40, 1.0)
    found = foretold(table).set_index("evidence")
    for column, name in EVIDENCE.items():
        row = found.loc[name]
        assert row["spearman"] == pytest.approx(spearmanr(table[column], table["measured_slope"]).statistic)
        assert row["spearman_lower"] < row["spearman"] < row["spearman_upper"] and row["points"] == 40
    assert foretold(cells(7, 1.0)).empty


def test_the_interval_of_spearmans_correlation_covers():
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # of normal variables that correlate by the root of a half
    found = [foretold(cells(30, 1.0, seed)).iloc[0] for seed in range(120)]
    covers = np.mean([row["spearman_lower"] <= truth <= row["spearman_upper"] for row in found])
    assert 0.92 <= covers <= 0.99


def test_a_point_is_a_steered_block_with_its_dose_in_residual_norms():
    at = pd.DataFrame({"model": ["a", "b"], "layer": [1, 2]})
    trends = at.assign(forecast_slope=[1.0, 2.0], measured_slope=[3.0, 4.0])
    doses = at.assign(unit="kl", push=[6.0, 8.0])
    forecast, detection = at.assign(cv_auroc=0.9, residual_norm=2.0), at.assign(split_cosine=0.5)
    assert points(trends, forecast, detection, doses)["kl_dose"].tolist() == [-3.0, -4.0]
    assert points(pd.DataFrame(), forecast, detection, pd.DataFrame()).empty
