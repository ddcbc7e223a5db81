"""The council: the selected block of each model, the judged trends, and the chair's verdict over every check."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from probesteer.report.checks import FAIL, NO, NOT_MEASURABLE, NOT_TESTED, SOME, SPECIFICITY, TREND, WARN, YES
from probesteer.report.evidence import Evidence
from probesteer.report.sceptic import CHECKS
from probesteer.stats import holm
from probesteer.study.sections import Criteria

AT = ["model", "layer"]
RANKED = [YES, SOME, NO, NOT_MEASURABLE]  # what is said of a model is the best of its blocks
OUT_OF_SCENARIO = [*(f"out_of_scenario_auroc{bound}" for bound in ("", "_lower", "_upper")), "out_of_scenario_dprime"]


def select_layers(detection: pd.DataFrame, selection: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """One row per model: the block that cross-validation on the training split chose, with `selection_p`.

    Adds `p_holm`, the permutation p of the whole choice corrected over models, and `detected`: by the AUROC, that p and, where
    there are scenarios to leave out, the AUROC and d' in these. The test pairs play no part in the choice.
    """
    chosen = selection.rename(columns={"selected_layer": "layer"}).astype({"layer": int})
    best = chosen.merge(detection, on=["model", "layer"], how="left", validate="one_to_one").sort_values("model")
    best = best.assign(p_holm=holm(best["selection_p"].to_numpy()))
    best = best.reindex(columns=[*best.columns, *(name for name in OUT_OF_SCENARIO if name not in best)])
    return best.assign(detected=is_read(best, best["p_holm"], criteria)).reset_index(drop=True)


def is_read(rows: pd.DataFrame, p: pd.Series, criteria: Criteria) -> pd.Series:
    """Whether the behaviour is readable at each row's layer of the detection table, at a corrected permutation p.

    In scenarios that the probe was not fitted on, too, where there are several.
    """
    left_out, lower, _, dprime = (rows.get(name, pd.Series(float("nan"), rows.index)) for name in OUT_OF_SCENARIO)
    kept = dprime / rows.get("dprime", float("nan"))
    holds = left_out.isna() | (left_out >= criteria.scenario_auroc) & (lower > 0.5) & ~(kept < criteria.scenario_dprime)
    return (rows["auroc"] >= criteria.auroc) & (p <= criteria.permutation_p) & holds


def judge_trends(trends: pd.DataFrame, tables: Mapping[str, pd.DataFrame], criteria: Criteria) -> pd.DataFrame:
    """The trends with what is said of each (model, layer): `steerable`, `specific`, and `read`, whether it is detected there.

    steerable: "yes" where the trend's p after Holm's correction over models and layers, the change of the rate and its change
    among coherent texts reach their bars, and the slope lies above 0 by its interval in every scenario; "in some scenarios"
    where it does so in `holds_in` only; "not measurable" where too few unsteered texts are coherent or prompts that ask for
    the behaviour and against it do not differ by their interval; else "no". specific is missing where it was not tested.
    """
    if trends.empty:
        return trends
    unsteered = tables["dose_response"].query("alpha == 0")
    coherent = unsteered.groupby(AT)["coherent_published"].mean().rename("baseline_coherent")
    judged = trends.assign(p_holm=holm(trends["p"].to_numpy())).join(coherent, on=AT)
    judged = judged.merge(holding(tables["scenario_trends"]), on=AT, how="left")
    prompted = tables["prompting"].set_index("model")["change_lower"].rename("prompted_change_lower")
    judged = judged.join(prompted, on="model").merge(specific(tables["specificity"], criteria), on=AT, how="left")
    moved = (
        (judged["p_holm"] <= criteria.trend_p)
        & (judged["rate_change"] >= criteria.rate_change)
        & (judged["coherent_rate_change"] >= criteria.rate_change)
    )
    measurable = (judged["baseline_coherent"] >= criteria.baseline_coherent) & (judged["prompted_change_lower"] > 0)
    some = np.select([~moved, judged["holding"] == judged["scenarios"], judged["holding"] > 0], [NO, YES, SOME], NO)
    there = judged[AT].merge(tables["detection"], on=AT, how="left")
    read = is_read(there, pd.Series(holm(there["permutation_p_max"].to_numpy())), criteria)
    return judged.assign(steerable=np.where(measurable, some, NOT_MEASURABLE), read=read).drop(columns="holding")


def holding(by_scenario: pd.DataFrame) -> pd.DataFrame:
    """Per (model, layer) in how many scenarios the rate rises by its own interval, and in which."""
    rises = (by_scenario["slope_lower"] > 0) & (by_scenario["coherent_rate_change"] > 0)
    grouped = by_scenario.assign(name=by_scenario["scenario"].where(rises)).groupby(AT)["name"]
    return grouped.agg(holding="count", holds_in=lambda names: ", ".join(names.dropna())).reset_index()


def specific(specificity: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """Per (model, layer) the p of the specificity test, and whether it passes; no rows where nothing was tested."""
    if specificity.empty:
        return pd.DataFrame(columns=[*AT, "specificity_p", "specific"]).astype({"layer": int, "specific": "boolean"})
    passes = (specificity["p"] <= criteria.specificity_p).astype("boolean")
    return specificity[AT].assign(specificity_p=specificity["p"], specific=passes)


def deliberate(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All checks as rows, and the chair's verdict per model, and what it lacks of GREEN.

    GREEN: detected and, where steering was tested, steerable and specific at a layer where it is detected, and no check failed
    (the trend and the specificity of the other layers apart). AMBER: detected or steerable, if
    only in some scenarios. RED: neither.
    """
    checks = pd.DataFrame([asdict(check) for rule in CHECKS for check in rule(evidence)])
    trends = dict(list(evidence.trends.groupby("model"))) if len(evidence.trends) else {}
    verdicts = []
    for row in evidence.council.itertuples():
        own = checks[checks["model"] == row.model]
        failed = own[(own["status"] == FAIL) & ~own["check"].isin([TREND, SPECIFICITY])]
        steered = steering_of(trends.get(row.model))
        why = [*([] if row.detected else ["not detected"]), *steered.pop("why")]
        found = row.detected or steered["steerable"] in (YES, SOME)
        verdicts.append(
            {
                "model": row.model,
                "verdict": "GREEN" if not why and failed.empty else "AMBER" if found else "RED",
                "detected": YES if row.detected else NO,
                **steered,
                "why": "; ".join(why),
                "failed_checks": ", ".join(failed["role"] + ": " + failed["check"]),
                "warnings": int((own["status"] == WARN).sum()),
            }
        )
    return checks, pd.DataFrame(verdicts)


