"""What a sweep may be called: broken text, one scenario of several, a large grid or any push do not make it steerable."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multinomial
from simulated import judged, sweep

from probesteer.behaviour.changes import mean_change, paired_change
from probesteer.behaviour.outcomes import prompting_table
from probesteer.behaviour.power import detectable_change, power
from probesteer.behaviour.specificity import compared, specificity
from probesteer.behaviour.trends import trends
from probesteer.study.cells import dose_pairs
from probesteer.study.sections import Criteria


@pytest.mark.parametrize(
    ("alphas", "limit", "pairs"),
    [
        ([-40, -5, -3, -1, 0, 1, 3, 5, 40], 5, [(-5, 5), (-3, 3)]),
        ([-5, 0, 5], 5, [(-5, 5)]),
        ([0, 1, 2], 5, [(0, 2)]),
        ([-5, 0, 1, 5], 5, [(-5, 5), (0, 1)]),
        ([1], 5, [(0, 1)]),
    ],
)
def test_flipped_directions_are_compared_at_the_extremes_and_then_inwards(alphas, limit, pairs):
    assert dose_pairs(alphas, limit) == pairs


def test_a_change_of_paired_rates_has_the_interval_of_newcombe():
    """The worked example of his paper's method 10: of 50, 36 are both, 12 the second only, 2 the first only, none neither."""
    low, high = np.repeat([1.0, 0, 1], [36, 12, 2]), np.repeat([1.0, 1, 0], [36, 12, 2])
    assert paired_change(low, high) == pytest.approx((0.2, 0.0569, 0.3404), abs=1e-4)
    correlated = np.repeat([1.0, 0, 1, 0], [20, 12, 2, 16]), np.repeat([1.0, 1, 0, 0], [20, 12, 2, 16])
    assert paired_change(*correlated) == pytest.approx((0.2, 0.0562, 0.3292), abs=1e-4), "phi less half a count"
    assert np.isnan(paired_change(low, np.full(50, np.nan))).all()
    assert mean_change([(0.4, 0.1, 0.7)] * 4) == pytest.approx((0.4, 0.25, 0.55))


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.3, 0.7), (0.1, 0.9)])
def test_the_interval_of_a_change_covers_with_ten_samples(rates):
    """Over every table of ten independent samples, by its probability."""
    covered = 0.0
    for both, up, down in itertools.product(range(11), repeat=3):
        if (neither := 10 - both - up - down) >= 0:
            outcomes = np.repeat([[1.0, 1.0], [0, 1], [1, 0], [0, 0]], [both, up, down, neither], axis=0)
            low, high = rates
            shares = [low * high, (1 - low) * high, low * (1 - high), (1 - low) * (1 - high)]
            _, lower, upper = paired_change(*outcomes.T)
            covered += multinomial.pmf([both, up, down, neither], 10, shares) * (lower <= high - low <= upper)
    assert 0.93 <= covered <= 0.98


def test_breaking_text_on_one_side_is_not_steering():
    """A direction that does nothing, but breaks text sooner on its negative side."""
    verdicts = [judged(sweep(seed, coherent=(0.2, 0.9))) for seed in range(20)]
    assert np.mean([row.rate_change > 0.2 for row in verdicts]) > 0.9  # which an earlier rule called steerable
    assert np.mean([row.steerable == "yes" for row in verdicts]) <= 0.05


def test_one_scenario_of_three_that_moves_is_named():
    found = [judged(sweep(seed, changes=(0, 0.9, 0))) for seed in range(20)]
    assert np.mean([row.steerable == "yes" for row in found]) <= 0.1
    assert all("s1" in row.holds_in for row in found)
    assert np.mean([row.steerable == "in some scenarios" for row in found]) >= 0.8


def test_a_true_change_in_all_scenarios_is_steerable():
    found = [judged(sweep(seed, changes=(0.5,) * 5)) for seed in range(20)]
    assert np.mean([row.steerable == "yes" for row in found]) >= 0.9


def test_a_hundred_perfect_cells_are_all_steerable_since_the_permutations_follow():
    one = sweep(0, changes=(0.9,) * 2)
    few, many = (trends(one, 5.0, permutations=count)["p"].item() for count in (2_000, 20_000))
    assert 101 * few > 0.05 > 101 * many


