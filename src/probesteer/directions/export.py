"""A direction for other tools: what it is stands in the file with it."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from probesteer.directions.probe import Probe
from probesteer.errors import InputError
from probesteer.files.whole import atomic
from probesteer.study.cells import PROBE_ARM

KEPT = ("model", "data", "method", "pooling")  # of the probe's own metadata


def declaration(probe: Probe, arm: str = PROBE_ARM, alpha: float = 1.0, unit: str = "separation") -> dict[str, str]:
    """What a file says of the direction that it holds, so that nobody has to guess: operation, site, base, sign, norm, dose.

    dose is the push, in units of the residual stream, that `alpha` is in its unit; `model` is the digest of the weights (and
    type and template) that the direction was read off. Raises InputError for a unit that is not known.
    """
    return {
        "operation": "h' = h + dose * direction, at every position",
        "site": f"resid_post[{probe.layer}]: the output of the block, before any later norm",
        "layer": str(probe.layer),
        "layer_base": "0",
        "sign": "plus is towards the positive side of the pairs",
        "norm": "1",
        "arm": arm,
        "dose": repr(probe.push(alpha, unit)),
        "dose_is": f"alpha {alpha:g} in unit {unit}",
        "separation": repr(probe.separation),
        "residual_norm": repr(probe.residual_norm),
        **{name: probe.metadata[name] for name in KEPT if name in probe.metadata},
        "made_by": f"probesteer {version('probesteer')}",
    }


def require_model(probe: Probe, card: Mapping[str, Any], force: bool = False) -> None:
    """Raise InputError where a model is not the one whose activations the direction was fitted on, unless forced."""
    own, other = probe.metadata.get("model", "unknown"), str(card["digest"])
    if own != other and not force:
        raise InputError(
            f"the direction was read off a model of digest {own[:12]}, {card.get('name', 'the model')} has {other[:12]}: on "
            "other weights, or another type or template of the same, it may point anywhere; --force takes it nevertheless"
        )


def write_safetensors(probe: Probe, path: Path, arm: str, declared: Mapping[str, str]) -> None:
    """A tensor `direction.<layer>` (hidden,), float32, and the declaration as metadata; `probesteer read` takes it."""
    own = {"site": f"resid_post[{probe.layer}]", "index_base": "0"}
    with atomic(path) as beside:
        save_file({f"direction.{probe.layer}": unit(probe, arm)}, beside, metadata={**declared, **own})


def write_gguf(probe: Probe, path: Path, arm: str, declared: Mapping[str, str], card: Mapping[str, Any]) -> None:
    """A control vector of llama.cpp: the tensor `direction.<layer>`, whose number is the block's, counted from 0.

    llama.cpp adds it, times the scale that it is given (the declared dose), to the output of that block, and keeps no vector
    for block 0. Raises InputError there.
    """
    if probe.layer == 0:
        raise InputError("block 0: llama.cpp's control vectors begin at block 1; export as safetensors or pt")
    with atomic(path) as beside:
        writer = gguf.GGUFWriter(beside, "controlvector")
        writer.add_string("controlvector.model_hint", str(card.get("architecture", "")).removesuffix("ForCausalLM").lower())
        writer.add_uint32("controlvector.layer_count", int(card["blocks"]) - 1)
        for name, value in declared.items():
            writer.add_string(f"probesteer.{name}", value)
        writer.add_tensor(f"direction.{probe.layer}", unit(probe, arm))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def unit(probe: Probe, arm: str) -> np.ndarray:
    """The direction of an arm (hidden,) as a unit vector, float32."""
    direction = probe.of(arm).astype(np.float64)
    return np.ascontiguousarray(direction / np.linalg.norm(direction), dtype=np.float32)
