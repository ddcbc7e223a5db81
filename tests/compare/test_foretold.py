"""Evidence without generation beside the measured slope."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from probesteer.compare.foretold import EVIDENCE, foretold, points


def cells(models: int, blocks: int, noise: float, seed: int = 0, alike: float = 0.0) -> pd.DataFrame:
    """Slopes and evidence of which a share `alike` of the variance is that of the model, in which they go together as well."""
    rng = np.random.default_rng(seed)
    model = np.repeat(np.arange(models), blocks)

    def drawn() -> np.ndarray:
        own = rng.standard_normal((models, len(EVIDENCE)))[model]
        return np.sqrt(alike) * own + np.sqrt(1 - alike) * rng.standard_normal((len(model), len(EVIDENCE)))

    slope = drawn()[:, :1]
    evidence = pd.DataFrame(slope + noise * drawn(), columns=[*EVIDENCE])
    return evidence.assign(model=model, measured_slope=slope)


def test_the_correlation_is_spearmans_with_an_interval_around_it_and_none_of_few_points():
    table = cells(8, 5, 1.0)
    found = foretold(table).set_index("evidence")
    for column, name in EVIDENCE.items():
        row = found.loc[name]
        expected = spearmanr(table[column], table["measured_slope"])
        assert row["spearman"] == pytest.approx(expected.statistic)
        assert row["spearman_lower"] < row["spearman"] < row["spearman_upper"]
        assert (row["points"], row["models"]) == (40, 8) and 0 < row["p"] < 0.05
    two = foretold(cells(2, 20, 1.0)).iloc[0]  # of two models nothing is known of others: over blocks
    assert two["models"] == 2 and two["spearman_upper"] - two["spearman_lower"] < 1
    assert foretold(cells(1, 7, 1.0)).empty


TRUTH = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # of normal variables that correlate by the root of a half


@pytest.mark.parametrize(("models", "blocks", "alike"), [(30, 1, 0.0), (7, 6, 0.0), (7, 6, 0.5), (7, 6, 0.9), (4, 6, 0.9)])
def test_the_interval_of_spearmans_correlation_covers_where_blocks_of_a_model_are_alike_too(models, blocks, alike):
    found = [foretold(cells(models, blocks, 1.0, seed, alike)).iloc[0] for seed in range(120)]
    covers = np.mean([row["spearman_lower"] <= TRUTH <= row["spearman_upper"] for row in found])
    assert 0.9 <= covers <= 1


def test_a_point_is_a_steered_block_with_its_dose_in_residual_norms():
    at = pd.DataFrame({"model": ["a", "b"], "layer": [1, 2]})
    trends = at.assign(forecast_slope=[1.0, 2.0], measured_slope=[3.0, 4.0])
    doses = at.assign(unit="kl", push=[6.0, 8.0])
    forecast, detection = at.assign(cv_auroc=0.9, residual_norm=2.0), at.assign(split_cosine=0.5)
    assert points(trends, forecast, detection, doses)["kl_dose"].tolist() == [-3.0, -4.0]
    assert points(pd.DataFrame(), forecast, detection, pd.DataFrame()).empty
