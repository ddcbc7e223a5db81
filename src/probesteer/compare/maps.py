"""Maps between the activation spaces of two models, fitted on the same texts, and directions carried by them.

A direction is a displacement: what a map adds to a text's activations in B when the displacement is added in A. Every map is
fitted between the leading principal axes of the texts, COMPONENTS at most and no more than a quarter of the texts, so that
widths may differ and all draws of a null cost little; the axes do not depend on which text is paired with which.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

COMPONENTS = 64
PENALTIES = np.logspace(-4, 2, 13)  # of a ridge, as multiples of the mean squared size of the axes
RANK = 1e-6  # of the largest size: smaller axes are rounding


@dataclass(frozen=True)
class Space:
    """The principal axes of a model's activations of the texts."""

    left: np.ndarray
    """Orthonormal scores of the texts (texts, axes)."""
    sizes: np.ndarray
    """Singular values (axes,), falling."""
    axes: np.ndarray
    """Unit vectors (axes, hidden)."""

    def captured(self, direction: np.ndarray) -> float:
        """The share of a direction's squared length that lies along the axes."""
        return float(((self.axes @ direction) ** 2).sum() / (direction @ direction)) if direction.any() else float("nan")


def space(activations: np.ndarray) -> Space:
    """The leading principal axes of activations (texts, hidden)."""
    wide = activations.astype(np.float64)
    left, sizes, axes = np.linalg.svd(wide - wide.mean(0), full_matrices=False)
    kept = min(COMPONENTS, len(wide) // 4, int((sizes > RANK * sizes[0]).sum()))
    return Space(left[:, :kept], sizes[:kept], axes[:kept])


def carried(source: Space, target: Space, direction: np.ndarray, orders: np.ndarray) -> dict[str, np.ndarray]:
    """A direction (hidden of the source,) carried by every method and draw: its coordinates (draws, axes of the target).

    Several (directions, hidden) are carried by the same maps: (directions, draws, axes).

    Draw d pairs text i of the source with text `orders[d, i]` of the target.
    ridge: least squares with a penalty, which generalised cross-validation chooses in every draw (Golub et al. 1979,
    Technometrics 21). procrustes: the orthogonal map nearest to the texts (Schönemann 1966, Psychometrika 31), which is right
    where spaces differ by a rotation only. cca: canonical variates of one model taken for those of the other (Hotelling 1936,
    Biometrika 28), of which those are kept whose correlation reaches the median over draws of the largest one. relative:
    relative representations with all texts as anchors (Moschella et al. 2023), inverted by least squares (Maiorca et al. 2024).
    """
    inside = direction.astype(np.float64) @ source.axes.T
    crossed = np.stack([source.left.T @ target.left[order] for order in orders])  # (draws, axes, axes)
    return {
        "ridge": _ridge(source, target, inside, crossed, orders.shape[1]),
        "procrustes": _procrustes(source, target, inside, crossed),
        "cca": _cca(source, target, inside, crossed),
        "relative": _relative(source, target, inside, orders),
    }


METHODS = ("ridge", "procrustes", "cca", "relative")


def _ridge(source: Space, target: Space, inside: np.ndarray, crossed: np.ndarray, texts: int) -> np.ndarray:
    penalties = PENALTIES[:, None] * (source.sizes**2).mean()
    kept = source.sizes**2 / (source.sizes**2 + penalties)  # (penalties, axes)
    fitted = crossed * target.sizes
    explained = (fitted**2).sum(2)  # (draws, axes)
    residual = (target.sizes**2).sum() - explained @ (1 - (1 - kept) ** 2).T  # (draws, penalties)
    best = (residual / (texts - 1 - kept.sum(1)) ** 2).argmin(1)
    weights = inside[..., None, :] * (kept / source.sizes)[best]
    return np.einsum("...da,dab->...db", weights, fitted)


def _procrustes(source: Space, target: Space, inside: np.ndarray, crossed: np.ndarray) -> np.ndarray:
    first, _, second = np.linalg.svd(source.sizes[:, None] * crossed * target.sizes, full_matrices=False)
    return np.einsum("...dk,dkb->...db", np.einsum("...a,dak->...dk", inside, first), second)


def _cca(source: Space, target: Space, inside: np.ndarray, crossed: np.ndarray) -> np.ndarray:
    first, correlations, second = np.linalg.svd(crossed, full_matrices=False)
    kept = correlations >= min(np.median(correlations[:, 0]), 1 - 1e-9)
    kept[:, 0] = True
    variates = np.einsum("...a,dak->...dk", inside / source.sizes, first)
    return np.einsum("...dk,dkb->...db", variates * kept, second) * target.sizes


def _relative(source: Space, target: Space, inside: np.ndarray, orders: np.ndarray) -> np.ndarray:
    anchors, others = (_unit(one.left * one.sizes) for one in (source, target))
    relative = (inside @ anchors.T)[..., np.argsort(orders, axis=1)]  # (..., draws, texts of the target)
    return relative @ np.linalg.pinv(others).T


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def shuffles(texts: int, draws: int, seed: int) -> np.ndarray:
    """The observed order and `draws` random ones: (draws + 1, texts)."""
    rng = np.random.default_rng(seed)
    return np.vstack([np.arange(texts), rng.permuted(np.tile(np.arange(texts), (draws, 1)), axis=1)])


def unit(coordinates: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Carried directions (..., axes) at unit length."""
    return {method: _unit(one) for method, one in coordinates.items()}
