"""Which block, chosen how, and whether the whole choice beats chance: label permutations that refit and choose again.

Mean-difference scores need only inner products of texts, so all permutations of a block are one product with its Gram matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from probesteer.concepts.duplicates import linked
from probesteer.detection.design import Design
from probesteer.stats import auroc, defined_mean, permutation_p
from probesteer.study.options import EMBEDDINGS

PERMUTATIONS, FOLDS, NESTED_FOLDS = 1000, 5, 3


@dataclass(frozen=True)
class LayerNull:
    """A layer against probes refitted on permuted labels."""

    cv_auroc: float
    """Mean AUROC over folds of the training split, each scored by a probe fitted on the others: what the choice is made by."""
    null: np.ndarray
    """Test AUROC under permuted labels (permutations,)."""
    p: float
    """One-sided permutation p of the test AUROC: (b + 1) / (m + 1)."""
    p_max: float
    """The same against the largest AUROC of any block in each permutation: corrected for looking at all blocks."""


@dataclass(frozen=True)
class Selection:
    """The block that cross-validation on the training split chooses."""

    layer: int
    by_layer: dict[int, LayerNull]
    p: float
    """Permutation p of the chosen block's test AUROC; every permutation refits and chooses its own block."""
    nested_auroc: float
    """Mean AUROC over outer training folds of the block that the inner folds choose; NaN where there are none of these."""


def merged_folds(folds: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What each fold leaves out (texts,): the given folds, joined where a group spans two.

    Where that leaves a single fold, FOLDS sets of whole groups.
    """
    names, fold = np.unique(folds, return_inverse=True)
    units, group = np.unique(groups, return_inverse=True)
    joined = linked(fold, len(names) + group, len(names) + len(units))[fold]
    return joined if len(np.unique(joined)) > 1 else group % FOLDS


def permuted_labels(labels: np.ndarray, groups: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Labels under the null, (texts, draws): each whole group keeps its labels or has all of them flipped."""
    names, group = np.unique(groups, return_inverse=True)
    flips = rng.random((len(names), draws)) < 0.5
    return labels[:, None] ^ flips[group]


def contrast(labels: np.ndarray, inside: np.ndarray | bool = True) -> np.ndarray:
    """Weights that take a mean difference: bool (texts, draws) to float (texts, draws), NaN where a class is empty."""
    positive, negative = inside & labels, inside & ~labels
    with np.errstate(invalid="ignore", divide="ignore"):
        return positive / positive.sum(0) - negative / negative.sum(0)


def refitted_aurocs(gram: np.ndarray, labels: np.ndarray, fit: np.ndarray, out: np.ndarray) -> np.ndarray:
    """AUROC of mean-difference probes fitted on the texts `fit` and scored on the texts `out`, per column of labels.

    gram (texts, texts), labels bool (texts, draws), fit and out bool (texts,): (draws,), NaN where a class is empty.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return auroc(gram[np.ix_(out, fit)] @ contrast(labels[fit]), labels[out])


def select(activations: Mapping[int, np.ndarray], design: Design, seed: int = 0, count: int = PERMUTATIONS) -> Selection:
    """Choose a block by cross-validation within the training split, and test the choice by `count` permutations.

    activations: layer to (texts, hidden), of which EMBEDDINGS is no candidate unless it is alone. Column 0 of every draw is
    the observed labelling, so that it takes the very path of the permutations.
    """
    rng = np.random.default_rng(seed)
    draws = np.column_stack([design.labels, permuted_labels(design.labels, design.groups, count, rng)])
    outs = held_out_folds(design)
    layers = sorted(activations)
    found = [_layer_aurocs(activations[layer], draws, design.train, outs, nested_folds(design)) for layer in layers]
    test, cv, outer, inner = (np.array(part) for part in zip(*found, strict=True))
    candidates = np.array([i for i, layer in enumerate(layers) if layer != EMBEDDINGS] or [0])
    best = candidates[np.nan_to_num(cv[candidates], nan=-np.inf).argmax(0)]  # ties: the earliest block
    chosen = test[best, np.arange(draws.shape[1])]
    largest = np.fmax.reduce(test[candidates])
    inner_best = candidates[np.nan_to_num(inner[candidates], nan=-np.inf).argmax(0)]
    nested = outer[inner_best, np.arange(inner.shape[1])]
    by_layer = {
        layer: LayerNull(
            float(cv[i, 0]), test[i, 1:], permutation_p(test[i, 0], test[i, 1:]), permutation_p(test[i, 0], largest[1:])
        )
        for i, layer in enumerate(layers)
    }
    return Selection(layers[best[0]], by_layer, permutation_p(chosen[0], chosen[1:]), float(defined_mean(nested)))


def held_out_folds(design: Design) -> list[np.ndarray]:
    """The training texts that each fold leaves out, bool (texts,) each."""
    return _outs(merged_folds(design.folds[design.train], design.groups[design.train]), design)


def nested_folds(design: Design) -> list[np.ndarray]:
    """The same for nested cross-validation: sets of whole groups where there are too few scenarios, none where too few groups.

    An inner fold is scored by a probe that has seen neither it nor the outer one, so three are needed.
    """
    outs = held_out_folds(design)
    if len(outs) < NESTED_FOLDS:
        outs = _outs(np.unique(design.groups[design.train], return_inverse=True)[1] % FOLDS, design)
    return outs if len(outs) >= NESTED_FOLDS else []


def _outs(fold: np.ndarray, design: Design) -> list[np.ndarray]:
    outs = []
    for name in np.unique(fold):
        out = np.zeros(len(design.labels), dtype=bool)
        out[np.flatnonzero(design.train)[fold == name]] = True
        outs.append(out)
    return outs


def _layer_aurocs(
    activations: np.ndarray, draws: np.ndarray, train: np.ndarray, outs: Sequence[np.ndarray], nested: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """AUROC of one layer (texts, hidden): of the test split and cross-validated over `outs`, both (draws,).

    And of the observed labels, per fold of `nested`, on that fold and on the other folds where it is not seen, both (folds,).
    """
    wide = activations.astype(np.float64)
    gram, observed = wide @ wide.T, draws[:, :1]
    per_fold = [refitted_aurocs(gram, draws, train & ~out, out) for out in outs]
    outer = [refitted_aurocs(gram, observed, train & ~out, out)[0] for out in nested]
    # with a second fold left out as well: [a][b] is the observed score of fold b where fold a is not seen
    without = np.full((len(nested), len(nested)), np.nan)
    for a, b in permutations(range(len(nested)), 2):
        without[a, b] = refitted_aurocs(gram, observed, train & ~nested[a] & ~nested[b], nested[b])[0]
    cv, inner = defined_mean(np.array(per_fold)), defined_mean(without, 1)
    return refitted_aurocs(gram, draws, train, ~train), cv, np.array(outer), inner
