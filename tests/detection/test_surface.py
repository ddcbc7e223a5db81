"""Surface baselines work on whatever texts there are."""

import numpy as np
import pytest

from probesteer.detection.design import Design
from probesteer.detection.robustness import scored
from probesteer.detection.surface import surface_scores


@pytest.mark.parametrize("sides", [("(A)", "(B)"), ("🙂", "🙁")])
def test_texts_without_a_word_have_baselines_too(sides):
    labels, groups = np.tile([True, False], 10), np.repeat(np.arange(10), 2)
    design = Design(labels, groups, groups % 2 == 0, groups)
    found = {name: scored(scores, design).estimate for name, scores in surface_scores(list(sides) * 10, design, []).items()}
    assert found["TF-IDF of words"] == 0.5 and found["TF-IDF of characters"] == 1
