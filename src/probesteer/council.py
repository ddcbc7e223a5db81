"""The council: small rules that read table rows and give PASS, WARN or FAIL with the numbers; the chair's verdict."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from probesteer.stats import holm
from probesteer.study import EMBEDDINGS, Criteria

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
FEW_GROUPS, ENOUGH_GROUPS = 6, 12  # below 6 pairs a label permutation cannot reach p = 0.05 reliably
CEILING, FLOOR = 0.95, 0.05


@dataclass(frozen=True)
class Evidence:
    """The tables that the council reads. One row of `council` per model, its selected layer's detection."""

    criteria: Criteria
    council: pd.DataFrame
    detection: pd.DataFrame
    trends: pd.DataFrame
    rates: pd.DataFrame
    success: pd.DataFrame
    cells: pd.DataFrame
    """Per model: cells expected, present, and with the fingerprint that the study implies."""


@dataclass(frozen=True)
class Check:
    """One rule's finding on one model."""

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
    detected = (
        (best["auroc"] >= criteria.auroc) & (best["gap"] >= criteria.gap) & (best["p_holm"] <= criteria.permutation_p)
    )
    return best.assign(detected=detected).reset_index(drop=True)


def judge_trends(trends: pd.DataFrame, rates: pd.DataFrame, criteria: Criteria) -> pd.DataFrame:
    """Add `p_holm` (over models and layers), `baseline_coherent` and `steerable` to the trend table."""
    if trends.empty:
        return trends
    coherent = rates[rates["alpha"] == 0].groupby(["model", "layer"])["coherent_published"].mean()
    judged = trends.assign(p_holm=holm(trends["p"].to_numpy())).join(coherent.rename("baseline_coherent"), on=["model", "layer"])
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


def pi_completeness(evidence: Evidence) -> Iterator[Check]:
    """Every cell that the study asks for exists."""
    for row in evidence.cells.itertuples():
        yield Check("PI", "cells complete", row.model, graded(row.present == row.expected), f"{row.present} of {row.expected}", "cells")


def pi_criterion(evidence: Evidence) -> Iterator[Check]:
    """The held-out AUROC and its gap to random directions reach the bars."""
    bars = evidence.criteria
    for row in evidence.council.itertuples():
        good = row.auroc >= bars.auroc and row.gap >= bars.gap
        text = f"AUROC {row.auroc:.3f} (bar {bars.auroc}), gap {row.gap:.3f} (bar {bars.gap})"
        yield Check("PI", "detection criterion", row.model, graded(good), text, "council")


def statistician_permutation(evidence: Evidence) -> Iterator[Check]:
    """The AUROC stands out from probes refitted on permuted labels, and the null is centred."""
    for row in evidence.council.itertuples():
        centred = abs(row.permutation_auroc - 0.5) < 0.1
        good = row.p_holm <= evidence.criteria.permutation_p
        text = f"Holm p {row.p_holm:.4f}, mean of the null {row.permutation_auroc:.3f}"
        yield Check("Statistician", "label permutation", row.model, graded(good and centred, good), text, "council")


def statistician_groups(evidence: Evidence) -> Iterator[Check]:
    """Enough held-out pairs to tell."""
    for row in evidence.council.itertuples():
        groups = int(row.test_groups)
        status = graded(groups >= ENOUGH_GROUPS, groups >= FEW_GROUPS)
        yield Check("Statistician", "held-out pairs", row.model, status, f"{groups} pairs", "council")


def statistician_trend(evidence: Evidence) -> Iterator[Check]:
    """The rate rises with alpha in every scenario, beyond a stratified permutation null, by enough."""
    for row in evidence.trends.itertuples():
        text = (
            f"block {row.layer}: least Spearman {row.spearman_min:.2f}, Holm p {row.p_holm:.4f}, "
            f"rate change {row.rate_change:+.2f} (bar {evidence.criteria.rate_change})"
        )
        yield Check("Statistician", "dose-response trend", row.model, graded(row.steerable, row.spearman_mean > 0), text, "trends")


def engineer_fingerprints(evidence: Evidence) -> Iterator[Check]:
    """Every cell was made from exactly the study's inputs."""
    for row in evidence.cells.itertuples():
        text = f"{row.verified} of {row.present} match"
        yield Check("Engineer", "fingerprints", row.model, graded(row.verified == row.present), text, "cells")


