"""Detection finds what is there, refuses what is not, and its intervals and nulls hold."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from probesteer.detection import selection
from probesteer.detection.heldout import evaluate
from probesteer.detection.summary import detection_rows
from probesteer.directions.methods import METHODS, mean_difference
from probesteer.directions.probe import Probe, load_probe, save_probe
from probesteer.errors import InputError
from probesteer.files.tables import write_table
from probesteer.report.views import coinciding, wide
from probesteer.stats import auroc, auroc_interval, bootstrap_weights, holm, permutation_p, wilson_interval


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
    assert result.gap.lower > 0.2
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


def test_at_auroc_one_the_bound_is_that_of_independent_wins():
    labels = np.tile([True, False], 15)
    area, lower, upper = auroc_interval(labels.astype(float), labels, np.repeat(np.arange(15), 2))
    assert (area, upper) == (1.0, 1.0)
    assert lower == pytest.approx(0.05 ** (1 / 7))
    assert auroc_interval(-labels.astype(float), labels, np.repeat(np.arange(15), 2))[2] == pytest.approx(1 - 0.05 ** (1 / 7))


@pytest.mark.parametrize("scores", [[0.9, 0.1, 0.4, 0.6], [0.9, 0.8, 0.1, 0.2]])
def test_a_single_cluster_gives_no_interval(scores):
    labels = np.array([True, True, False, False])
    estimate, lower, upper = auroc_interval(np.array(scores), labels, np.zeros(4))
    assert estimate >= 0.5 and np.isnan(lower) and np.isnan(upper)
    assert np.isnan(bootstrap_weights(np.zeros(4), 3, np.random.default_rng(0))).all()


def test_scores_that_do_not_vary_give_one_half_without_an_interval():
    labels = np.tile([True, False], 10)
    estimate, *bounds = auroc_interval(np.ones(20), labels, np.repeat(np.arange(10), 2))
    assert estimate == 0.5 and np.isnan(bounds).all()


def test_a_layer_where_the_sides_coincide_has_auroc_one_half_and_no_interval():
    _, labels, groups, train, folds = data(20, 8, 0.0)
    result = evaluate(np.full((40, 8), 3.3, dtype=np.float32), labels, groups, train, folds)
    assert result.auroc.estimate == 0.5 and np.isnan(result.auroc.lower)
    assert (result.gap.estimate, result.permutation_p.estimate) == (0, 1)
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
    assert np.isnan([result.auroc.lower, result.accuracy.lower, result.gap.upper, result.separation.lower]).all()


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
