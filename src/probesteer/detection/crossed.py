"""Is it the behaviour that is read, or only what it comes with: a factor that the pairs are crossed with, such as the tone?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from probesteer.detection.activations import LayerActivations
from probesteer.detection.design import Design
from probesteer.detection.estimate import Estimate, metric_row
from probesteer.detection.heldout import dprime
from probesteer.detection.robustness import difference, held_out_scores, scored
from probesteer.detection.selection import contrast
from probesteer.directions.methods import fitted
from probesteer.errors import InputError
from probesteer.stats import jackknife_interval


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
    `factor_tells_auroc` on the behaviour, and `cos_factor`, its cosine with the behaviour's direction, corrected for noise.
    `without_factor_auroc` and `without_factor_dprime` are those of a probe where the factor's direction is projected out, here
    fitted on all texts: what is left of it by noise would pass for the behaviour.
    """
    activations, design = cache.activations.astype(np.float64), cache.design
    for name, (first, second) in levels_of(cache, factors).items():
        at_first = cache.factors[name] == first
        yield from _levels(activations, design, {f"{name}: {first}": at_first, f"{name}: {second}": ~at_first})
        by_level = Design(at_first, design.groups, design.train, design.folds)
        scores = held_out_scores(activations, design, fitted(*by_level.sides(activations)))
        yield metric_row("factor_auroc", scored(scores, by_level), name)
        yield metric_row("factor_tells_auroc", scored(scores, design), name)
        yield metric_row("cos_factor", true_cosine(activations, design, at_first), name)
        along = fitted(activations[at_first], activations[~at_first])
        scores = held_out_scores(activations - np.outer(activations @ along, along), design)
        yield metric_row("without_factor_auroc", scored(scores, design), name)
        yield metric_row("without_factor_dprime", dprime_of(scores, design), name)


def dprime_of(scores: np.ndarray, design: Design) -> Estimate:
    """d' of scores of the held-out texts; jackknife over groups."""
    truth = design.labels[design.test]
    return Estimate(*jackknife_interval(lambda kept: dprime(scores[kept], truth[kept]), design.groups[design.test]))


def true_cosine(activations: np.ndarray, design: Design, other: np.ndarray) -> Estimate:
    """The cosine of two mean differences of the training texts (texts, hidden): of their sides, and of `other`, bool (texts,).

    Noise draws the cosine of fitted directions towards 0, the more the more dimensions there are. Products of different groups
    alone share no noise: their sums estimate the products of the true differences. Jackknife over groups; NaN where a sum of
    squares is not positive, so that there is no difference to be seen.
    """
    train = design.train
    names, group = np.unique(design.groups[train], return_inverse=True)
    centred = activations[train] - activations[train].mean(0)
    of_group = np.eye(len(names))[:, group]
    # what each group adds to a difference of means
    sides, levels = (of_group @ (contrast(labels[:, None]) * centred) for labels in (design.labels[train], other[train]))
    products = [a @ b.T * (1 - np.eye(len(names))) for a, b in ((sides, levels), (sides, sides), (levels, levels))]

    def of(kept: np.ndarray) -> float:
        both, *squares = (product[np.ix_(kept, kept)].sum() for product in products)
        return float(both / np.sqrt(np.prod(squares))) if min(squares) > 0 else float("nan")

    return Estimate(*jackknife_interval(of, np.arange(len(names))))


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
