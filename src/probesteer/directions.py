"""Directions in activation space, and the probe file that holds one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from probesteer.errors import InputError
from probesteer.tables import atomic


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


@dataclass(frozen=True)
class Probe:
    """A direction (hidden,) at `resid_post[layer]` with what is needed to use it."""

    layer: int
    direction: np.ndarray
    separation: float
    residual_norm: float
    metadata: Mapping[str, str]

    def push(self, alpha: float, unit: str) -> float:
        """Length of the vector that a dose adds to the residual stream."""
        return alpha * {"absolute": 1.0, "separation": self.separation, "residual": self.residual_norm}[unit]


def save_probe(probe: Probe, path: Path) -> None:
    """Write a probe as safetensors: tensor `direction.<layer>`, string metadata."""
    metadata = {
        **probe.metadata,
        "site": f"resid_post[{probe.layer}]",
        "index_base": "0",
        "separation": repr(probe.separation),
        "residual_norm": repr(probe.residual_norm),
    }
    with atomic(path) as beside:
        save_file({f"direction.{probe.layer}": probe.direction}, beside, metadata=metadata)


def load_probe(path: Path, layer: int) -> Probe:
    """Read the direction of a layer from a probe file. Raises InputError where it is missing or broken."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            direction = file.get_tensor(f"direction.{layer}")
        separation, norm = float(metadata["separation"]), float(metadata["residual_norm"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such probe file") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no probe of layer {layer} there (a safetensors file with direction.{layer})") from error
    if not np.isfinite(direction).all():
        raise InputError(f"{path}: direction.{layer} holds NaN or Inf")
    return Probe(layer, direction, separation, norm, metadata)


def load_planted(path: Path) -> np.ndarray:
    """The unit vector (hidden,) along which a model organism's stance was planted. Raises InputError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(next(iter(file.keys())))
    except (SafetensorError, OSError, StopIteration) as error:
        raise InputError(f"{path}: not a safetensors file with a planted direction") from error
