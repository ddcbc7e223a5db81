"""Directions carried between models: found where two codes are one, refused where they are not."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from transfers import NOISE, OTHER, PAIRS, TEXTS, TWIN, errors, model, random_weights, rotated

from probesteer.compare.maps import METHODS
from probesteer.compare.transfer import halves, labels_under_null, transfer
from probesteer.compare.verdicts import carried_matrix, judged


def test_an_exact_rotation_is_carried_whole_by_every_method_at_the_least_p():
    rng = np.random.default_rng(0)
    source = {0: model(rng, hidden=24), 1: model(rng, hidden=24)}
    target = {layer: rotated(one, rng) for layer, one in source.items()}
    twin = {0: model(rng, hidden=24)}
    rows = pd.DataFrame(transfer(source, target, twin, 99, 0)).set_index("method")
    for method in METHODS:
        row = rows.loc[method]
        assert row["cosine"] > 0.99 and row["cosine_p"] == 0.01, method
        assert row["layer"] == row["target_layer"] and row["auroc"] == pytest.approx(row["native_auroc"], abs=0.02)
        assert row["slope"] == pytest.approx(row["native_slope"], rel=0.02) and row["slope_p"] <= 0.05
        assert row["twin_cosine"] < 0.6
    said = judged(rows.reset_index().assign(source="a", target="b"), {"a", "b"})
    assert set(said["transfers"]) == {"yes"} and set(said["steers"]) == {"yes"}
    assert carried_matrix(said).loc["a", "b"] > 0.99


def test_spaces_of_other_widths_and_layers_are_mapped():
    rng = np.random.default_rng(1)
    source = {2: model(rng, hidden=16)}
    wide = rotated(source[2], rng, width=40)
    rows = pd.DataFrame(transfer(source, {5: wide, 7: model(rng, hidden=40)}, {0: model(rng, hidden=40)}, 19, 0))
    assert (rows["cosine"] > 0.99).all() and set(rows["target_layer"]) == {5}


@pytest.mark.parametrize("target", [OTHER, NOISE, TWIN])
def test_where_there_is_nothing_to_carry_to_no_test_says_so_more_often_than_its_level(target):
    wrong = pd.DataFrame([errors(seed, target, maps=39) for seed in range(60)])
    assert (wrong.mean() <= 0.15).all(), wrong.mean()  # 9 of 60 and fewer: p = .998 at a level of .05


def test_errors_that_two_models_make_in_the_same_pairs_are_no_agreement():
    rng = np.random.default_rng(3)
    said = rng.standard_normal((2 * PAIRS + TEXTS, 24))
    source, twin = {0: model(rng, 24, said=said)}, {0: model(rng, 24, 0.0, said)}
    rows = pd.DataFrame(transfer(source, twin, twin, 99, 0)).set_index("method").loc[["ridge", "procrustes", "cca"]]
    assert (rows["cosine"] > 0.3).all() and (rows["cosine_apart"].abs() < 0.2).all(), rows[["cosine", "cosine_apart"]]


def test_the_labels_of_halves_under_the_null_are_those_of_groups_and_halves_have_no_pair_in_common():
    rng = np.random.default_rng(4)
    layer = model(rng, 24)
    design, labels = layer.design, labels_under_null(layer.design, 5, 0)
    assert (labels[:, 0] == design.labels).all() and labels.shape == (2 * PAIRS, 6)
    assert (labels.reshape(PAIRS, 2, 6).sum(1) == 1).all()  # a pair keeps a text of each side
    one, other = halves(layer, labels)[:, 0]
    groups = np.unique(design.groups[design.train])
    for found, own in ((one, groups[::2]), (other, groups[1::2])):
        among = np.isin(design.groups, own)
        direction = layer.activations[among & design.labels].mean(0) - layer.activations[among & ~design.labels].mean(0)
        assert found == pytest.approx(direction / np.linalg.norm(direction))


@pytest.mark.slow
def test_nothing_is_said_to_be_carried_into_random_weights(monkeypatch):
    monkeypatch.chdir(ROOT)
    wrong = pd.DataFrame([random_weights(seed, maps=39) for seed in range(20)])
    assert (wrong.mean() <= 0.2).all(), wrong.mean()  # 4 of 20 and fewer: p = .997 at a level of .05


def test_what_is_not_detected_or_does_not_differ_from_a_twin_is_no_transfer():
    rng = np.random.default_rng(2)
    source = {0: model(rng, hidden=24)}
    rows = transfer(source, {0: rotated(source[0], rng)}, {0: rotated(source[0], rng)}, 39, 0)
    table = pd.DataFrame(rows).assign(source="a", target="b")
    said = judged(table, {"a", "b"})
    assert set(said["transfers"]) == {"no"} and said["why"].str.contains("as close in a random twin").all()
    said = judged(table.assign(twin_cosine=0.0), {"a"})
    assert set(said["why"]) == {"not detected in the target"} and said["of_native"].isna().all()
