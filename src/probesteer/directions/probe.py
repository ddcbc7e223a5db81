"""The probe file: a direction, with what is needed to use it."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.seal import BLANK, SEAL, is_whole, sealed
from probesteer.files.tables import FINGERPRINT
from probesteer.study.cells import PROBE_ARM
from probesteer.study.options import AUTO, Site


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
    doses: Mapping[str, float] = field(default_factory=dict)
    """Length of the push that is alpha 1, of the units that a job finds: kl, coherence."""

    def of(self, arm: str) -> np.ndarray:
        """The direction of an arm. Raises InputError for one that the file does not hold."""
        if arm == PROBE_ARM:
            return self.direction
        if arm not in self.controls:
            raise InputError(f"arm {arm}: the probe of layer {self.layer} holds {', '.join(self.controls) or 'no controls'}")
        return self.controls[arm]

    def push(self, alpha: float, unit: str) -> float:
        """Length of the vector that a dose adds to the residual stream. Raises InputError for a unit that is not known here."""
        known = {"absolute": 1.0, "separation": self.separation, "residual": self.residual_norm, **self.doses}
        if unit not in known:
            raise InputError(f"alpha_unit {unit}: not known at layer {self.layer}; `probesteer dose` finds it")
        return alpha * known[unit]


def save_probe(probe: Probe, path: Path, inputs: Mapping[str, Any] | None = None) -> None:
    """Write a probe as safetensors: tensors `direction.<layer>` and `direction.<layer>.<arm>`, string metadata.

    `inputs` is what determines the probe: its digest is the file's fingerprint.
    """
    metadata = {
        **probe.metadata,
        **({} if inputs is None else {FINGERPRINT.decode(): digest(inputs)}),
        "site": f"resid_post[{probe.layer}]",
        "index_base": "0",
        "separation": repr(probe.separation),
        "residual_norm": repr(probe.residual_norm),
        SEAL: BLANK,
    }
    tensors = {f"direction.{probe.layer}.{arm}": direction for arm, direction in probe.controls.items()}
    with sealed(path) as beside:
        save_file({f"direction.{probe.layer}": probe.direction, **tensors}, beside, metadata=metadata)
        _sort_header(beside)


def _sort_header(path: Path) -> None:
    """Put the header of a safetensors file in order: its library writes the metadata in any, and so never the same bytes twice.

    The format: https://huggingface.co/docs/safetensors (a little-endian length of 8 bytes, that much JSON, the tensors).
    """
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def load_probe(path: Path, layer: Site) -> Probe:
    """Read the direction of a layer, or the only one, from a probe file. Raises InputError where it is missing or broken."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            layer = int(metadata["site"].removeprefix("resid_post[").rstrip("]")) if layer == AUTO else layer
            direction = file.get_tensor(f"direction.{layer}")
            prefix = f"direction.{layer}."
            controls = {key.removeprefix(prefix): file.get_tensor(key) for key in list(file.keys()) if key.startswith(prefix)}
        separation, norm = float(metadata["separation"]), float(metadata["residual_norm"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such probe file") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        expected = "not a probe file" if layer == AUTO else f"no probe of layer {layer} there"
        name = "LAYER" if layer == AUTO else layer
        raise InputError(f"{path}: {expected} (a safetensors file with direction.{name})") from error
    if not np.isfinite(direction).all():
        raise InputError(f"{path}: direction.{layer} holds NaN or Inf")
    return Probe(int(layer), direction, separation, norm, metadata, controls)


def is_fresh_probe(path: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether the probe file at `path` is whole and was made from exactly these inputs."""
    if not is_whole(path):
        return False
    with safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get(FINGERPRINT.decode()) == digest(inputs)


def load_planted(path: Path) -> np.ndarray:
    """The unit vector (hidden,) along which a model organism's stance was planted. Raises InputError."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(next(iter(file.keys())))
    except (SafetensorError, OSError, StopIteration) as error:
        raise InputError(f"{path}: not a safetensors file with a planted direction") from error
