"""The council: small rules that read table rows and give PASS, WARN or FAIL with the numbers; the chair's verdict."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from probesteer.stats import holm
from probesteer.study import EMBEDDINGS, Criteria

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
FEW_GROUPS, ENOUGH_GROUPS = 6, 12  # below 6 pairs a label permutation cannot reach p = 0.05 reliably
CEILING, FLOOR = 0.95, 0.05  # baseline rates
ENDED = 0.5  # share of unsteered texts
EXCESS = 0.1  # success rate of the published rule above the strict one
TREND = "dose-response trend"


@dataclass(frozen=True)
class Evidence:
    """The tables that the council reads."""

    criteria: Criteria
    council: pd.DataFrame
    """One row per model: its selected layer's detection."""
    detection: pd.DataFrame
    trends: pd.DataFrame
    rates: pd.DataFrame
    success: pd.DataFrame
    """Success rates by the deciding scorer, under both rules."""


@dataclass(frozen=True)
class Check:
    """One rule's finding on one model; `source` is the table that it read."""

    role: str
    check: str
    model: str
    status: str
    evidence: str
    source: str


def select_layers(detection: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """One row per model: the block with the best cross-validated AUROC on the training pairs (ties: the earliest).

    The test pairs play no part in the choice. Adds `p_holm`, the permutation p corrected over models, and `detected`.
    """
    blocks = detection[detection["layer"] != EMBEDDINGS]
    best = blocks.sort_values(["model", "cv_auroc", "layer"], ascending=[True, False, True]).groupby("model", sort=True).head(1)
    best = best.assign(p_holm=holm(best["permutation_p"].to_numpy()))
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


def graded(good: bool, fair: bool = False) -> str:
    """PASS if good, else WARN if fair, else FAIL."""
    return PASS if good else WARN if fair else FAIL


def pi_criterion(evidence: Evidence) -> Iterator[Check]:
    """The held-out AUROC and its gap to random directions reach the bars."""
    bars = evidence.criteria
    for row in evidence.council.itertuples():
        status = graded(row.auroc >= bars.auroc and row.gap >= bars.gap)
        text = f"AUROC {row.auroc:.3f} (bar {bars.auroc}), gap {row.gap:.3f} (bar {bars.gap})"
        yield Check("PI", "detection criterion", row.model, status, text, "council")


def statistician_permutation(evidence: Evidence) -> Iterator[Check]:
    """The AUROC stands out from probes refitted on permuted labels, and the null is centred."""
    for row in evidence.council.itertuples():
        significant = row.p_holm <= evidence.criteria.permutation_p
        status = graded(significant and abs(row.permutation_auroc - 0.5) < 0.1, significant)
        text = f"Holm p {row.p_holm:.4f}, mean of the null {row.permutation_auroc:.3f}"
        yield Check("Statistician", "label permutation", row.model, status, text, "council")


def statistician_groups(evidence: Evidence) -> Iterator[Check]:
    """Enough held-out pairs to tell."""
    for row in evidence.council.itertuples():
        status = graded(row.test_groups >= ENOUGH_GROUPS, row.test_groups >= FEW_GROUPS)
        yield Check("Statistician", "held-out pairs", row.model, status, f"{row.test_groups:.0f} pairs", "council")


def statistician_trend(evidence: Evidence) -> Iterator[Check]:
    """The rate rises with alpha in every scenario, beyond a stratified permutation null, by enough."""
    for row in evidence.trends.itertuples():
        status = graded(row.steerable, row.spearman_mean > 0)
        text = (
            f"block {row.layer}: least Spearman {row.spearman_min:.2f}, Holm p {row.p_holm:.4f}, "
            f"rate change {row.rate_change:+.2f} (bar {evidence.criteria.rate_change})"
        )
        yield Check("Statistician", TREND, row.model, status, text, "trends")


def engineer_variance(evidence: Evidence) -> Iterator[Check]:
    """Projections are finite and vary."""
    for row in evidence.council.itertuples():
        spread = min(row.std_positive, row.std_negative)
        status = graded(bool(np.isfinite(spread) and spread > 0))
        text = f"least standard deviation {spread:.3g}"
        yield Check("Engineer", "finite, varying projections", row.model, status, text, "council")


def engineer_truncation(evidence: Evidence) -> Iterator[Check]:
    """Unsteered texts end by themselves, so that the token limit does not cut off what they would say."""
    for model, ended in unsteered(evidence, "ended"):
        text = f"{ended.mean():.2f} of the unsteered texts end before the token limit"
        yield Check("Engineer", "truncation", model, graded(ended.mean() >= ENDED, True), text, "dose_response")


def devil_embeddings(evidence: Evidence) -> Iterator[Check]:
    """The words alone, as the input embeddings see them, must not do as well as the selected block."""
    embeddings = evidence.detection[evidence.detection["layer"] == EMBEDDINGS].set_index("model")["auroc"]
    for row in evidence.council.itertuples():
        if row.model in embeddings:
            status = graded(embeddings[row.model] < row.auroc_lower, embeddings[row.model] < row.auroc)
            text = f"{embeddings[row.model]:.3f} against {row.auroc:.3f} [{row.auroc_lower:.3f}, {row.auroc_upper:.3f}]"
            yield Check("Devil's Advocate", "embeddings alone", row.model, status, text, "detection")


def devil_random(evidence: Evidence) -> Iterator[Check]:
    """A random direction must not do as well."""
    for row in evidence.council.itertuples():
        status = graded(row.random_auroc_p95 < row.auroc_lower, row.random_auroc_p95 < row.auroc)
        text = f"95th percentile of random directions {row.random_auroc_p95:.3f} against {row.auroc:.3f}"
        yield Check("Devil's Advocate", "random directions", row.model, status, text, "council")


def devil_ceiling(evidence: Evidence) -> Iterator[Check]:
    """A baseline at the ceiling or the floor leaves a direction nothing to do on one side."""
    for model, rates in unsteered(evidence, "positive"):
        stuck = rates[(rates >= CEILING) | (rates <= FLOOR)]
        text = ", ".join(f"{scenario} {rate:.2f}" for scenario, rate in stuck.items())
        text = text or f"baselines {rates.min():.2f} to {rates.max():.2f}"
        yield Check("Devil's Advocate", "baseline ceiling or floor", model, graded(stuck.empty, True), text, "dose_response")


def devil_breakdown(evidence: Evidence) -> Iterator[Check]:
    """Success that the published rule sees and the strict one does not: zero effects and broken texts."""
    for (model, layer), rows in evidence.success.groupby(["model", "layer"]) if len(evidence.success) else []:
        by_rule = rows.groupby("rule")["success_rate"].mean()
        text = f"block {layer}: success {by_rule['published']:.2f} published, {by_rule['strict']:.2f} strict"
        status = graded(by_rule["published"] - by_rule["strict"] <= EXCESS, True)
        yield Check("Devil's Advocate", "zero effects and broken texts", str(model), status, text, "steering")


def unsteered(evidence: Evidence, rate: str) -> Iterator[tuple[str, pd.Series]]:
    """Per model, a rate of the baseline by scenario."""
    if rate in evidence.rates:
        for model, rows in evidence.rates[evidence.rates["alpha"] == 0].groupby("model"):
            yield str(model), rows.groupby("scenario")[rate].mean()


CHECKS: list[Callable[[Evidence], Iterator[Check]]] = [
    pi_criterion,
    statistician_permutation,
    statistician_groups,
    statistician_trend,
    engineer_variance,
    engineer_truncation,
    devil_embeddings,
    devil_random,
    devil_ceiling,
    devil_breakdown,
]


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
