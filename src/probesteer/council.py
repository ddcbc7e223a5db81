"""The council: small rules that read table rows and give PASS, WARN or FAIL with the numbers; the chair's verdict."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from probesteer.effects import CEILING, FLOOR
from probesteer.stats import holm
from probesteer.study import EMBEDDINGS, Criteria

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
FEW_GROUPS, ENOUGH_GROUPS = 6, 12  # below 6 groups a label permutation cannot reach p = 0.05 reliably
ENDED = 0.5  # share of unsteered texts
EXCESS = 0.1  # success rate of the published rule above the strict one
LEAKS = 0.1  # share of the test clusters
CONCENTRATED = 0.5  # share of the direction's squared norm in 1 % of its dimensions
CONTROL_SHARE = 0.5  # of the probe's rate change, by a control direction
TREND = "dose-response trend"


@dataclass(frozen=True)
class Evidence:
    """The tables that the council reads."""

    criteria: Criteria
    council: pd.DataFrame
    """One row per model: its selected layer's detection."""
    detection: pd.DataFrame
    details: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Metrics that come several times: model, layer, metric, of, estimate, lower, upper."""
    trends: pd.DataFrame = field(default_factory=pd.DataFrame)
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The trends of the control arms."""
    rates: pd.DataFrame = field(default_factory=pd.DataFrame)
    success: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Success rates by the deciding scorer, under both rules."""
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Verified cells per model."""
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Check:
    """One rule's finding on one model; `table` is where it read the model's row."""

    role: str
    check: str
    model: str
    status: str
    evidence: str
    table: str


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


def graded(good: bool, fair: bool = False) -> str:
    """PASS if good, else WARN if fair, else FAIL."""
    return PASS if good else WARN if fair else FAIL


def beside(row: Any) -> str:
    """The AUROC of a council row with its interval."""
    return f"{row.auroc:.3f} [{row.auroc_lower:.3f}, {row.auroc_upper:.3f}]"


def pi_criterion(evidence: Evidence) -> Iterator[Check]:
    """The held-out AUROC and its gap to random directions reach the bars."""
    bars = evidence.criteria
    for row in evidence.council.itertuples():
        status = graded(row.auroc >= bars.auroc and row.gap >= bars.gap)
        text = f"AUROC {row.auroc:.3f} (bar {bars.auroc}), gap {row.gap:.3f} (bar {bars.gap})"
        yield Check("PI", "detection criterion", row.model, status, text, "council")


def pi_worst(evidence: Evidence) -> Iterator[Check]:
    """A claim on several models stands or falls with the worst of them."""
    if len(evidence.council) > 1:
        worst = evidence.council.loc[evidence.council["auroc"].idxmin()]
        text = f"the lowest of {len(evidence.council)} models: AUROC {worst['auroc']:.3f} (bar {evidence.criteria.auroc})"
        status = graded(worst["auroc"] >= evidence.criteria.auroc, True)
        yield Check("PI", "worst model", worst["model"], status, text, "council")


def pi_complete(evidence: Evidence) -> Iterator[Check]:
    """Every cell that the study asks for is there and was made from its settings."""
    for row in evidence.cells.itertuples():
        text = f"{row.verified_cells} cells, each verified by its fingerprint"
        yield Check("PI", "complete", row.model, PASS, text, "cells")


def statistician_permutation(evidence: Evidence) -> Iterator[Check]:
    """The AUROC stands out from choices of a block refitted on permuted labels, and the null is centred."""
    for row in evidence.council.itertuples():
        significant = row.p_holm <= evidence.criteria.permutation_p
        status = graded(significant and abs(row.permutation_auroc - 0.5) < 0.1, significant)
        text = f"Holm p {row.p_holm:.4f}, mean of the null {row.permutation_auroc:.3f}"
        yield Check("Statistician", "label permutation", row.model, status, text, "council")


def statistician_groups(evidence: Evidence) -> Iterator[Check]:
    """Enough held-out pairs to tell."""
    for row in evidence.council.itertuples():
        status = graded(row.test_groups >= ENOUGH_GROUPS, row.test_groups >= FEW_GROUPS)
        yield Check("Statistician", "held-out pairs", row.model, status, f"{row.test_groups:.0f} pairs or clusters", "council")


def statistician_interval(evidence: Evidence) -> Iterator[Check]:
    """The interval of the AUROC leaves chance out, and the training folds agree with the test pairs."""
    for row in evidence.council.itertuples():
        status = graded(row.auroc_lower > 0.5 and row.nested_auroc >= row.auroc_lower - 0.1, row.auroc_lower > 0.5)
        text = f"AUROC {beside(row)}, nested cross-validation {row.nested_auroc:.3f}"
        yield Check("Statistician", "interval", row.model, status, text, "council")


def statistician_nulls(evidence: Evidence) -> Iterator[Check]:
    """d' and purity are above what permuted labels give, not only above zero."""
    for row in evidence.council.itertuples():
        status = graded(row.dprime > row.dprime_null_upper and row.purity_p <= 0.05, row.dprime > row.dprime_null_upper)
        text = f"d' {row.dprime:.2f} (null up to {row.dprime_null_upper:.2f}), purity {row.purity:.2f} (p {row.purity_p:.3f})"
        yield Check("Statistician", "null of d' and purity", row.model, status, text, "council")


