"""Is the behaviour steered best where it is read best? The best block of each, and how far they lie apart."""

from typing import Any

import numpy as np
import pandas as pd

from probesteer.behaviour.changes import bounded
from probesteer.behaviour.effects import of_arm
from probesteer.stats import percentile_interval

DRAWS = 1000


def gap_row(pairs: pd.DataFrame, scores: pd.DataFrame, limit: float, seed: int = 0) -> dict[str, Any]:
    """The best block to read and to steer at, of those that were measured, and the gap between them, each with its interval.

    pairs: layer, group, scenario, positive, projection of held-out texts; scores: of a sweep. Read best: the largest AUROC, of
    blocks that tie the largest d'. Steered best: the largest change of the rate of positive and coherent texts from the lowest
    to the highest alpha within +-limit, mean over scenarios. Bootstrap within scenarios: a draw takes clusters of pairs, and
    samples, the same at every block, so that blocks are compared on the same ones. *_certain: the share of draws in which the
    block is the best; gap: read less steered, in blocks; lost: what steering at the steered block nearest to the one that is
    read best gives away. The largest of several changes is too large by chance. A single steered block has no gap.
    """
    rng = np.random.default_rng(seed)
    layers, reads = reading_draws(pairs, rng)
    blocks, changes = steering_draws(scores, limit, rng)
    read, steered = layers[reads.argmax(1)], blocks[changes.argmax(1)]
    nearest = np.abs(blocks[None] - read[:, None]).argmin(1)
    compared = {"steered_block": steered, "gap": read - steered}
    compared["lost"] = changes.max(1) - changes[np.arange(len(changes)), nearest]
    row = _estimated("read_block", read) | {"read_certain": _certain(read), "read_blocks": len(layers)}
    row |= _estimated("change", changes.max(1)) | {"steered_blocks": len(blocks), "steered_certain": _certain(steered)}
    for name, draws in compared.items():
        row |= _estimated(name, draws)
    if len(blocks) == 1:  # nothing was compared
        row |= {name: float("nan") for name in row if name.startswith(("gap", "lost", "steered_block_", "steered_certain"))}
    return row


def _estimated(name: str, draws: np.ndarray) -> dict[str, float]:
    """What the data say, which is the first draw, with the central 95 % of the others."""
    return bounded(name, (float(draws[0]), *percentile_interval(draws[1:].astype(float))))


def _certain(draws: np.ndarray) -> float:
    return float((draws[1:] == draws[0]).mean())


def weights(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each unit counts, drawn with replacement within its stratum: (1 + DRAWS, units), first as they are."""
    drawn = np.ones((1 + DRAWS, len(strata)))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        drawn[1:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), DRAWS)
    return drawn


def reading_draws(pairs: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The blocks, and how well each reads the pairs in every draw: (1 + DRAWS, blocks), the AUROC and a trace of the d'.

    A draw that lacks a side reads nothing.
    """
    wide = pairs.assign(row=pairs.groupby("layer").cumcount()).pivot(index="row", columns="layer", values="projection")
    first = pairs[pairs["layer"] == wide.columns[0]]
    positive = first["positive"].to_numpy(dtype=bool)
    _names, group = np.unique(first["group"].to_numpy(dtype=str), return_inverse=True)
    strata = pd.Series(first["scenario"].to_numpy()).groupby(group).first().to_numpy(dtype=str)
    drawn = weights(strata, rng)[:, group]
    for_, against = drawn[:, positive], drawn[:, ~positive]
    totals = for_.sum(1) * against.sum(1)
    found = []
    for layer in wide:
        values = wide[layer].to_numpy(dtype=float)
        above, below = values[positive][:, None], values[~positive][None]
        wins = ((for_ @ ((above > below) + 0.5 * (above == below))) * against).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(np.nan_to_num(wins / totals + 1e-9 * np.clip(_dprime(values, positive, drawn), 0, 1e3)))
    return wide.columns.to_numpy(dtype=int), np.array(found).T


def _dprime(values: np.ndarray, positive: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """d' of values (texts,) in every draw (draws, texts): (draws,)."""
    sides = []
    for side in (positive, ~positive):
        weight, own = drawn[:, side], values[side]
        mean = weight @ own / weight.sum(1)
        sides.append((mean, np.maximum(weight @ own**2 / weight.sum(1) - mean**2, 0)))
    (high, its), (low, other) = sides
    return (high - low) / np.sqrt((its + other) / 2)


def steering_draws(scores: pd.DataFrame, limit: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The blocks, and the change of the rate at each in every draw: (1 + DRAWS, blocks)."""
    steered = of_arm(scores)
    within = steered[steered["alpha"].abs() <= limit]
    within = within.assign(outcome=(within["positive"] & within["coherent"]).astype(float))
    table = within.pivot(index=["scenario", "sample"], columns=["layer", "alpha"], values="outcome").dropna()
    blocks = sorted({*table.columns.get_level_values("layer")})
    scenario = table.index.get_level_values("scenario").to_numpy(dtype=str)
    drawn = weights(scenario, rng)
    counts = pd.Series(scenario).map(pd.Series(scenario).value_counts()).to_numpy()
    share = drawn / counts / len(np.unique(scenario))  # scenarios count alike
    ends = [table[block].sort_index(axis=1) for block in blocks]
    changes = np.array([(own.iloc[:, -1] - own.iloc[:, 0]).to_numpy() for own in ends])
    return np.array(blocks, dtype=int), share @ changes.T
