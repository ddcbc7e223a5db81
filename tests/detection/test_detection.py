"""Detection finds what is there, refuses what is not, and its intervals and nulls hold."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score

from probesteer.detection import selection
from probesteer.detection.design import Design
from probesteer.detection.heldout import evaluate
from probesteer.detection.robustness import erased, held_out_auroc, methods, out_of, scored
from probesteer.detection.summary import detection_rows
from probesteer.detection.surface import told_by
from probesteer.directions.methods import METHODS, mean_difference
from probesteer.directions.probe import Probe, load_probe, save_probe
from probesteer.errors import InputError
from probesteer.files.tables import write_table
from probesteer.lm.erasure import erase
from probesteer.report.views import coinciding, wide
from probesteer.stats import (
    auroc,
    auroc_difference,
    auroc_interval,
    holm,
    jackknife_interval,
    mean_auroc_interval,
    mean_interval,
    permutation_p,
    share_interval,
    wilson_interval,
)


def data(pairs: int, hidden: int, effect: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Pairs in two splits and four scenarios, separated along the first axis by `effect` standard deviations."""
    rng = np.random.default_rng(seed)
    labels = np.tile([True, False], pairs)
    activations = rng.standard_normal((2 * pairs, hidden))
    activations += np.repeat(rng.standard_normal((pairs, hidden)), 2, axis=0)
    activations[:, 0] += effect * labels
    pair = np.repeat(np.arange(pairs), 2)
    return activations.astype(np.float32), labels, pair, pair % 2 == 0, (pair // 2) % 4


def test_a_planted_direction_is_found():
    result = evaluate(*data(60, 16, 4.0))
    assert result.auroc.estimate > 0.95
    assert result.auroc.lower > 0.8
    assert result.permutation_p.estimate == pytest.approx(1 / 1001)
    assert abs(result.permutation_auroc.estimate - 0.5) < 0.05
    assert result.out_of_scenario_auroc.lower > 0.8
    assert result.cv_auroc.estimate > 0.9
    assert result.test_groups.estimate == 30


def test_noise_is_not_called_a_direction():
    p_values = [evaluate(*data(24, 8, 0.0, seed)).permutation_p.estimate for seed in range(30)]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.3
    assert 0.3 < np.mean(p_values) < 0.7


def test_the_threshold_comes_from_the_training_split():
    activations, labels, groups, train, folds = data(40, 8, 6.0)
    shifted = activations.copy()
    shifted[~train, 0] += 100  # a threshold from the test scores would not mind
    assert evaluate(activations, labels, groups, train, folds).accuracy.estimate > 0.9
    assert evaluate(shifted, labels, groups, train, folds).accuracy.estimate == 0.5


def test_dprime_is_held_out_and_over_the_pooled_deviation():
    activations, labels, groups, train, folds = data(30, 8, 3.0)
    result = evaluate(activations, labels, groups, train, folds)
    direction, _ = mean_difference(activations[train & labels], activations[train & ~labels])
    positive, negative = activations[~train & labels] @ direction, activations[~train & ~labels] @ direction
    pooled = np.sqrt((positive.var(ddof=1) + negative.var(ddof=1)) / 2)
    assert result.dprime.estimate == pytest.approx((positive.mean() - negative.mean()) / pooled, rel=1e-4)
    assert result.std_positive.estimate == pytest.approx(positive.std(), rel=1e-4)


def test_the_test_split_plays_no_part_in_choosing_a_layer():
    activations, labels, groups, train, folds = data(30, 8, 1.0)
    other = activations.copy()
    other[~train] = 0.1 * np.arange(8)
    first, second = (evaluate(x, labels, groups, train, folds).cv_auroc for x in (activations, other))
    assert first == second


def test_a_single_scenario_is_cross_validated_over_pairs():
    activations, labels, groups, train, folds = data(40, 8, 4.0)
    result = evaluate(activations, labels, groups, train, np.zeros_like(folds))
    assert result.cv_auroc.estimate > 0.9
    left_out = selection.merged_folds(np.zeros_like(folds), groups)
    assert len(set(left_out)) == 5 and (left_out[::2] == left_out[1::2]).all()


@pytest.mark.parametrize("scenarios", [1, 2])
def test_nested_cross_validation_of_few_scenarios_is_over_groups(scenarios):
    activations, labels, groups, train, _ = data(40, 8, 4.0)
    noise = data(40, 8, 0.0, seed=1)[0]
    design = Design(labels, groups, train, groups // 2 % scenarios)
    assert selection.select({0: noise, 1: activations}, design).nested_auroc > 0.9


def test_too_few_groups_for_nested_folds_give_none():
    activations, labels, _, train, folds = data(10, 8, 4.0)
    two = np.where(train, 0, 2) + np.repeat(np.arange(10), 2) // 2 % 2
    assert np.isnan(selection.select({0: activations}, Design(labels, two, train, folds)).nested_auroc)


@pytest.mark.parametrize("scenarios", [2, 3, 5])
def test_a_direction_of_each_scenarios_own_is_not_read_in_the_one_left_out(scenarios):
    found = []
    for seed in range(20):
        activations, labels, groups, _, _ = data(30, 64, 0.0, seed)
        folds = groups // 2 % scenarios
        own = np.linalg.qr(np.random.default_rng(seed).standard_normal((64, scenarios)))[0].T
        private, shared = activations + 6 * own[folds] * labels[:, None], activations + 6 * own[0] * labels[:, None]
        design = Design(labels, groups, groups % 2 == 0, folds)
        found.append([[value.estimate for value in out_of(x, design, folds)] for x in (private, shared)])
    private, shared = np.array(found).transpose(1, 2, 0)
    assert 0.4 < private[0].mean() < 0.6 and private[1].max() < 1.5
    assert shared[0].min() > 0.95 and shared[1].min() > 2.8


def test_scores_are_compared_within_a_scenario_left_out():
    activations, labels, groups, train, folds = data(40, 8, 4.0)
    moved = activations + 100 * np.eye(8)[0] * folds[:, None]  # each scenario has a level of its own
    design = Design(labels, groups, train, folds)
    assert out_of(moved, design, folds)[0].estimate > 0.95
    assert np.isnan(out_of(moved, design, np.zeros(80))[0].estimate), "a single scenario cannot be left out"


def test_an_outlier_dimension_blinds_the_mean_difference_and_another_method_is_said_to_read_it():
    activations, labels, groups, train, folds = data(60, 16, 4.0)
    activations[:, 1] = 50 * np.random.default_rng(5).standard_normal(120)
    rows = pd.DataFrame(list(methods(activations, Design(labels, groups, train, folds)))).set_index(["metric", "of"])
    assert rows.loc[("method_auroc", "mean_difference"), "estimate"] < 0.8 < rows.loc[("method_auroc", "lda"), "estimate"]
    assert rows.loc[("method_gain", "lda"), "lower"] > 0 and ("method_gain", "mean_difference") not in rows.index


@pytest.mark.parametrize("hidden", [8, 300])
def test_erasure_leaves_linear_probes_nothing_where_one_direction_tells_the_sides_apart(hidden):
    activations, labels, groups, train, folds = data(60, hidden, 6.0)
    (row,) = erased(activations, Design(labels, groups, train, folds))
    assert row["estimate"] == 0.5 and held_out_auroc(activations, Design(labels, groups, train, folds)).lower > 0.8


def test_erasure_leaves_the_training_texts_no_difference_of_class_means():
    activations, labels, _, train, _ = data(40, 8, 2.0)
    left = erase(activations, labels, train)
    assert np.abs(left[train & labels].mean(0) - left[train & ~labels].mean(0)).max() < 1e-9
    assert np.abs(activations[train & labels].mean(0) - activations[train & ~labels].mean(0)).max() > 1


def test_a_control_task_is_learnt_where_pairs_share_a_context_and_only_there():
    activations, labels, groups, train, folds = data(30, 512, 0.0)
    assert evaluate(3 * activations, labels, groups, train, folds).control_task_auroc.estimate > 0.9
    alone = np.random.default_rng(0).standard_normal(activations.shape)
    result = evaluate(alone, labels, groups, train, folds)
    assert abs(result.control_task_auroc.estimate - 0.5) < 0.1
    assert result.selectivity.estimate == result.auroc.estimate - result.control_task_auroc.estimate


def test_a_generator_a_side_is_found():
    _, labels, groups, train, folds = data(20, 4, 0.0)
    design = Design(labels, groups, train, folds)
    assert scored(told_by(np.where(labels, "a", "b"), design), design).estimate == 1
    assert scored(told_by(np.where(groups % 3 == 0, "a", "b"), design), design).estimate == 0.5


def test_evaluation_is_deterministic_in_its_seed():
    assert evaluate(*data(20, 8, 1.0), seed=3) == evaluate(*data(20, 8, 1.0), seed=3)
    assert evaluate(*data(20, 8, 1.0), seed=3) != evaluate(*data(20, 8, 1.0), seed=4)


def test_permutations_keep_groups_whole():
    _, labels, groups, *_ = data(10, 4, 0.0)
    permuted = selection.permuted_labels(labels, groups, 500, np.random.default_rng(0))
    flipped = permuted != labels[:, None]
    assert (flipped[::2] == flipped[1::2]).all()
    assert 0.4 < flipped.mean() < 0.6


def test_auroc_equals_that_of_sklearn_with_ties():
    rng = np.random.default_rng(0)
    labels = rng.random(40) < 0.5
    scores = rng.integers(0, 6, (40, 5)) + labels[:, None]
    expected = [roc_auc_score(labels, column) for column in scores.T]
    np.testing.assert_allclose(auroc(scores, labels), expected)
    assert auroc_interval(scores[:, 0], labels, np.arange(40))[0] == pytest.approx(expected[0])


def test_the_interval_covers_the_true_auroc():
    # two unit normals that differ by 1.19 have AUROC 0.8
    covered = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.standard_normal(35) + 1.1902, rng.standard_normal(35)])
        _, lower, upper = auroc_interval(scores, np.arange(70) < 35, np.tile(np.arange(35), 2))
        covered.append(lower <= 0.8 <= upper)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_at_auroc_one_the_bound_is_that_of_one_lost_comparison():
    labels = np.tile([True, False], 15)
    area, lower, upper = auroc_interval(labels.astype(float), labels, np.repeat(np.arange(15), 2))
    assert (area, upper) == (1.0, 1.0)
    # one of 225 comparisons lost: its logit has a standard error of sqrt(2 * 15 / 14), and t(14)'s quantile is 2.145
    assert np.log(lower / (1 - lower)) == pytest.approx(np.log(224) - 2.14479 * np.sqrt(2 * 15 / 14), abs=1e-4)
    assert auroc_interval(-labels.astype(float), labels, np.repeat(np.arange(15), 2))[2] == pytest.approx(1 - lower)


