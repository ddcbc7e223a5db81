"""Control directions: what steers as far as the probe and should do nothing."""

from collections.abc import Sequence

import numpy as np

from probesteer.directions.methods import mean_difference


def control_directions(
    away_from: Sequence[np.ndarray],
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    arms: Sequence[str],
    seed: int,
) -> dict[str, np.ndarray]:
    """Unit directions (hidden,) of control arms, named "random-1" or "shuffled-1", that should not steer.

    random: Gaussian. shuffled: the mean difference of training activations (texts, hidden) with the labels of a random half
    of the groups flipped. Both are made orthogonal to every direction of `away_from`. Deterministic in `seed` and the name.
    """
    names, group = np.unique(groups, return_inverse=True)
    basis = np.linalg.qr(np.column_stack(away_from).astype(np.float64))[0]
    controls = {}
    for arm in arms:
        rng = np.random.default_rng([seed, *arm.encode()])
        if arm.startswith("random"):
            drawn = rng.standard_normal(len(basis))
        else:
            flipped = labels ^ rng.permutation(np.arange(len(names)) % 2 == 0)[group]
            drawn = mean_difference(activations[flipped], activations[~flipped])[0].astype(np.float64)
        drawn -= basis @ (basis.T @ drawn)
        controls[arm] = (drawn / np.linalg.norm(drawn)).astype(np.float32)
    return controls