def engineer_variance(evidence: Evidence) -> Iterator[Check]:
    """Projections are finite and vary."""
    for row in evidence.council.itertuples():
        spread = min(row.std_positive, row.std_negative)
        good = bool(np.isfinite(spread) and spread > 0)
        yield Check("Engineer", "finite, varying projections", row.model, graded(good), f"least standard deviation {spread:.3g}", "council")


def devil_embeddings(evidence: Evidence) -> Iterator[Check]:
    """The words alone, as the input embeddings see them, must not do as well as the selected block."""
    embeddings = evidence.detection[evidence.detection["layer"] == EMBEDDINGS].set_index("model")["auroc"]
    for row in evidence.council.itertuples():
        if row.model in embeddings.index:
            surface = embeddings[row.model]
            status = graded(surface < row.auroc_lower, surface < row.auroc)
            text = f"embeddings {surface:.3f} against {row.auroc:.3f} [{row.auroc_lower:.3f}, {row.auroc_upper:.3f}]"
            yield Check("Devil's Advocate", "embeddings alone", row.model, status, text, "detection")


def devil_random(evidence: Evidence) -> Iterator[Check]:
    """A random direction must not do as well."""
    for row in evidence.council.itertuples():
        status = graded(row.random_auroc_p95 < row.auroc_lower, row.random_auroc_p95 < row.auroc)
        text = f"95th percentile of random directions {row.random_auroc_p95:.3f} against {row.auroc:.3f}"
        yield Check("Devil's Advocate", "random directions", row.model, status, text, "council")


def devil_ceiling(evidence: Evidence) -> Iterator[Check]:
    """A baseline at the ceiling or the floor leaves a direction nothing to do on one side."""
    if not evidence.rates.empty:
        for model, rows in evidence.rates[evidence.rates["alpha"] == 0].groupby("model"):
            rates = rows.groupby("scenario")["positive"].mean()
            stuck = rates[(rates >= CEILING) | (rates <= FLOOR)]
            text = ", ".join(f"{name} {rate:.2f}" for name, rate in stuck.items()) or f"baselines {rates.min():.2f} to {rates.max():.2f}"
            yield Check("Devil's Advocate", "baseline ceiling or floor", str(model), graded(stuck.empty, True), text, "dose_response")


def devil_breakdown(evidence: Evidence) -> Iterator[Check]:
    """A success rate that counts broken texts is no success."""
    for (model, layer), rows in evidence.success.groupby(["model", "layer"]):
        by_rule = rows.groupby("rule")["success_rate"].mean()
        excess = by_rule["published"] - by_rule["strict"]
        text = f"block {layer}: success {by_rule['published']:.2f} published, {by_rule['strict']:.2f} strict"
        yield Check("Devil's Advocate", "broken texts counted", str(model), graded(excess <= 0.1, True), text, "steering")


CHECKS: list[Callable[[Evidence], Iterator[Check]]] = [
    pi_completeness,
    pi_criterion,
    statistician_permutation,
    statistician_groups,
    statistician_trend,
    engineer_fingerprints,
    engineer_variance,
    devil_embeddings,
    devil_random,
    devil_ceiling,
    devil_breakdown,
]


def deliberate(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All checks as rows, and the chair's verdict per model.

    GREEN: detected and, where steering was tested, steerable, and no check of the detection, the cells or the data
    failed. AMBER: one of the two, or a failed check. RED: neither.
    """
    checks = pd.DataFrame([asdict(check) for rule in CHECKS for check in rule(evidence)])
    steerable = {} if evidence.trends.empty else evidence.trends.groupby("model")["steerable"].any().to_dict()
    verdicts = []
    for row in evidence.council.itertuples():
        steers = steerable.get(row.model)
        failed = checks[(checks["model"] == row.model) & (checks["status"] == FAIL) & (checks["check"] != "dose-response trend")]
        if row.detected and steers in (True, None) and failed.empty:
            verdict = "GREEN"
        else:
            verdict = "AMBER" if row.detected or steers else "RED"
        verdicts.append(
            {
                "model": row.model,
                "verdict": verdict,
                "detected": "yes" if row.detected else "no",
                "steerable": "not tested" if steers is None else "yes" if steers else "no",
                "failed_checks": ", ".join(f"{c.role}: {c.check}" for c in failed.itertuples()),
            }
        )
    return checks, pd.DataFrame(verdicts)
