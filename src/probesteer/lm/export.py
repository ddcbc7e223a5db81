"""The verb that writes a direction for other tools."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from probesteer.directions import Probe, load_probe
from probesteer.directions.export import declaration, require_model, unit, write_gguf, write_safetensors
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.whole import atomic, refuse_overwrite
from probesteer.study.options import AUTO, Site

Writer = Callable[[Probe, Path, str, Mapping[str, str], Mapping[str, Any]], None]


def write_pt(probe: Probe, path: Path, arm: str, declared: Mapping[str, str], _card: Mapping[str, Any]) -> None:
    """A dictionary with the tensor `direction` (hidden,) and the declaration; torch reads it with `weights_only=True`."""
    with atomic(path) as beside:
        torch.save({"direction": torch.from_numpy(unit(probe, arm)), **declared}, beside)


WRITERS: dict[str, Writer] = {
    ".gguf": write_gguf,
    ".safetensors": lambda probe, path, arm, declared, _card: write_safetensors(probe, path, arm, declared),
    ".pt": write_pt,
}


def export(
    path: Path,
    card: Path,
    output: Path,
    layer: Site = AUTO,
    arm: str = "probe",
    dose: tuple[float, str] = (1.0, "separation"),
    force: bool = False,
) -> dict[str, str]:
    """Write the direction of a probe file for a model, whose card is at `card`, in the format that the output's ending says.

    Returns the declaration. Raises InputError where the model is another one than the probe's, unless forced.
    """
    refuse_overwrite(output, path, card)
    if output.suffix not in WRITERS:
        raise InputError(f"{output}: a file that ends in {', '.join(WRITERS)} is expected")
    probe, model = load_probe(path, layer), read_card(card)
    require_model(probe, model, force)
    declared = declaration(probe, arm, *dose)
    WRITERS[output.suffix](probe, output, arm, declared, model)
    return declared