@pytest.mark.parametrize("pairs", [15, 60])
def test_no_auroc_below_one_has_a_tighter_lower_bound_than_one(pairs):
    labels, groups = np.tile([True, False], pairs), np.repeat(np.arange(pairs), 2)
    scores = np.concatenate([[1 + pair, -1 - pair] for pair in range(pairs)]).astype(float)
    perfect = auroc_interval(scores, labels, groups)
    scores[0] = -1.5  # lost to one negative text
    nearly = auroc_interval(scores, labels, groups)
    assert nearly[0] == 1 - 1 / pairs**2 and nearly[1] <= perfect[1] > 0.9


def test_the_interval_covers_with_clusters_of_unequal_size():
    # half of the variance is the side's within a cluster, whose texts are copies: AUROC 0.9 differs by 1.8124 deviations
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        sizes = np.minimum(rng.geometric(0.2, 15), 20)
        cluster = np.repeat(np.arange(15), 2 * sizes)
        labels = np.concatenate([np.tile([True, False], size) for size in sizes])
        side = rng.standard_normal((15, 2))[cluster, labels.astype(int)]
        scores = np.sqrt(0.8) * side + np.sqrt(0.2) * rng.standard_normal(len(cluster)) + 1.8124 * labels
        _, lower, upper = auroc_interval(scores, labels, cluster)
        covered.append(lower <= 0.9 <= upper)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_the_interval_of_a_mean_over_scenarios_covers_with_three_pairs_in_each():
    """The variance within a scenario is that of its few pairs: AUROC 0.8 differs by 1.1902 deviations."""
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels, groups = np.tile([True, False], 3), np.repeat(np.arange(3), 2)
        parts = [(rng.standard_normal(6) + 1.1902 * labels, labels, groups + 3 * part) for part in range(5)]
        _, lower, upper = mean_auroc_interval(parts)
        covered.append(lower <= 0.8 <= upper)
    assert 0.93 <= np.mean(covered) <= 0.995


