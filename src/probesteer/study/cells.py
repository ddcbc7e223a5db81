"""The steering grid: arms x models x layers x scenarios x alphas, a cell each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from probesteer.study.options import alpha_label

PROBE_ARM, BASELINE_ARM = "probe", "baseline"
RANDOM, FLIPPED = "random", "flipped"  # kinds of control arms; an arm is named "flipped-1"
CALIBRATION_ARM = "calibration"  # unsteered draws that bound what counts as coherent, and are not judged
PROMPTED_ARMS = {"prompted-positive": "positive", "prompted-negative": "negative"}  # unsteered, under the concept's prompts

UNSTEERED_ARMS = (BASELINE_ARM, CALIBRATION_ARM, *PROMPTED_ARMS)
UNSTEERED_PLAYERS = (BASELINE_ARM, *PROMPTED_ARMS)  # of games


class Cell(NamedTuple):
    """One point of the steering grid: the unit of reuse. Unsteered cells have no layer and alpha 0."""

    arm: str
    model: str
    scenario: str
    layer: int | str | None = None
    alpha: float = 0.0

    def path(self, root: Path) -> Path:
        """Hive-style path below `root`: the axes are in the path, not in the file."""
        steered = [] if self.layer is None else [f"layer={self.layer}"]
        dose = [] if self.layer is None else [f"alpha={alpha_label(self.alpha)}"]
        parts = [f"arm={self.arm}", f"model={self.model}", *steered, f"scenario={self.scenario}", *dose, "cell.parquet"]
        return root / "/".join(parts)


def dose_pairs(alphas: Iterable[float], limit: float) -> list[tuple[float, float]]:
    """The lowest and the highest alpha within +-limit, 0 among them, and the next pair inwards, which may be missing."""
    within = sorted({0.0, *(alpha for alpha in alphas if abs(alpha) <= limit)})
    pairs = zip(within[:2], within[:-3:-1], strict=False)
    return [(low, high) for low, high in pairs if low <= 0 <= high and low < high]


def steered_cells(
    model: str, layer: int | str, scenarios: Sequence[str], alphas: Sequence[float], controls: Sequence[str], limit: float
) -> list[Cell]:
    """The cells of a (model, layer) without alpha 0: the probe's, and those of control arms.

    Random directions are steered with over |alpha| <= limit, flipped ones at the doses of `dose_pairs`.
    """
    extremes = {alpha for pair in dose_pairs(alphas, limit) for alpha in pair}

    def wanted(arm: str, alpha: float) -> bool:
        return alpha in extremes if arm.startswith(FLIPPED) else arm == PROBE_ARM or abs(alpha) <= limit

    return [
        Cell(arm, model, scenario, layer, alpha)
        for arm in (PROBE_ARM, *controls)
        for scenario in scenarios
        for alpha in alphas
        if alpha != 0 and wanted(arm, alpha)
    ]


def unsteered_cells(model: str, scenarios: Iterable[str], arms: Iterable[str] = UNSTEERED_ARMS) -> list[Cell]:
    """The baseline, the calibration and the prompted cells of a model."""
    named = list(scenarios)
    return [Cell(arm, model, name) for arm in arms for name in named]
