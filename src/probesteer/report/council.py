"""The council: the selected block of each model, the judged trends, and the chair's verdict over every check."""

from dataclasses import asdict

import pandas as pd

from probesteer.report.checks import FAIL, TREND, WARN
from probesteer.report.evidence import Evidence
from probesteer.report.sceptic import CHECKS
from probesteer.stats import holm
from probesteer.study.sections import Criteria

OUT_OF_SCENARIO = [*(f"out_of_scenario_auroc{bound}" for bound in ("", "_lower", "_upper")), "out_of_scenario_dprime"]
YES, NO, NOT_TESTED, NOT_MEASURABLE = "yes", "no", "not tested", "not measurable"


def select_layers(detection: pd.DataFrame, selection: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """One row per model: the block that cross-validation on the training split chose, with `selection_p`.

    Adds `p_holm`, the permutation p of the whole choice corrected over models, and `detected`: by the AUROC, that p and, where
    there are scenarios to leave out, the AUROC and d' in these. The test pairs play no part in the choice.
    """
    chosen = selection.rename(columns={"selected_layer": "layer"}).astype({"layer": int})
    best = chosen.merge(detection, on=["model", "layer"], how="left", validate="one_to_one").sort_values("model")
    best = best.assign(p_holm=holm(best["selection_p"].to_numpy()))
    best = best.reindex(columns=[*best.columns, *(name for name in OUT_OF_SCENARIO if name not in best)])
    left_out, lower, *_ = (best[name] for name in OUT_OF_SCENARIO)
    kept = best["out_of_scenario_dprime"] / best["dprime"]
    holds = left_out.isna() | (left_out >= criteria.scenario_auroc) & (lower > 0.5) & ~(kept < criteria.scenario_dprime)
    detected = (best["auroc"] >= criteria.auroc) & (best["p_holm"] <= criteria.permutation_p) & holds
    return best.assign(detected=detected).reset_index(drop=True)


def judge_trends(trends: pd.DataFrame, rates: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """Add `p_holm` (over models and layers), `baseline_coherent` and `steerable` to the trend table.

    `steerable` is missing, neither yes nor no, where too few unsteered texts are coherent to tell.
    """
    if trends.empty:
        return trends
    at = ["model", "layer"]
    coherent = rates[rates["alpha"] == 0].groupby(at)["coherent_published"].mean().rename("baseline_coherent")
    judged = trends.assign(p_holm=holm(trends["p"].to_numpy())).join(coherent, on=at)
    steerable = (
        (judged["spearman_min"] > 0) & (judged["p_holm"] <= criteria.trend_p) & (judged["rate_change"] >= criteria.rate_change)
    )
    measurable = judged["baseline_coherent"] >= criteria.baseline_coherent
    return judged.assign(steerable=steerable.astype("boolean").where(measurable))


def deliberate(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All checks as rows, and the chair's verdict per model.

    GREEN: detected and, where steering was tested, steerable at a layer, and no check failed (a layer without a trend
    is no failure). AMBER: one of the two, a failed check, or a steering that could not be measured. RED: neither.
    """
    checks = pd.DataFrame([asdict(check) for rule in CHECKS for check in rule(evidence)])
    trends = dict(list(evidence.trends.groupby("model")["steerable"])) if len(evidence.trends) else {}
    verdicts = []
    for row in evidence.council.itertuples():
        steers = steers_at_all(trends.get(row.model))
        own = checks[checks["model"] == row.model]
        failed = own[(own["status"] == FAIL) & (own["check"] != TREND)]
        sound = row.detected and steers in (YES, NOT_TESTED) and failed.empty
        verdicts.append(
            {
                "model": row.model,
                "verdict": "GREEN" if sound else "AMBER" if row.detected or steers == YES else "RED",
                "detected": YES if row.detected else NO,
                "steerable": steers,
                "failed_checks": ", ".join(failed["role"] + ": " + failed["check"]),
                "warnings": int((own["status"] == WARN).sum()),
            }
        )
    return checks, pd.DataFrame(verdicts)


def steers_at_all(steerable: pd.Series | None) -> str:
    """Whether a model is steerable at one of its layers, given what is known of each: True, False or missing."""
    if steerable is None:
        return NOT_TESTED
    if steerable.isna().all():
        return NOT_MEASURABLE
    return YES if steerable.fillna(False).any() else NO
