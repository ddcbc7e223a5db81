"""Do two raters agree? Cohen's kappa of a scorer with human ratings."""

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from probesteer.errors import InputError
from probesteer.stats import percentile_interval
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM

DRAWS = 2000
AXES = ["model", "layer", "scenario", "alpha", "sample"]


def agreement(scores: pd.DataFrame, ratings: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Cohen's kappa of a scorer's sign with ratings 0, 1, 2 of the same texts, with its bootstrap interval over texts.

    Both carry the columns AXES; scores `evidence`, ratings `rating`. Where both have arms they are matched on these too;
    ratings without arms are of the probe's and the unsteered texts. `unmatched` counts the ratings of other texts. Raises
    InputError where they have no text in common, or a text has two scores or two ratings.
    """
    if "arm" in scores and "arm" not in ratings:
        scores = scores[scores["arm"].isin([PROBE_ARM, BASELINE_ARM])]
    keys = [*AXES, "arm"] if "arm" in scores and "arm" in ratings else AXES
    for name, table in (("scores", scores), ("ratings", ratings)):
        if (again := table.duplicated(keys)).any():
            text = ", ".join(f"{key} {value}" for key, value in table.loc[again, keys].iloc[0].items())
            raise InputError(f"{name}: {text} is there twice; kappa needs one of each text")
    both = scores[scores["evidence"].notna()].merge(ratings[[*keys, "rating"]], on=keys)
    unmatched = len(ratings) - len(both)
    again = both.duplicated([name for name in (*keys, "text", "evidence", "rating") if name in both and name != "layer"])
    both = both[(both["alpha"] != 0) | ~again]  # an unsteered text stands at every layer and counts once
    if both.empty:
        raise InputError(f"scores and ratings have no row in common; they are matched on {', '.join(keys)}")
    ours, theirs = np.sign(both["evidence"].to_numpy(dtype=int)), both["rating"].to_numpy(dtype=int) - 1
    found = {"texts": len(both), "unmatched": unmatched, "kappa": kappa(ours, theirs)}
    if len(both) < 2:
        return {**found, "lower": float("nan"), "upper": float("nan")}
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(both), (DRAWS, len(both)))
    with np.errstate(invalid="ignore"):
        lower, upper = percentile_interval(np.array([kappa(ours[draw], theirs[draw]) for draw in draws]))
    return {**found, "lower": lower, "upper": upper}


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa (Cohen 1960); NaN where both raters gave one and the same level to everything."""
    constant = len(set(first) | set(second)) == 1
    return float("nan") if constant else float(cohen_kappa_score(first, second))
