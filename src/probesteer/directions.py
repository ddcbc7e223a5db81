"""Directions in activation space, and the probe file that holds one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from probesteer.errors import InputError
from probesteer.seal import BLANK, SEAL
from probesteer.study import PROBE_ARM
from probesteer.tables import sealed


def mean_difference(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit vector from the mean of `negative` to the mean of `positive`, both (texts, hidden), and its length.

    The length is the class separation: the distance of the class means along the direction.
    Raises InputError where the means coincide or a value is not finite.
    """
    difference = positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)
    separation = float(np.linalg.norm(difference))
    if not np.isfinite(separation):
        raise InputError("activations hold NaN or Inf; use a wider dtype")
    if separation == 0:
        raise InputError("the class means coincide: there is no direction between them")
    return (difference / separation).astype(np.float32), separation


def _towards(direction: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit vector along `direction` that points from `negative` to `positive`, and the class separation along it."""
    unit = direction / np.linalg.norm(direction)
    separation = float(unit @ (positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)))
    return (unit * (1 if separation >= 0 else -1)).astype(np.float32), abs(separation)


def logistic(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights of an L2-penalised logistic regression (C = 1) on activations scaled to unit mean square."""
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([positive, negative]).astype(np.float64)
    labels = np.arange(len(both)) < len(positive)
    scale = np.sqrt(((both - both.mean(0)) ** 2).sum(1).mean())
    weights = LogisticRegression(max_iter=1000).fit((both - both.mean(0)) / scale, labels).coef_[0]
    return _towards(weights, positive, negative)


def lda(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """Fisher's discriminant with the Ledoit-Wolf covariance within class, inverted through the (texts, texts) Gram matrix.

    Ledoit and Wolf 2004, Journal of Multivariate Analysis 88; the inverse by Woodbury's identity.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    within = np.concatenate([positive - positive.mean(0), negative - negative.mean(0)]).astype(np.float64)
    shrinkage = ledoit_wolf_shrinkage(within, assume_centered=True)
    texts, hidden = within.shape
    ridge = max(shrinkage * (within**2).sum() / (texts * hidden), 1e-12)
    share = (1 - shrinkage) / texts
    difference = positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)
    inner = ridge * np.eye(texts) + share * within @ within.T
    weights = difference - share * within.T @ np.linalg.solve(inner, within @ difference)
    return _towards(weights, positive, negative)


def pca_differences(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The first principal axis of the differences within pairs, not centred (Zou et al. 2023, "Representation engineering").

    Row i of both is a pair. Raises InputError where the sides differ in number.
    """
    if len(positive) != len(negative):
        raise InputError(f"pca_differences needs pairs; there are {len(positive)} positive and {len(negative)} negative texts")
    differences = positive.astype(np.float64) - negative
    gram = differences @ differences.T
    return _towards(differences.T @ np.linalg.eigh(gram)[1][:, -1], positive, negative)


Method = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]
METHODS: dict[str, Method] = {
    "mean_difference": mean_difference,
    "logistic": logistic,
    "lda": lda,
    "pca_differences": pca_differences,
}


@dataclass(frozen=True)
class Probe:
    """A direction (hidden,) at `resid_post[layer]` with what is needed to use it."""

    layer: int
    direction: np.ndarray
    separation: float
    residual_norm: float
    metadata: Mapping[str, str]
    controls: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Unit directions (hidden,) of the control arms by name."""

    def of(self, arm: str) -> np.ndarray:
        """The direction of an arm. Raises InputError for one that the file does not hold."""
        if arm == PROBE_ARM:
            return self.direction
        if arm not in self.controls:
            raise InputError(f"arm {arm}: the probe of layer {self.layer} holds {', '.join(self.controls) or 'no controls'}")
        return self.controls[arm]

    def push(self, alpha: float, unit: str) -> float:
        """Length of the vector that a dose adds to the residual stream."""
        return alpha * {"absolute": 1.0, "separation": self.separation, "residual": self.residual_norm}[unit]


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe as safetensors: tensors `direction.<layer>` and `direction.<layer>.<arm>`, string metadata."""
    metadata = {
        **probe.metadata,
        "site": f"resid_post[{probe.layer}]",
        "index_base": "0",
        "separation": repr(probe.separation),
        "residual_norm": repr(probe.residual_norm),
        SEAL: BLANK,
    }
    tensors = {f"direction.{probe.layer}.{arm}": direction for arm, direction in probe.controls.items()}
    with sealed(path) as beside:
        save_file({f"direction.{probe.layer}": probe.direction, **tensors}, beside, metadata=metadata)


def load_probe(path: Path, layer: int) -> Probe:
    """Read the direction of a layer from a probe file. Raises InputError where it is missing or broken."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            direction = file.get_tensor(f"direction.{layer}")
            prefix = f"direction.{layer}."
            controls = {key.removeprefix(prefix): file.get_tensor(key) for key in list(file.keys()) if key.startswith(prefix)}
        separation, norm = float(metadata["separation"]), float(metadata["residual_norm"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such probe file") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no probe of layer {layer} there (a safetensors file with direction.{layer})") from error
    if not np.isfinite(direction).all():
        raise InputError(f"{path}: direction.{layer} holds NaN or Inf")
    return Probe(layer, direction, separation, norm, metadata, controls)


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


def load_planted(path: Path) -> np.ndarray:
    """The unit vector (hidden,) along which a model organism's stance was planted. Raises InputError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(next(iter(file.keys())))
    except (SafetensorError, OSError, StopIteration) as error:
        raise InputError(f"{path}: not a safetensors file with a planted direction") from error
