"""What is left of one concept when another one was erased: all where they are apart, nothing where they are one."""

import numpy as np
import pytest

from probesteer.compare.independence import erased_of, independence
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
