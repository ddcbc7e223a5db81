"""What determines a steering cell, and which cells are missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from probesteer.concepts.concept import Concept
from probesteer.directions import Probe
from probesteer.files.digests import digest
from probesteer.files.tables import has_fingerprint
from probesteer.study.cells import CALIBRATION_ARM, PROMPTED_ARMS, Cell
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.sections import Sampling

NUMERICS = 4  # bump by hand when the same inputs give other texts, or other numbers about them
JUDGED = "judged"  # the draws of all other arms
CALIBRATION_SAMPLES = 40  # per scenario: a bound at their second largest is passed by 2 of 41 unsteered texts, 4.9 %


@dataclass(frozen=True)
class Sweep:
    """The settings that all cells of a sweep share."""

    concept: Concept
    sampling: Sampling
    samples: int
    seed: int
    alpha_unit: str
    positions: Literal["all", "response"]

    @classmethod
    def of(cls, study: Study, concept: Concept, model: Model) -> "Sweep":
        """The sweep of a model in a study."""
        return cls(concept, study.sampling_of(model), study.samples, study.seed, study.alpha_unit, study.positions)

    def samples_of(self, cell: Cell) -> int:
        """How many texts a cell has."""
        return CALIBRATION_SAMPLES if cell.arm == CALIBRATION_ARM else self.samples

    def neutral_user(self) -> str:
        """The user turn before the neutral texts: that of the concept's first scenario."""
        return next(iter(self.concept.scenarios.values())).user_prompt()

    def inputs(self, cell: Cell, card: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
        """Everything that determines a cell's texts; its digest is the cell's fingerprint."""
        system = self.concept.system_prompts
        inputs = {
            "numerics": NUMERICS,
            "model": card["digest"],
            "chat_template": card["chat_template"],
            "system": getattr(system, PROMPTED_ARMS.get(cell.arm, "neutral")),
            "user": self.concept.scenarios[cell.scenario].user_prompt(),
            "elsewhere": self.concept.elsewhere(cell.scenario),
            "neutral": digest([self.neutral_user(), self.concept.neutral_texts]),
            "scenario": cell.scenario,
            "draws": CALIBRATION_ARM if cell.arm == CALIBRATION_ARM else JUDGED,
            "samples": self.samples_of(cell),
            "seed": self.seed,
            "sampling": self.sampling.model_dump(),
        }
        if cell.layer is not None and probe is not None:
            direction = sha256(probe.of(cell.arm).tobytes()).hexdigest()
            inputs |= {
                "layer": probe.layer,
                "push": probe.push(cell.alpha, self.alpha_unit),
                "direction": direction,
                "positions": self.positions,
            }
        return inputs

    def fingerprints(self, cells: Sequence[Cell], card: Mapping[str, Any], probe: Probe | None) -> dict[Cell, str]:
        """The fingerprint of each cell."""
        return {cell: digest(self.inputs(cell, card, probe)) for cell in cells}


def stale_cells(fingerprints: Mapping[Cell, str], root: Path) -> list[Cell]:
    """The cells below `root` that are missing, broken, or made from other inputs."""
    return [cell for cell, fingerprint in fingerprints.items() if not has_fingerprint(cell.path(root), fingerprint)]
