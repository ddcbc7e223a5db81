"""Maps: an exact rotation is undone by every method, and noise is carried nowhere."""

import numpy as np
import pytest

from probesteer.compare.maps import METHODS, carried, shuffles, space, unit


def made(rng: np.random.Generator, texts: int, hidden: int) -> np.ndarray:
    """Activations whose axes differ in size as those of models do."""
    return rng.standard_normal((texts, hidden)) * np.linspace(3, 0.5, hidden) + 5


@pytest.mark.parametrize("width", [40, 64])
def test_every_method_recovers_a_direction_through_an_exact_rotation_and_another_width(width):
    rng = np.random.default_rng(0)
    activations = made(rng, 300, 40)
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0][:40]
    direction = rng.standard_normal(40)
    target = space(activations @ rotation + 7)
    found = unit(carried(space(activations), target, direction, shuffles(300, 20, 0)))
    truth = direction @ rotation / np.linalg.norm(direction)
    for method in METHODS:
        cosines = found[method] @ target.axes @ truth
        assert cosines[0] > 0.99, method
        assert np.abs(cosines[1:]).max() < 0.7, method


def test_canonical_correlations_are_those_of_cca_zoo():
    from cca_zoo.linear import CCA

    rng = np.random.default_rng(1)
    shared = rng.standard_normal((200, 3))
    first, second = (np.hstack([shared + rng.standard_normal((200, 3)), rng.standard_normal((200, 5))]) for _ in range(2))
    one, two = space(first), space(second)
    ours = np.linalg.svd(one.left.T @ two.left, compute_uv=False)
    theirs = CCA(8).fit((first, second))
    x, y = theirs.transform((first, second))
    assert ours == pytest.approx([abs(np.corrcoef(x[:, k], y[:, k])[0, 1]) for k in range(8)], abs=1e-3)


def test_the_penalty_of_a_ridge_is_the_one_that_generalised_cross_validation_prefers():
    from sklearn.linear_model import Ridge

    from probesteer.compare.maps import PENALTIES

    rng = np.random.default_rng(2)
    first = made(rng, 120, 10)
    second = first @ rng.standard_normal((10, 12)) + 4 * rng.standard_normal((120, 12))
    one, two = space(first), space(second)
    direction = rng.standard_normal(10)
    found = carried(one, two, direction, shuffles(120, 1, 0))["ridge"][0] @ two.axes
    errors = []
    for penalty in PENALTIES * (one.sizes**2).mean():
        kept = one.sizes**2 / (one.sizes**2 + penalty)
        fit = Ridge(penalty).fit(first, second)
        errors.append((((second - fit.predict(first)) ** 2).sum() / (119 - kept.sum()) ** 2, fit.coef_ @ direction))
    assert found == pytest.approx(min(errors, key=lambda one: one[0])[1], rel=1e-6)
