"""Do two raters agree? Cohen's kappa of a scorer with human ratings."""

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from probesteer.errors import InputError
from probesteer.stats import percentile_interval

DRAWS = 2000
AXES = ["model", "layer", "scenario", "alpha", "sample"]


def agreement(scores: pd.DataFrame, ratings: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Cohen's kappa of a scorer's sign with ratings 0, 1, 2 of the same texts, with its bootstrap interval over texts.

    Both carry the columns AXES; scores `evidence`, ratings `rating`. Raises InputError where they have no text in common.
    """
    both = scores.merge(ratings[[*AXES, "rating"]], on=AXES)
    if both.empty:
        raise InputError(f"scores and ratings have no row in common; they are matched on {', '.join(AXES)}")
    ours, theirs = np.sign(both["evidence"].to_numpy()), both["rating"].to_numpy() - 1
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(both), (DRAWS, len(both)))
    with np.errstate(invalid="ignore"):
        lower, upper = percentile_interval(np.array([kappa(ours[draw], theirs[draw]) for draw in draws]))
        return {"texts": len(both), "kappa": kappa(ours, theirs), "lower": lower, "upper": upper}


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa (Cohen 1960); NaN where both raters gave one and the same level to everything."""
    constant = len(set(first) | set(second)) == 1
    return float("nan") if constant else float(cohen_kappa_score(first, second))
