"""Does evidence that needs no generation foretell how far steering moves a model?"""

import numpy as np
import pandas as pd
from scipy.special import factorial
from scipy.stats import norm, rankdata, spearmanr, t

from probesteer.stats import LEVEL, clusters, jackknife_interval
from probesteer.study.experiment import LEAST_FORETOLD

LEAST_CLUSTERS = 3  # models, from which on the interval is over models
FORETOLD = ["evidence", "points", "models", "spearman", "spearman_lower", "spearman_upper", "p"]
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
    """Spearman's correlation of each kind of evidence with the measured slope over `points`; no rows below LEAST_FORETOLD.

    Blocks of one model are not independent: from LEAST_CLUSTERS models on interval and p are over models
    (`clustered_correlation`); of fewer they are over blocks, and so of these models alone.
    """
    rows = []
    for column, name in EVIDENCE.items():
        known = cells[["model", column, "measured_slope"]].dropna()
        if len(known) < LEAST_FORETOLD or known[column].nunique() < 2 or known["measured_slope"].nunique() < 2:
            continue
        models = known["model"].nunique()
        both = known[column], known["measured_slope"]
        found = clustered_correlation(*both, known["model"]) if models >= LEAST_CLUSTERS else rank_correlation(*both)
        rows.append([name, len(known), models, *found])
    return pd.DataFrame(rows, columns=FORETOLD)


def clustered_correlation(first: pd.Series, second: pd.Series, groups: pd.Series) -> tuple[float, float, float, float]:
    """Spearman's correlation of values that come in clusters, its 95 % interval, and p.

    Both are of Fisher's z by the jackknife over clusters with Student's t (`stats.jackknife_interval`); NaN where the values
    without one cluster are all alike.
    """
    one, other = first.to_numpy(), second.to_numpy()

    def z(kept: np.ndarray) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.corrcoef(rankdata(one[kept]), rankdata(other[kept]))[0, 1]
        return _fisher(r, int(kept.sum()))

    estimate, lower, upper = jackknife_interval(z, groups.to_numpy())
    freedom = clusters(groups.to_numpy())[1] - 1
    error = (upper - lower) / 2 / t.ppf((1 + LEVEL) / 2, freedom)
    p = 2 * t.sf(abs(estimate) / error, freedom) if error > 0 else float("nan")
    return float(spearmanr(one, other).statistic), float(np.tanh(lower)), float(np.tanh(upper)), float(p)


def rank_correlation(first: pd.Series, second: pd.Series) -> tuple[float, float, float, float]:
    """Spearman's correlation of more than three values, its 95 % interval, and p.

    The interval is of Fisher's z with the variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000, Psychometrika 65). p is
    Student's, but no smaller than the chance that n values fall in one order or its reverse.
    """
    found, n = spearmanr(first, second), len(first)
    r = float(found.statistic)
    z = _fisher(r, n)
    half = norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + np.tanh(z) ** 2 / 2) / (n - 3))
    lower, upper = np.tanh([z - half, z + half])
    return r, min(r, float(lower)), max(r, float(upper)), max(float(found.pvalue), float(2 / factorial(n)))


def _fisher(r: float, n: int) -> float:
    """Fisher's z of a Spearman's correlation of n values; a perfect order counts as half a swap of neighbours less."""
    most = 1 - 6 / (n * (n**2 - 1))
    return float(np.arctanh(np.clip(r, -most, most)))
