"""Do models agree on the same texts, and more or less than a model agrees with itself?"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from probesteer.compare.readings import Readings
from probesteer.stats import LEVEL, clusters, defined_mean

MOST_MODELS = 30  # of which every layer is compared; of more the selected blocks alone
AGREEMENT = ["model", "other", "layer", "other_layer", "selected", "texts"]
AGREEMENT += [f"{name}{bound}" for name in ("r", "r_within") for bound in ("", "_lower", "_upper")]
AGREEMENT += ["halves", "halves_model", "halves_other", "of_ceiling"]


def agreement(readings: Mapping[str, Readings], blocks: Mapping[str, int], selected: Mapping[str, int]) -> pd.DataFrame:
    """A row per pair of models and of layers at the same depth, and one of the blocks that they select.

    r: Pearson's correlation of the two probes' scores over all held-out texts, r_within: the same within the sides, which is
    what the labels do not bring about; both with intervals over clusters. halves: mean correlation of probes fitted on
    different halves of the training pairs, of the two models, and of each model with itself (halves_model, halves_other).
    of_ceiling: halves over the geometric mean of the latter two (Spearman 1904), NaN where one of them is not positive.
    """
    rows = []
    for model, other in combinations(readings, 2):
        chosen = selected[model], selected[other]
        places = {chosen: None}
        if len(readings) <= MOST_MODELS:
            places = dict.fromkeys(same_depth(readings, blocks, model, other)) | places
        for place in places:
            row = {"model": model, "other": other, "layer": place[0], "other_layer": place[1], "selected": place == chosen}
            rows.append(row | compared(readings[model], readings[other], *place))
    return pd.DataFrame(rows, columns=AGREEMENT)


def depth(layer: int, blocks: int) -> float:
    """How deep a layer is, as a share of the blocks: 0 for the embeddings, 1 for the last block."""
    return (layer + 1) / blocks


def same_depth(
    readings: Mapping[str, Readings], blocks: Mapping[str, int], model: str, other: str
) -> Iterator[tuple[int, int]]:
    """Every layer of the model that has fewer of them, with the other one's nearest in depth."""
    few, many = sorted((model, other), key=lambda name: len(readings[name].scores))
    for layer in readings[few].scores:
        near = min(readings[many].scores, key=lambda at: abs(depth(at, blocks[many]) - depth(layer, blocks[few])))
        yield (layer, near) if few == model else (near, layer)


def compared(model: Readings, other: Readings, layer: int, other_layer: int) -> dict[str, Any]:
    """The numbers of a row of `agreement`."""
    first, second = model.scores[layer], other.scores[other_layer]
    row: dict[str, Any] = {"texts": len(first)}
    for name, strata in (("r", None), ("r_within", model.labels)):
        found = correlation(first, second, model.groups, strata)
        row |= dict(zip([name, f"{name}_lower", f"{name}_upper"], found, strict=True))
    halves, others = model.halves[layer], other.halves[other_layer]
    row["halves"] = mean_correlation(halves, others[..., ::-1])
    row["halves_model"], row["halves_other"] = (mean_correlation(one, one[..., ::-1]) for one in (halves, others))
    ceiling = row["halves_model"] * row["halves_other"] if min(row["halves_model"], row["halves_other"]) > 0 else np.nan
    return row | {"of_ceiling": row["halves"] / np.sqrt(ceiling)}


def mean_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of Pearson's correlations of the columns of two arrays (texts, ...); NaN where all are undefined."""
    first, second = first - first.mean(0), second - second.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first * second).sum(0) / np.sqrt((first**2).sum(0) * (second**2).sum(0))
    return float(defined_mean(found.ravel()))


def correlation(
    first: np.ndarray, second: np.ndarray, groups: np.ndarray, strata: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Pearson's correlation of values (texts,), pooled within `strata`, with its 95 % interval.

    Jackknife over clusters of Fisher's z (Efron and Stein 1981, Annals of Statistics 9), Student's t with Kish's number of
    clusters less 1 degrees of freedom. NaN where a value does not vary; bounds are NaN with fewer than three clusters.
    """
    group, effective, _ = clusters(groups)
    stratum = np.unique(np.zeros(len(first)) if strata is None else strata, return_inverse=True)[1]
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return float("nan"), float("nan"), float("nan")
    x, y = ((one - one.mean()) / one.std() for one in (first, second))
    count = group.max() + 1
    sums = np.zeros((count, stratum.max() + 1, 6))
    np.add.at(sums, (group, stratum), np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y]))
    whole = sums.sum(0)
    estimate = _pooled(whole[None])[0]
    if count < 3:
        return float(estimate), float("nan"), float("nan")
    without = np.arctanh(_pooled(whole - sums))
    half = t.ppf((1 + LEVEL) / 2, effective - 1) * np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    lower, upper = np.tanh(np.arctanh(estimate) + np.array([-half, half]))
    return float(estimate), float(lower), float(upper)


def _pooled(sums: np.ndarray) -> np.ndarray:
    """Correlations within strata, from sums (draws, strata, 6) of 1, x, y, xx, yy, xy: (draws,)."""
    number, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    number = np.maximum(number, 1)
    both, one, two = ((a - b / number).sum(-1) for a, b in ((xy, x * y), (xx, x * x), (yy, y * y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(both / np.sqrt(one * two), -1 + 1e-12, 1 - 1e-12)


def matrix(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Correlations at the selected blocks, model by model; a model's with itself is that of halves of the pairs."""
    found = pd.DataFrame(np.nan, index=[*models], columns=[*models])
    for row in table[table["selected"]].itertuples():
        found.loc[row.model, row.other] = found.loc[row.other, row.model] = row.r
        found.loc[row.model, row.model], found.loc[row.other, row.other] = row.halves_model, row.halves_other
    return found