def rates_of(probe: tuple[float, ...], *flipped: tuple[float, ...]) -> pd.DataFrame:
    names = ["probe", *(f"flipped-{number}" for number in range(len(flipped)))]
    return pd.DataFrame([probe, *flipped], index=names, columns=[-5.0, -3.0, 3.0, 5.0])


def test_specificity_ranks_the_probe_among_flipped_directions_of_either_sign():
    found = compared(rates_of((0.1, 0.3, 0.7, 0.9), *[(0.5, 0.5, 0.5, 0.6)] * 18, (0.95, 0.6, 0.5, 0.1)), [(-5.0, 5.0)])
    assert (found["rate_change"], found["p"], found["saturated"]) == (pytest.approx(0.8), pytest.approx(2 / 40), False)


def test_a_saturated_dose_gives_way_to_the_next_lower_one():
    """At +-5 the probe and half of the flipped directions are at the ceiling; at +-3 the probe stands out."""
    full = rates_of((0.0, 0.2, 0.8, 1.0), *[(0.0, 0.4, 0.6, 1.0)] * 10, *[(0.5, 0.5, 0.5, 0.5)] * 9)
    pairs = [(-5.0, 5.0), (-3.0, 3.0)]
    found = compared(full, pairs)
    assert (found["alpha_low"], found["alpha_high"], found["saturated"], found["p"]) == (-3.0, 3.0, False, 1 / 40)
    stuck = compared(full, pairs[:1])
    assert stuck["saturated"] and stuck["p"] == 11 / 40


def test_directions_of_chance_are_seldom_specific():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(1000):
        change = rng.normal(0, 0.15, 20).clip(-0.8, 0.8)
        rates = pd.DataFrame({-5.0: 0.5 - change / 2, 5.0: 0.5 + change / 2})
        rates.index = ["probe", *(f"flipped-{number}" for number in range(19))]
        p.append(compared(rates, [(-5.0, 5.0)])["p"])
    assert 0.035 <= np.mean(np.array(p) <= 0.05) <= 0.065


def test_the_specificity_of_a_sweep_is_a_row_per_layer_and_none_without_flipped_arms():
    probe = sweep(0, changes=(0.8,) * 2).assign(arm=lambda table: np.where(table["alpha"] == 0, "baseline", "probe"))
    flipped = [sweep(seed, changes=(0.0,) * 2).query("alpha != 0").assign(arm=f"flipped-{seed}") for seed in range(1, 10)]
    found = specificity(pd.concat([probe, *flipped]), [(-5.0, 5.0)])
    assert found[["model", "layer", "arms"]].values.tolist() == [["m", 0, 9]] and found["p"].item() == 0.05
    assert specificity(probe, [(-5.0, 5.0)]).empty


def test_prompts_that_change_nothing_are_seen():
    rng = np.random.default_rng(0)
    rows = [
        ("m", arm, scenario, sample, bool(rng.random() < rate), True)
        for arm, rate in (("prompted-positive", 0.9), ("prompted-negative", 0.1))
        for scenario in "ab"
        for sample in range(20)
    ]
    table = pd.DataFrame(rows, columns=["model", "arm", "scenario", "sample", "positive", "coherent"])
    table["negative"] = ~table["positive"]
    moved, same = (prompting_table(one).iloc[0] for one in (table, table.assign(positive=True)))
    assert moved["change"] > 0.6 and moved["change_lower"] > 0.4 and moved["rate_positive"] > 0.8
    assert same["change"] == 0 and same["change_lower"] < 0


def test_power_is_that_of_the_whole_verdict():
    size = ((-5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0), 5, 20, 4, 19, Criteria())
    assert power(0.2, *size) <= 0.1 and power(0.4, *size) >= 0.8 and power(0.6, *size) >= 0.99
    assert detectable_change(*size) == 0.4
    assert np.isnan(detectable_change(*size[:2], 1, *size[3:]))  # one sample a scenario has no interval
    assert np.isnan(detectable_change(*size[:4], 8, Criteria()))  # of 8 flipped directions p is at least 1/18