def test_two_pairs_in_each_of_five_scenarios_say_as_much_as_ten_comparisons_and_no_less():
    """All won: below .025 ** (1 / 10) ten comparisons would all be won in less than 2.5 %."""
    labels, groups = np.tile([True, False], 2), np.repeat(np.arange(2), 2)
    parts = [(labels + 0.01 * part, labels, groups + 2 * part) for part in range(5)]
    assert mean_auroc_interval(parts) == pytest.approx((1, 0.025**0.1, 1))


def scenarios(seed: int, sizes: np.ndarray, apart: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores, labels and groups of five scenarios; a cluster's copies (as many as sizes says) share nine tenths."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), 2 * sizes)
    labels = np.arange(len(groups)) % 2 == 0
    own, sides = rng.standard_normal(len(groups)), rng.standard_normal((len(sizes), 2))[groups, labels.astype(int)]
    scores = np.sqrt(0.9) * sides + np.sqrt(0.1) * own + apart * labels
    return [(scores[part], labels[part], groups[part]) for part in (groups % 5 == scenario for scenario in range(5))]


def test_the_interval_of_a_mean_over_scenarios_is_neither_short_nor_vast_where_clusters_differ_in_size():
    sizes = np.tile([1, 4, 2, 1, 3], 3)
    found = np.array([mean_auroc_interval(scenarios(seed, sizes, 1.1902)) for seed in range(300)])
    assert 0.93 <= np.mean((found[:, 1] <= 0.8) & (found[:, 2] >= 0.8)) <= 0.99
    assert np.mean(found[:, 2] - found[:, 1]) < 0.37


def test_ten_pairs_in_five_scenarios_can_lie_above_one_half_and_seldom_do_where_nothing_is():
    above = [[mean_auroc_interval(scenarios(seed, np.ones(10, int), d))[1] > 0.5 for seed in range(300)] for d in (2.3262, 0)]
    assert np.mean(above[0]) > 0.9 and np.mean(above[1]) < 0.04


def test_no_mean_below_one_has_a_tighter_lower_bound_than_one():
    for count in (10, 15, 30):
        perfect = mean_auroc_interval(scenarios(0, np.ones(count, int), 50.0))
        found = np.array([mean_auroc_interval(scenarios(seed, np.ones(count, int), 3.0)) for seed in range(100)])
        assert perfect[0] == 1 and (found[:, 1] <= perfect[1]).all() and (found[:, 0] < 1).any()


@pytest.mark.parametrize(("area", "above"), [(0.95, 0.35), (0.8, 0.02)])
def test_the_interval_of_a_difference_covers_with_ten_pairs_and_finds_what_is_there(area, above):
    covered, found = [], []
    for seed in range(300):
        noise = np.random.default_rng(seed).standard_normal((2, 20))
        labels, groups = np.tile([True, False], 10), np.repeat(np.arange(10), 2)
        first = noise[0] + np.sqrt(2) * norm.ppf(area) * labels
        second = np.sqrt(0.5) * noise.sum(0) + np.sqrt(2) * norm.ppf(0.8) * labels
        _, lower, upper = auroc_difference(first, second, labels, groups)
        covered.append(lower <= area - 0.8 <= upper)
        found.append(lower > 0)
    assert 0.93 <= np.mean(covered) <= 0.99
    assert np.mean(found) == pytest.approx(above, abs=0.07)


def test_one_comparison_lost_to_a_text_of_its_own_pair_does_not_make_the_interval_vast():
    labels, groups = np.tile([True, False], 30), np.repeat(np.arange(30), 2)
    scores = np.where(labels, 1.0, -1.0) * (1 + np.arange(60))
    scores[0] = -1.5  # loses to the negative text of its own pair alone
    scores[1] = -1.0
    area, lower, upper = auroc_interval(scores, labels, groups)
    assert area == 1 - 1 / 900 and 0.7 < lower < area < upper


@pytest.mark.parametrize(("first", "second", "above"), [(0.999, 0.9, 1.0), (0.95, 0.95, 0.02)])
def test_a_probe_of_auroc_one_is_above_one_of_nine_tenths_and_equals_are_not_above_each_other(first, second, above):
    won = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels, groups = np.tile([True, False], 60), np.repeat(np.arange(60), 2)
        shared = rng.standard_normal(120)
        scores = [
            np.sqrt(0.5) * (shared + rng.standard_normal(120)) + np.sqrt(2) * norm.ppf(area) * labels
            for area in (first, second)
        ]
        difference, lower, upper = auroc_difference(*scores, labels, groups)
        assert difference == pytest.approx(auroc(scores[0], labels) - auroc(scores[1], labels)) and lower <= difference <= upper
        won.append(lower > 0)
    assert np.mean(won) == pytest.approx(above, abs=0.04)


def test_scores_without_variation_are_one_half_without_error_in_a_difference():
    labels, groups = np.tile([True, False], 30), np.repeat(np.arange(30), 2)
    scores = labels.astype(float)
    # one of 900 comparisons lost, twice: its variance counts for 29 clusters, that of 30 comparisons for 0.8; t(30) is 2.042
    worth = 899 / 900**2 * 29.8 / (29 * 2 / 900**2 + 0.8 * 899 / 900**2 / 30)
    lower, _ = wilson_interval(np.array([worth * 899 / 900]), np.array([worth]), 2.04227)
    assert auroc_difference(scores, np.zeros(60), labels, groups) == pytest.approx((0.5, lower[0] - 0.5, 0.5), abs=1e-5)
    assert auroc_difference(scores, 2 * scores, labels, groups)[1] < 0, "two perfect ones: neither is above"


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).standard_normal(12)
    interval = t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    assert mean_interval(values)[1:] == pytest.approx(interval)
    doubled = mean_interval(np.repeat(values, 2), np.repeat(np.arange(12), 2))
    assert doubled[1:] == pytest.approx(interval), "copies of a value are one observation"
    assert np.isnan(jackknife_interval(lambda kept: np.nan, np.arange(4))[1:]).all()