def steering_of(trends: pd.DataFrame | None) -> dict[str, Any]:
    """What is said of a model's steering, at the layer of which most can be said: steerable, specific, and what is lacking."""
    if trends is None:
        return {"steerable": NOT_TESTED, "specific": NOT_TESTED, "why": []}
    best = best_block(trends)
    known = best.steerable in (YES, SOME) and pd.notna(best.specific)
    return {
        "steerable": best.steerable,
        "specific": (YES if best.specific else NO) if known else NOT_TESTED,
        "why": lacking(best),
    }


def best_block(trends: pd.DataFrame) -> Any:
    """The row of a model's trends of which most can be said."""
    return min(trends.itertuples(), key=lambda row: (RANKED.index(row.steerable), len(lacking(row))))


def lacking(row: Any) -> list[str]:
    """What a (model, layer) lacks of being steered by a direction that is readable there and does more than chance ones."""
    at = f"at block {row.layer}"
    if row.steerable not in (YES, SOME):
        return [f"steering {at} is {row.steerable}" if row.steerable == NOT_MEASURABLE else f"not steerable {at}"]
    steerable = f"steerable {at}" + (f" in {row.holds_in} only" if row.steerable == SOME else "")
    tested = pd.notna(row.specific)
    unspecific = f"{steerable}, not shown specific (" + (f"p {row.specificity_p:.3f})" if tested else "not tested)")
    partly = [steerable] if row.steerable == SOME else []
    return [
        *(partly if tested and row.specific else [unspecific]),
        *([] if row.read else [f"not detected {at}, where it is steered"]),
    ]
