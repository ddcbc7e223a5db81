"""What is left of one concept when another one was erased: all where they are apart, nothing where they are one."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from probesteer.compare.independence import erased_of, independence, spill_over
from probesteer.detection.activations import LayerActivations
from probesteer.detection.design import Design


def concept(rng: np.random.Generator, axis: np.ndarray, pairs: int = 60) -> LayerActivations:
    labels, group = np.tile([True, False], pairs), np.repeat(np.arange(pairs), 2)
    activations = rng.standard_normal((2 * pairs, len(axis))) + 3 * labels[:, None] * axis
    design = Design(labels, group.astype(str), group % 2 == 0, group % 5)
    return LayerActivations(activations, design, np.ones(2 * pairs), {}, {}, [], {})


@pytest.mark.parametrize("same", [True, False])
def test_most_of_a_concept_that_is_another_one_is_lost_with_it_and_one_that_is_not_stays(same):
    rng = np.random.default_rng(0)
    axes = np.eye(24)[[0, 0 if same else 1]]
    rows = {row["what"]: row for row in independence({"a": concept(rng, axes[0]), "b": concept(rng, axes[1])})}
    for row in rows.values():
        assert row["auroc"] > 0.95
        if same:
            assert row["erased_auroc"] < 0.8 and row["lost_lower"] > 0.1 and row["cos"] > 0.8
        else:
            assert row["erased_auroc"] > 0.93 and row["lost_lower"] < 0 < row["lost_upper"] < 0.1 and abs(row["cos"]) < 0.4


def test_what_lies_outside_the_span_of_the_other_concepts_texts_is_left_alone():
    rng = np.random.default_rng(1)
    other = concept(rng, np.eye(64)[0], pairs=8)
    outside = np.linalg.svd(other.activations[other.design.train] - other.activations[other.design.train].mean(0))[2][-1]
    moved = erased_of(other.activations, other) - other.activations
    assert np.abs(moved @ outside).max() < 1e-9 and np.linalg.norm(moved) > 1


def read_texts(rng: np.random.Generator, own: float, spilt: float) -> pd.DataFrame:
    """Readings of steered texts at two layers: `own` and `spilt` from the lowest to the highest dose."""
    places = [("baseline", None, 0.0), *(("probe", layer, alpha) for layer in (2, 4) for alpha in (-2.0, -1.0, 1.0, 2.0))]
    keys = product(places, (f"s{number}" for number in range(4)), range(12))
    rows = [(arm, layer, alpha, scenario, sample) for (arm, layer, alpha), scenario, sample in keys]
    table = pd.DataFrame(rows, columns=["arm", "layer", "alpha", "scenario", "sample"])
    table = table.assign(model="m", author="m", block=3, variant=None)
    shared = table.groupby(["scenario", "sample"]).ngroup().map(dict(enumerate(rng.standard_normal(48))))
    for column, change in (("projection", own), ("control_projection", spilt)):
        table[column] = change / 4 * table["alpha"] + shared + 0.5 * rng.standard_normal(len(table))
    return table[rng.random(len(table)) < 0.8]  # broken texts are not there


def test_what_steering_for_one_concept_moves_of_another_is_found_and_where_it_moves_nothing_none_is():
    covered, wrong = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        others = read_texts(rng, 9.0, 9.0).assign(author="other")  # whose texts are not steered for this model
        played = read_texts(rng, 9.0, 9.0).assign(variant="default")  # nor what it wrote in games
        table = pd.concat([read_texts(rng, 2.0, 0.5 * (seed % 2)), others, played])
        found = spill_over(table, "a", "b").set_index("what")
        assert set(found["layer"]) == {3} and found.loc["a", "reading_change"] == pytest.approx(2.0, abs=0.5)
        lower, upper = found.loc["b", ["reading_change_lower", "reading_change_upper"]]
        (covered if seed % 2 else wrong).append(lower <= 0.5 * (seed % 2) <= upper)
    assert sum(covered) >= 43 and sum(wrong) >= 43  # of 50 each; fewer: p < .01 at 95 %


def test_one_dose_tells_no_change():
    table = read_texts(np.random.default_rng(0), 1.0, 1.0)
    assert spill_over(table[table["alpha"] == 2], "a", "b")["reading_change"].isna().all()