def test_the_interval_of_a_share_is_wilsons_on_what_the_clusters_are_worth():
    hits = np.arange(40) % 4 > 0
    single, copied = share_interval(hits, np.arange(40)), share_interval(np.repeat(hits, 5), np.repeat(np.arange(40), 5))
    assert copied == pytest.approx(single, abs=0.01) and single[0] == 0.75
    lower, upper = wilson_interval(np.array([30.0]), np.array([39.0]))
    assert (single[1], single[2]) == pytest.approx((lower[0], upper[0]), abs=0.03)
    estimate, lower, upper = share_interval(np.ones(30, dtype=bool), np.repeat(np.arange(15), 2))
    assert (estimate, upper) == (1, pytest.approx(1)) and 0.7 < lower < 0.85, "all right is no certainty"


@pytest.mark.parametrize("scores", [[0.9, 0.1, 0.4, 0.6], [0.9, 0.8, 0.1, 0.2]])
def test_a_single_cluster_gives_no_interval(scores):
    labels = np.array([True, True, False, False])
    estimate, lower, upper = auroc_interval(np.array(scores), labels, np.zeros(4))
    assert estimate >= 0.5 and np.isnan(lower) and np.isnan(upper)
    assert np.isnan(auroc_difference(np.array(scores), np.arange(4.0), labels, np.zeros(4))[1:]).all()
    assert np.isnan([*share_interval(labels, np.zeros(4))[1:], *mean_interval(np.array(scores), np.zeros(4))[1:]]).all()


