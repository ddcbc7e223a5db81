"""Surface baselines work on whatever texts there are."""

import numpy as np
import pytest

from probesteer.detection.design import Design
from probesteer.detection.surface import surface_aurocs


@pytest.mark.parametrize("sides", [("(A)", "(B)"), ("🙂", "🙁")])
def test_texts_without_a_word_have_baselines_too(sides):
    labels, groups = np.tile([True, False], 10), np.repeat(np.arange(10), 2)
    found = surface_aurocs(list(sides) * 10, Design(labels, groups, groups % 2 == 0, groups), [])
    assert found["TF-IDF of words"][0] == 0.5 and found["TF-IDF of characters"][0] == 1