def statistician_trend(evidence: Evidence) -> Iterator[Check]:
    """The rate rises with alpha in every scenario, beyond a stratified permutation null, by enough."""
    for row in evidence.trends.itertuples():
        status = graded(row.steerable, row.spearman_mean > 0)
        text = (
            f"block {row.layer}: least Spearman {row.spearman_min:.2f}, Holm p {row.p_holm:.4f}, "
            f"rate change {row.rate_change:+.2f} (bar {evidence.criteria.rate_change})"
        )
        yield Check("Statistician", TREND, row.model, status, text, "trends")


def statistician_power(evidence: Evidence) -> Iterator[Check]:
    """The samples suffice to find a change as small as the bar."""
    for row in evidence.trends.itertuples():
        status = graded(row.detectable_change <= evidence.criteria.rate_change, True)
        text = f"block {row.layer}: {row.units} samples find a change of {row.detectable_change:.2f} in 80 % of studies"
        yield Check("Statistician", "power", row.model, status, text, "trends")


def engineer_variance(evidence: Evidence) -> Iterator[Check]:
    """Projections are finite and vary."""
    for row in evidence.council.itertuples():
        spread = min(row.std_positive, row.std_negative)
        status = graded(bool(np.isfinite(spread) and spread > 0))
        text = f"least standard deviation {spread:.3g}"
        yield Check("Engineer", "finite, varying projections", row.model, status, text, "council")


def engineer_dtype(evidence: Evidence) -> Iterator[Check]:
    """float16 overflows at deep layers."""
    for row in evidence.models.itertuples():
        yield Check("Engineer", "dtype", row.name, graded(row.dtype != "float16", True), f"weights as {row.dtype}", "models")


def engineer_cost(evidence: Evidence) -> Iterator[Check]:
    """Time and memory were recorded."""
    for model, rows in evidence.cost.groupby("model") if len(evidence.cost) else []:
        text = f"{rows['seconds'].sum():.0f} s, at most {rows['peak_memory_mb'].max():.0f} MB"
        yield Check("Engineer", "time and memory", str(model), graded(bool(rows["seconds"].notna().all())), text, "cost")


def engineer_truncation(evidence: Evidence) -> Iterator[Check]:
    """Unsteered texts end by themselves, so that the token limit does not cut off what they would say."""
    for model, ended in unsteered(evidence, "ended"):
        text = f"{ended.mean():.2f} of the unsteered texts end before the token limit"
        yield Check("Engineer", "truncation", model, graded(ended.mean() >= ENDED, True), text, "dose_response")


def devil_surface(evidence: Evidence) -> Iterator[Check]:
    """No surface baseline may pass the probe's own bar: the pairs would then show nothing about the model."""
    for row, surface in details_of(evidence, "surface_auroc"):
        best = surface.loc[surface["estimate"].idxmax()]
        bar = min(evidence.criteria.auroc, row.auroc)
        status = graded(best["estimate"] < min(bar, row.auroc_lower), best["estimate"] < bar)
        text = f"{best['of']} {best['estimate']:.3f} against {beside(row)} (bar {evidence.criteria.auroc})"
        yield Check("Devil's Advocate", "surface baselines", row.model, status, text, "details")


def devil_leak(evidence: Evidence) -> Iterator[Check]:
    """No cluster of near-duplicates lies on both sides of the split: the probe would have seen the test."""
    for row in evidence.council.itertuples():
        leaks = getattr(row, "leaking_groups", 0)
        status = graded(leaks == 0, leaks <= LEAKS * row.test_groups)
        text = f"{leaks:.0f} of {row.test_groups:.0f} test clusters have near-duplicates among the training pairs"
        yield Check("Devil's Advocate", "near-duplicates across the split", row.model, status, text, "selection")


def devil_embeddings(evidence: Evidence) -> Iterator[Check]:
    """The words alone, as the input embeddings see them, must not do as well as the selected block."""
    embeddings = evidence.detection[evidence.detection["layer"] == EMBEDDINGS].set_index("model")["auroc"]
    for row in evidence.council.itertuples():
        if row.model in embeddings:
            status = graded(embeddings[row.model] < row.auroc_lower, embeddings[row.model] < row.auroc)
            text = f"{embeddings[row.model]:.3f} against {beside(row)}"
            yield Check("Devil's Advocate", "embeddings alone", row.model, status, text, "detection")


def devil_ablation(evidence: Evidence) -> Iterator[Check]:
    """The telling words replaced on both sides, most of the AUROC is left."""
    yield from drops(evidence, "ablated_auroc", "lexical ablation", evidence.criteria.ablation_drop)


def devil_form(evidence: Evidence) -> Iterator[Check]:
    """What length and formatting predict taken out, most of the AUROC is left."""
    yield from drops(evidence, "residualised_auroc", "length and formatting", evidence.criteria.ablation_drop)


