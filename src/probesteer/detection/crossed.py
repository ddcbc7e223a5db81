"""Is it the behaviour that is read, or only what it comes with: a factor that the pairs are crossed with, such as the tone?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probesteer.detection.activations import LayerActivations
from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, metric_row
from probesteer.detection.robustness import difference, held_out_auroc, held_out_scores, scored
from probesteer.directions.methods import cosine, fitted
from probesteer.errors import InputError


def levels_of(cache: LayerActivations, factors: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The two levels of each factor of a cache: as `factors` orders them, else by the alphabet.

    Raises InputError for a factor without two levels that have texts of both sides in both splits.
    """
    design, found = cache.design, {}
    for name, level in cache.factors.items():
        found[name] = list(factors.get(name, sorted(set(level))))
        wanted = [(split, own) for split in (design.train, design.test) for own in found[name]]
        if len(found[name]) != 2 or any(len(set(design.labels[split & (level == own)])) < 2 for split, own in wanted):
            raise InputError(
                f"factor {name} of the activations has the levels {', '.join(found[name])}; two are expected, with texts of "
                "both labels in both splits"
            )
    return found


def crossed(cache: LayerActivations, factors: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Rows of every crossed factor at a layer.

    Of each level of it, "tone: warm", on the held-out texts of that level: `within_level_auroc` of the behaviour's direction
    fitted on the training texts of the same level, `across_level_auroc` of that fitted in the other one, and `level_drop`, how
    far the second is below the first. Scores are compared within a level: what the factor adds to all of its texts counts for
    nothing. Of the factor's own direction, the mean difference of its levels over both sides: `factor_auroc` on the levels,
    `factor_tells_auroc` on the behaviour, `cos_factor` with the behaviour's direction, and `without_factor_auroc`, what a
    probe reads of the behaviour where that direction is projected out. The cosine is that of fitted directions, which noise
    draws towards 0, and has no interval for that reason.
    """
    activations, design = cache.activations.astype(np.float64), cache.design
    for name, (first, second) in levels_of(cache, factors).items():
        at_first = cache.factors[name] == first
        yield from _levels(activations, design, {f"{name}: {first}": at_first, f"{name}: {second}": ~at_first})
        along = fitted(activations[design.train & at_first], activations[design.train & ~at_first])
        by_level = Design(at_first, design.groups, design.train, design.folds)
        yield metric_row("factor_auroc", scored(held_out_scores(activations, design, along), by_level), name)
        yield metric_row("factor_tells_auroc", scored(held_out_scores(activations, design, along), design), name)
        yield metric_row("cos_factor", Estimate(cosine(fitted(*design.sides(activations)), along)), name)
        left = activations - np.outer(activations @ along, along)
        yield metric_row("without_factor_auroc", held_out_auroc(left, design), name)


def _levels(activations: np.ndarray, design: Design, levels: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Rows of both levels, each bool (texts,) by its name."""
    designs = {name: design.among(inside) for name, inside in levels.items()}
    fits = {name: fitted(*designs[name].sides(activations[inside])) for name, inside in levels.items()}
    for name, inside in levels.items():
        read, (other,) = designs[name], set(levels) - {name}
        within, across = (held_out_scores(activations[inside], read, fits[way]) for way in (name, other))
        yield metric_row("within_level_auroc", scored(within, read), name)
        yield metric_row("across_level_auroc", scored(across, read), name)
        yield metric_row("level_drop", difference(within, across, read), name)
