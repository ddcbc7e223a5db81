"""Control directions: random ones, and ones refitted on flipped labels."""

from collections.abc import Sequence

import numpy as np

from probesteer.directions.methods import fitted
from probesteer.study.cells import RANDOM


def control_directions(
    away_from: Sequence[np.ndarray],
    activations: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    arms: Sequence[str],
    seed: int,
    method: str = "mean_difference",
) -> dict[str, np.ndarray]:
    """Unit directions (hidden,) of control arms, named "random-1" or "flipped-1". Deterministic in `seed` and the name.

    random: Gaussian, made orthogonal to every direction of `away_from`. flipped: what `method` fits to the training activations
    (texts, hidden) with the labels of a random half of the groups flipped. Under the null that the labels say nothing the
    probe is one of these, and so they are not made orthogonal to it.
    """
    names, group = np.unique(groups, return_inverse=True)
    basis = np.linalg.qr(np.column_stack(away_from).astype(np.float64))[0]
    controls = {}
    for arm in arms:
        rng = np.random.default_rng([seed, *arm.encode()])
        if arm.startswith(RANDOM):
            drawn = rng.standard_normal(len(basis))
            drawn -= basis @ (basis.T @ drawn)
            drawn /= np.linalg.norm(drawn)
        else:
            flipped = labels ^ rng.permutation(np.arange(len(names)) % 2 == 0)[group]
            drawn = fitted(activations[flipped], activations[~flipped], method)
        controls[arm] = drawn.astype(np.float32)
    return controls