def test_scores_that_do_not_vary_give_one_half_without_an_interval():
    labels = np.tile([True, False], 10)
    estimate, *bounds = auroc_interval(np.ones(20), labels, np.repeat(np.arange(10), 2))
    assert estimate == 0.5 and np.isnan(bounds).all()


def test_a_layer_where_the_sides_coincide_has_auroc_one_half_and_no_interval():
    _, labels, groups, train, folds = data(20, 8, 0.0)
    result = evaluate(np.full((40, 8), 3.3, dtype=np.float32), labels, groups, train, folds)
    assert result.auroc.estimate == 0.5 and np.isnan(result.auroc.lower)
    assert (result.out_of_scenario_auroc.estimate, result.permutation_p.estimate) == (0.5, 1)
    assert np.isnan([result.dprime.estimate, result.participation_ratio.estimate, result.split_cosine.estimate]).all()


def test_a_detection_over_a_layer_where_the_sides_coincide_has_all_its_rows(tmp_path):
    activations, labels, groups, train, folds = data(20, 8, 4.0)
    constant = np.full_like(activations, 3.3)
    columns = {
        "id": [f"pair-{group}" for group in groups],
        "scenario": [f"s{fold}" for fold in folds],
        "split": np.where(train, "train", "test").tolist(),
        "positive": labels.tolist(),
        "text": [f"({label:d})" for label in labels],  # no word for a bag of words either
    }
    for layer, values in ((-1, constant), (0, activations)):
        flat = pa.array(values.ravel(), pa.float32())
        columns |= {f"resid_post.{layer}": pa.FixedSizeListArray.from_arrays(flat, 8), f"norm.{layer}": [1.0] * 40}
    write_table(pa.table(columns), tmp_path / "cache.parquet")
    found = pd.DataFrame(detection_rows(tmp_path / "cache.parquet", [-1, 0], 0))
    rows = found.set_index(["layer", "metric", "of"])["estimate"]
    assert rows[-1, "auroc", ""] == 0.5 and rows[0, "auroc", ""] > 0.9
    assert {rows[-1, "method_auroc", method] for method in METHODS} == {0.5}
    assert np.isnan(rows[-1, "layer_cosine", "0"]) and rows[-1, "without_scenario", "s0"] == 0.5
    detection = wide(found[(found["of"] == "") & found["layer"].notna()], ["layer"])
    assert coinciding(detection)["layer"].tolist() == [-1]