def drops(evidence: Evidence, column: str, check: str, bar: float) -> Iterator[Check]:
    for row in evidence.council.itertuples():
        if pd.notna(left := getattr(row, column, np.nan)):
            status = graded(row.auroc - left <= bar, left > 0.5)
            yield Check("Devil's Advocate", check, row.model, status, f"{left:.3f} against {beside(row)}", "council")


def devil_control_concept(evidence: Evidence) -> Iterator[Check]:
    """Another concept's direction, either way round, does not tell this one's sides apart nearly as well."""
    for row in evidence.council.itertuples():
        if pd.notna(auroc := getattr(row, "control_concept_auroc", np.nan)):
            apart = max(auroc, 1 - auroc)
            status = graded(row.auroc - apart >= evidence.criteria.gap, row.auroc > apart)
            text = f"its direction gives {auroc:.3f} against {beside(row)}, cosine {row.cos_control_concept:.2f}"
            yield Check("Devil's Advocate", "control concept", row.model, status, text, "detection")


def devil_scenario(evidence: Evidence) -> Iterator[Check]:
    """A scenario that the probe was not fitted on is told apart nearly as well."""
    for row, left_out in details_of(evidence, "without_scenario", of_layer=True):
        worst = left_out.loc[left_out["estimate"].idxmin()]
        status = graded(row.auroc - left_out["estimate"].mean() <= evidence.criteria.scenario_drop, worst["estimate"] > 0.5)
        text = f"mean {left_out['estimate'].mean():.3f}, least {worst['estimate']:.3f} ({worst['of']}) against {beside(row)}"
        yield Check("Devil's Advocate", "out-of-scenario drop", row.model, status, text, "details")


def devil_random(evidence: Evidence) -> Iterator[Check]:
    """Random directions, isotropic or with the covariance of the activations, must not do as well."""
    for row in evidence.council.itertuples():
        best = max(row.random_auroc_p95, row.matched_auroc_p95)
        status = graded(best < row.auroc_lower, best < row.auroc)
        text = f"95th percentiles {row.random_auroc_p95:.3f} and, covariance-matched, {row.matched_auroc_p95:.3f}"
        yield Check("Devil's Advocate", "random directions", row.model, status, f"{text} against {beside(row)}", "council")


def devil_geometry(evidence: Evidence) -> Iterator[Check]:
    """A direction that lives in a few dimensions is likely an outlier dimension's."""
    for row in evidence.council.itertuples():
        status = graded(row.top_share <= CONCENTRATED, True)
        text = f"participation ratio {row.participation_ratio:.1f}, {row.top_share:.2f} of the norm in 1 % of the dimensions"
        yield Check("Devil's Advocate", "concentration", row.model, status, text, "council")


def devil_controls(evidence: Evidence) -> Iterator[Check]:
    """No random direction of the same length may move the rate, up or down, as much as a steerable probe's does.

    More than half as much by any control is a warning: a direction fitted on shuffled labels lies where the pairs vary, and
    may steer with a sign of chance.
    """
    for row in evidence.trends.itertuples() if len(evidence.controls) else []:
        own = evidence.controls[(evidence.controls["model"] == row.model) & (evidence.controls["layer"] == row.layer)]
        changes = own.set_index("arm")["rate_change"]
        if len(changes):
            random = changes[changes.index.str.startswith("random")].abs().max()
            status = graded(
                changes.abs().max() <= CONTROL_SHARE * row.rate_change, not (row.steerable and random >= row.rate_change)
            )
            listed = ", ".join(f"{arm} {change:+.2f}" for arm, change in changes.items())
            text = f"block {row.layer}: {listed} against {row.rate_change:+.2f}"
            yield Check("Devil's Advocate", "control directions", row.model, status, text, "controls")


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


def details_of(evidence: Evidence, metric: str, of_layer: bool = False) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Each model's council row with its rows of a metric that comes several times: of the model, or of the selected layer."""
    rows = evidence.details[evidence.details["metric"] == metric] if len(evidence.details) else evidence.details
    for row in evidence.council.itertuples() if len(rows) else []:
        own = rows[rows["model"] == row.model]
        own = own[own["layer"] == row.layer] if of_layer else own
        if len(own):
            yield row, own


def unsteered(evidence: Evidence, rate: str) -> Iterator[tuple[str, pd.Series]]:
    """Per model, a rate of the baseline by scenario."""
    if rate in evidence.rates:
        for model, rows in evidence.rates[evidence.rates["alpha"] == 0].groupby("model"):
            yield str(model), rows.groupby("scenario")[rate].mean()


CHECKS: list[Callable[[Evidence], Iterator[Check]]] = [
    pi_criterion,
    pi_worst,
    pi_complete,
    statistician_permutation,
    statistician_groups,
    statistician_interval,
    statistician_nulls,
    statistician_trend,
    statistician_power,
    engineer_variance,
    engineer_dtype,
    engineer_cost,
    engineer_truncation,
    devil_surface,
    devil_leak,
    devil_embeddings,
    devil_ablation,
    devil_form,
    devil_control_concept,
    devil_scenario,
    devil_random,
    devil_geometry,
    devil_controls,
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
