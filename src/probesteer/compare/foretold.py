"""Does evidence that needs no generation foretell how far steering moves a model?"""

import numpy as np
import pandas as pd
from scipy.stats import norm, spearmanr

from probesteer.stats import LEVEL

LEAST_POINTS = 8  # (model, layer) of a study, below which nothing is said
FORETOLD = ["evidence", "points", "spearman", "spearman_lower", "spearman_upper", "p"]
# Evidence by its column, and what the report calls it.
EVIDENCE = {
    "forecast_slope": "slope of the log-odds of pairs",
    "cv_auroc": "cross-validated AUROC",
    "split_cosine": "cosine of directions of halves of the pairs",
    "kl_dose": "push at 1 nat, shortest first",
}


def points(trends: pd.DataFrame, forecast: pd.DataFrame, detection: pd.DataFrame, doses: pd.DataFrame) -> pd.DataFrame:
    """A row per (model, layer) that is steered: the evidence, and the measured slope of the generated texts.

    kl_dose is the push that moves predictions by a nat, in mean residual norms and with its sign turned, where a study has it.
    """
    at = ["model", "layer"]
    if trends.empty or "measured_slope" not in trends:
        return pd.DataFrame(columns=[*at, *EVIDENCE, "measured_slope"])
    found = trends[[*at, "forecast_slope", "measured_slope"]]
    found = found.merge(forecast[[*at, "cv_auroc", "residual_norm"]], on=at, how="left")
    found = found.merge(detection[[*at, "split_cosine"]], on=at, how="left")
    kl = doses[doses["unit"] == "kl"].set_index(at)["push"].rename("kl_dose") if len(doses) else pd.Series(dtype=float)
    found = found.join(kl, on=at) if len(kl) else found.assign(kl_dose=np.nan)
    return found.assign(kl_dose=-found["kl_dose"] / found["residual_norm"]).drop(columns="residual_norm")


def foretold(cells: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each kind of evidence with the measured slope over `points`; no rows below LEAST_POINTS.

    Blocks of one model are not independent, so that the interval is narrower than it should be where a study has few models.
    """
    rows = []
    for column, name in EVIDENCE.items():
        known = cells[[column, "measured_slope"]].dropna()
        if len(known) < LEAST_POINTS or known[column].nunique() < 2 or known["measured_slope"].nunique() < 2:
            continue
        rows.append([name, len(known), *rank_correlation(known[column], known["measured_slope"])])
    return pd.DataFrame(rows, columns=FORETOLD)


def rank_correlation(first: pd.Series, second: pd.Series) -> tuple[float, float, float, float]:
    """Spearman's correlation of more than three values, its 95 % interval, and p.

    The interval is of Fisher's z with the variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000, Psychometrika 65).
    """
    found = spearmanr(first, second)
    r = float(np.clip(found.statistic, -1 + 1e-9, 1 - 1e-9))
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + r**2 / 2) / (len(first) - 3))
    lower, upper = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return r, float(lower), float(upper), float(found.pvalue)