@pytest.mark.parametrize("pairs", [4, 6, 40])
def test_texts_that_are_groups_of_their_own_are_measured(pairs):
    activations, labels, _, train, folds = data(pairs, 8, 4.0)
    result = evaluate(activations, labels, np.arange(2 * pairs), train, folds)
    assert 0 <= result.auroc.estimate <= 1 and 0 < result.permutation_p.estimate <= 1


def test_a_single_group_a_split_gives_estimates_without_intervals():
    activations, labels, _, train, folds = data(10, 8, 4.0)
    result = evaluate(activations, labels, train.astype(int), train, folds)
    assert np.isnan([result.auroc.lower, result.accuracy.lower, result.separation.lower, result.dprime.upper]).all()


def test_holm_is_stepwise_and_monotone():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


def test_permutation_p_counts_the_observed_draw_and_undefined_ones():
    assert permutation_p(2.0, np.array([0.0, 1.0, 2.0, np.nan])) == pytest.approx(3 / 5)


def test_wilson_interval_stays_inside_the_unit_interval():
    lower, upper = wilson_interval(np.array([0.0, 10.0]), np.array([10.0, 10.0]))
    assert lower[0] == 0 and upper[1] == pytest.approx(1) and 0.2 < upper[0] < 0.35


def test_mean_difference_is_a_unit_vector_and_its_separation():
    direction, separation = mean_difference(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]))
    np.testing.assert_allclose(direction, [0.6, 0.8], rtol=1e-6)
    assert separation == 5.0


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (0.0, "coincide")])
def test_no_direction_without_a_difference(value, message):
    with pytest.raises(InputError, match=message):
        mean_difference(np.full((2, 3), value), np.zeros((2, 3)))


def test_a_probe_survives_its_file(tmp_path):
    probe = Probe(4, np.array([0.6, 0.8], dtype=np.float32), 2.5, 7.0, {"model": "digest", "pooling": "mean"})
    save_probe(probe, tmp_path / "probe.safetensors")
    loaded = load_probe(tmp_path / "probe.safetensors", 4)
    np.testing.assert_array_equal(loaded.direction, probe.direction)
    assert loaded.metadata["site"] == "resid_post[4]" and loaded.metadata["index_base"] == "0"
    assert [loaded.push(2.0, unit) for unit in ("absolute", "separation", "residual")] == [2.0, 5.0, 14.0]
