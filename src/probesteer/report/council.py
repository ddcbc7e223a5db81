"""The council: the selected block of each model, the judged trends, and the chair's verdict over every check."""

from dataclasses import asdict

import pandas as pd

from probesteer.report.checks import CHECKS, FAIL, TREND
from probesteer.report.evidence import Evidence
from probesteer.stats import holm
from probesteer.study.sections import Criteria


def select_layers(detection: pd.DataFrame, selection: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """One row per model: the block that cross-validation on the training split chose, with `selection_p`.

    Adds `p_holm`, the permutation p of the whole choice corrected over models, and `detected`. The test pairs play no
    part in the choice.
    """
    chosen = selection.rename(columns={"selected_layer": "layer"}).astype({"layer": int})
    best = chosen.merge(detection, on=["model", "layer"], how="left", validate="one_to_one").sort_values("model")
    best = best.assign(p_holm=holm(best["selection_p"].to_numpy()))
    detected = (best["auroc"] >= criteria.auroc) & (best["gap"] >= criteria.gap) & (best["p_holm"] <= criteria.permutation_p)
    return best.assign(detected=detected).reset_index(drop=True)


def judge_trends(trends: pd.DataFrame, rates: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """Add `p_holm` (over models and layers), `baseline_coherent` and `steerable` to the trend table."""
    if trends.empty:
        return trends
    at = ["model", "layer"]
    coherent = rates[rates["alpha"] == 0].groupby(at)["coherent_published"].mean().rename("baseline_coherent")
    judged = trends.assign(p_holm=holm(trends["p"].to_numpy())).join(coherent, on=at)
    steerable = (
        (judged["spearman_min"] > 0)
        & (judged["p_holm"] <= criteria.trend_p)
        & (judged["rate_change"] >= criteria.rate_change)
        & (judged["baseline_coherent"] >= criteria.baseline_coherent)
    )
    return judged.assign(steerable=steerable)


def deliberate(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All checks as rows, and the chair's verdict per model.

    GREEN: detected and, where steering was tested, steerable at a layer, and no check failed (a layer without a trend
    is no failure). AMBER: one of the two, or a failed check. RED: neither.
    """
    checks = pd.DataFrame([asdict(check) for rule in CHECKS for check in rule(evidence)])
    steerable = {} if evidence.trends.empty else evidence.trends.groupby("model")["steerable"].any().to_dict()
    failed = checks[(checks["status"] == FAIL) & (checks["check"] != TREND)]
    verdicts = []
    for row in evidence.council.itertuples():
        steers = steerable.get(row.model)
        own = failed[failed["model"] == row.model]
        sound = row.detected and steers in (True, None) and own.empty
        verdicts.append(
            {
                "model": row.model,
                "verdict": "GREEN" if sound else "AMBER" if row.detected or steers else "RED",
                "detected": "yes" if row.detected else "no",
                "steerable": "not tested" if steers is None else "yes" if steers else "no",
                "failed_checks": ", ".join(own["role"] + ": " + own["check"]),
            }
        )
    return checks, pd.DataFrame(verdicts)
