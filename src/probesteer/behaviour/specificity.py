"""Does the probe's direction move the rate more than directions do that the pairs give without their labels?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probesteer.behaviour.effects import CEILING, FLOOR, rated
from probesteer.study.cells import BASELINE_ARM, FLIPPED, PROBE_ARM


def specificity(scores: pd.DataFrame, pairs: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """The probe's rate change among those of the flipped arms: one row per (model, layer), none without such arms.

    `pairs` are doses as `study.cells.dose_pairs` gives them; see `compared`.
    """
    rows = []
    known = rated(scores)
    known = known[known["layer"].notna() & known["arm"].str.match(f"{PROBE_ARM}|{BASELINE_ARM}|{FLIPPED}-")]
    known = known.assign(outcome=(known["positive"] & known["coherent"]).astype(float))
    for (model, layer), own in known.groupby(["model", "layer"], sort=True):
        by_scenario = own.groupby(["arm", "alpha", "scenario"])["outcome"].mean()
        rates = by_scenario.groupby(["arm", "alpha"]).mean().unstack("alpha")
        rates[0.0] = rates.loc[BASELINE_ARM, 0.0]
        if len(rates := rates.drop(index=BASELINE_ARM)) > 1:
            rows.append({"model": model, "layer": int(layer), **compared(rates, pairs)})
    return pd.DataFrame(rows)


def compared(rates: pd.DataFrame, pairs: Sequence[tuple[float, float]]) -> Mapping[str, Any]:
    """The comparison; `rates` are of (positive and coherent), mean over scenarios: a row per arm, a column per alpha.

    p = (1 + number of |c_k| >= c) / (2 (K + 1)), with c the probe's rate change and c_k that of flipped arm k of K.

    The labels of a random half of the groups flipped, a mean difference is as likely to point one way as the other: a null
    direction's change has a sign of chance, and the probe's is one of K + 1 exchangeable ones. The first pair of doses is
    compared at which neither the probe's rate nor the median arm's is at the ceiling or the floor, where a direction can do no
    more; the last pair, named saturated, where there is none.
    """
    flipped = rates.drop(index=PROBE_ARM)
    stuck = [saturated(rates.loc[PROBE_ARM], flipped, pair) for pair in pairs]
    low, high = pairs[stuck.index(False) if False in stuck else -1]
    change = float(rates.loc[PROBE_ARM, high] - rates.loc[PROBE_ARM, low])
    others = (flipped[high] - flipped[low]).abs().to_numpy()
    return {
        "alpha_low": low,
        "alpha_high": high,
        "saturated": False not in stuck,
        "rate_change": change,
        "flipped_median": float(np.median(others)),
        "flipped_largest": float(others.max()),
        "arms": len(others),
        "p": rank_p(change, others),
    }


def rank_p(change: float, others: np.ndarray) -> float:
    """The p of the probe's change among the sizes (arms,) of those of flipped arms, as in `compared`."""
    return float((1 + (others >= change - 1e-12).sum()) / (2 * (len(others) + 1)))


def saturated(probe: pd.Series, flipped: pd.DataFrame, pair: tuple[float, float]) -> bool:
    """Whether the rate of the probe or of the median flipped arm is at the ceiling or the floor at one of two doses."""
    rates = [rate for alpha in pair for rate in (probe[alpha], flipped[alpha].median())]
    return any(rate >= CEILING or rate <= FLOOR for rate in rates)
