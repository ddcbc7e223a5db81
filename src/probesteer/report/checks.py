"""The council's checks: small rules that read table rows and give PASS, WARN or FAIL with the numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from probesteer.behaviour.agreement import HUMAN
from probesteer.behaviour.effects import CEILING, FLOOR
from probesteer.directions.methods import COINCIDE
from probesteer.report.evidence import Evidence
from probesteer.study.cells import BASELINE_ARM

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
FEW_GROUPS, ENOUGH_GROUPS = 6, 12  # below 6 groups a label permutation cannot reach p = 0.05 reliably
CENTRED = 0.1  # from 1/2, of the mean AUROC under permuted labels: the mean of 1,000 draws strays by a tenth of that
NESTED_SHORTFALL = 0.1  # of the nested AUROC below the interval: its folds are fitted on fewer pairs
ENDED = 0.5  # share of unsteered texts
UNPARSABLE = 0.5  # share of the answers in games
UNRATED = 0.1  # share of the texts
EXCESS = 0.1  # success rate of the published rule above the strict one: one alpha in ten
CONTROL_SHARE = 0.5  # of the probe's rate change, by a control direction
TREND, SPECIFICITY = "dose-response trend", "specificity"  # the verdict reads these itself, block by block
YES, SOME, NO, NOT_TESTED, NOT_MEASURABLE = "yes", "in some scenarios", "no", "not tested", "not measurable"

Findings = Iterator[tuple[str, str, str]]  # (model, status, what was read)
Rule = Callable[["Evidence"], Findings]


@dataclass(frozen=True)
class Check:
    """One rule's finding on one model; `table` is where it read the model's row."""

    role: str
    check: str
    model: str
    status: str
    evidence: str
    table: str


CHECKS: list[Callable[[Evidence], Iterator[Check]]] = []
ASKED: list[tuple[str, str, str, str]] = []
"""Of each check its role, its name, the table that it reads and what it asks: for the documentation."""


def check(role: str, name: str, table: str) -> Callable[[Rule], Callable[[Evidence], Iterator[Check]]]:
    """Make a rule one of the council's CHECKS, in the order of this file."""

    def register(rule: Rule) -> Callable[[Evidence], Iterator[Check]]:
        @wraps(rule)
        def checks(evidence: Evidence) -> Iterator[Check]:
            for model, status, text in rule(evidence):
                yield Check(role, name, model, status, text, table)

        CHECKS.append(checks)
        ASKED.append((role, name, table, " ".join(str(rule.__doc__).split())))
        return checks

    return register


def graded(good: bool, fair: bool = False) -> str:
    """PASS if good, else WARN if fair, else FAIL."""
    return PASS if good else WARN if fair else FAIL


def noted(good: bool) -> str:
    """PASS if good, else WARN: no ground for a FAIL."""
    return PASS if good else WARN


def talks_only(row: Any) -> bool:
    """Whether words rise and deeds do not, by the intervals of a row of `behaviour.deeds.deed_changes`."""
    return bool(row.words_change_lower > 0 and row.gap_lower > 0 and not row.deeds_change_lower > 0)


def bounds(row: Any, name: str) -> str:
    """A change in a row with its interval."""
    estimate, lower, upper = (getattr(row, f"{name}{bound}") for bound in ("", "_lower", "_upper"))
    return f"{estimate:+.2f} [{lower:+.2f}, {upper:+.2f}]"


def beside(row: Any) -> str:
    """The AUROC of a council row with its interval."""
    known = pd.notna(row.auroc_lower)
    return f"{row.auroc:.3f}" + (f" [{row.auroc_lower:.3f}, {row.auroc_upper:.3f}]" if known else " (no interval)")


@check("PI", "detection criterion", "council")
def pi_criterion(evidence: Evidence) -> Findings:
    """The held-out AUROC reaches the bar."""
    bar = evidence.criteria.auroc
    for row in evidence.council.itertuples():
        yield row.model, graded(row.auroc >= bar), f"AUROC {row.auroc:.3f} (bar {bar})"


@check("PI", "left-out scenarios", "council")
def pi_scenarios(evidence: Evidence) -> Findings:
    """The behaviour is read in scenarios that the probe was not fitted on; with a single one nobody can tell."""
    bar, share = evidence.criteria.scenario_auroc, evidence.criteria.scenario_dprime
    for row in evidence.council.itertuples():
        if pd.isna(row.out_of_scenario_auroc):
            yield (
                row.model,
                WARN,
                "no second scenario to leave out: whether the direction holds in another one is not measurable",
            )
            continue
        lower, upper = row.out_of_scenario_auroc_lower, row.out_of_scenario_auroc_upper
        text = f"AUROC {row.out_of_scenario_auroc:.3f} [{lower:.3f}, {upper:.3f}] (bar {bar}, interval above 0.5)"
        kept = row.out_of_scenario_dprime / row.dprime
        good = row.out_of_scenario_auroc >= bar and lower > 0.5 and not kept < share
        text += f", d' {row.out_of_scenario_dprime:.2f} of {row.dprime:.2f} (bar a share of {share})"
        yield row.model, graded(good), text


@check("PI", "worst model", "council")
def pi_worst(evidence: Evidence) -> Findings:
    """A claim on several models stands or falls with the worst of them."""
    if len(evidence.council) > 1:
        worst = evidence.council.loc[evidence.council["auroc"].idxmin()]
        text = f"the lowest of {len(evidence.council)} models: AUROC {worst['auroc']:.3f} (bar {evidence.criteria.auroc})"
        status = noted(worst["auroc"] >= evidence.criteria.auroc)
        yield worst["model"], status, text


@check("PI", "complete", "cells")
def pi_complete(evidence: Evidence) -> Findings:
    """Every cell that the study asks for is there and was made from its settings."""
    for row in evidence.cells.itertuples():
        text = f"{row.verified_cells} cells, each verified by its fingerprint"
        yield row.model, PASS, text


@check("Statistician", "label permutation", "council")
def statistician_permutation(evidence: Evidence) -> Findings:
    """The AUROC stands out from choices of a block refitted on permuted labels, and the null is centred."""
    for row in evidence.council.itertuples():
        significant = row.p_holm <= evidence.criteria.permutation_p
        status = graded(significant and abs(row.permutation_auroc - 0.5) < CENTRED, significant)
        text = f"Holm p {row.p_holm:.4f}, mean of the null {row.permutation_auroc:.3f}"
        yield row.model, status, text


@check("Statistician", "held-out pairs", "council")
def statistician_groups(evidence: Evidence) -> Findings:
    """Enough held-out pairs to tell."""
    for row in evidence.council.itertuples():
        status = graded(row.test_groups >= ENOUGH_GROUPS, row.test_groups >= FEW_GROUPS)
        yield row.model, status, f"{row.test_groups:.0f} pairs or clusters"


@check("Statistician", "interval", "council")
def statistician_interval(evidence: Evidence) -> Findings:
    """The interval of the AUROC leaves chance out, and the training folds agree with the test pairs."""
    for row in evidence.council.itertuples():
        agrees = pd.isna(row.nested_auroc) or row.nested_auroc >= row.auroc_lower - NESTED_SHORTFALL
        status = graded(row.auroc_lower > 0.5 and agrees)
        nested = "has too few groups" if pd.isna(row.nested_auroc) else f"{row.nested_auroc:.3f}"
        text = f"AUROC {beside(row)}, nested cross-validation {nested}"
        yield row.model, status, text


@check("Statistician", "null of d' and purity", "council")
def statistician_nulls(evidence: Evidence) -> Findings:
    """d' and purity are above what permuted labels give, not only above zero."""
    for row in evidence.council.itertuples():
        status = graded(row.dprime > row.dprime_null_upper and row.purity_p <= 0.05, row.dprime > row.dprime_null_upper)
        text = f"d' {row.dprime:.2f} (null up to {row.dprime_null_upper:.2f}), purity {row.purity:.2f} (p {row.purity_p:.3f})"
        yield row.model, status, text


@check("Statistician", TREND, "trends")
def statistician_trend(evidence: Evidence) -> Findings:
    """The rate rises with alpha, also among coherent texts, by enough, beyond a permutation null, in every scenario."""
    bars = evidence.criteria
    for row in evidence.trends.itertuples():
        if row.steerable == NOT_MEASURABLE:
            text = f"{row.baseline_coherent:.2f} of the unsteered texts are coherent (bar {bars.baseline_coherent})"
            text += f", prompts move the rate by at least {row.prompted_change_lower:+.2f}: no steering verdict is given"
            yield row.model, WARN, f"block {row.layer}: {text}"
            continue
        status = graded(row.steerable == YES, row.steerable == SOME or row.spearman_mean > 0)
        text = (
            f"block {row.layer}: Holm p {row.p_holm:.4f}, rate change {row.rate_change:+.2f}, among coherent texts "
            f"{row.coherent_rate_change:+.2f} (bar {bars.rate_change}); above 0 in {row.holds_in or 'no scenario'}"
        )
        yield row.model, status, text


@check("Statistician", "prompts move it", "prompting")
def statistician_prompts(evidence: Evidence) -> Findings:
    """The prompts that ask for the behaviour and against it differ: the scorer can see the behaviour in this model."""
    for row in evidence.prompting.itertuples():
        change = f"{row.change:+.2f} [{row.change_lower:+.2f}, {row.change_upper:+.2f}]"
        yield row.model, noted(row.change_lower > 0), f"from the prompt against to the prompt for: {change}"


@check("Statistician", "power", "trends")
def statistician_power(evidence: Evidence) -> Findings:
    """A study of this size calls twice the least change steerable and specific in four of five cases (by simulation)."""
    for row in evidence.trends.itertuples():
        least = row.detectable_change
        found = f"a change of {least:.2f}" if pd.notna(least) else "no change up to 0.95"
        status = noted(least <= 2 * evidence.criteria.rate_change)
        yield row.model, status, f"block {row.layer}: {row.units} samples, {found} is found in 80 % of studies"


@check("Engineer", "finite, varying projections", "council")
def engineer_variance(evidence: Evidence) -> Findings:
    """Projections are finite and vary within each side, by more than rounding does."""
    for row in evidence.council.itertuples():
        spread = min(row.std_positive, row.std_negative)
        status = graded(bool(np.isfinite(spread) and spread > COINCIDE * abs(row.separation)))
        text = f"least standard deviation {spread:.3g}"
        yield row.model, status, text


@check("Engineer", "dtype", "models")
def engineer_dtype(evidence: Evidence) -> Findings:
    """float16 overflows at deep layers."""
    for row in evidence.models.itertuples():
        stored = f", from {row.quantisation}" * bool(row.quantisation)
        yield row.name, noted(row.dtype != "float16"), f"weights as {row.dtype}{stored}"


@check("Engineer", "time and memory", "cost")
def engineer_cost(evidence: Evidence) -> Findings:
    """Time and memory were recorded."""
    for model, rows in evidence.cost.groupby("model") if len(evidence.cost) else []:
        text = f"{rows['seconds'].sum():.0f} s, at most {rows['peak_memory_mb'].max():.0f} MB"
        yield str(model), graded(bool(rows["seconds"].notna().all())), text


@check("Engineer", "ratings", "dose_response")
def engineer_ratings(evidence: Evidence) -> Findings:
    """The scorer rated every text, or nearly: which ones a judge fails on may hang on what they say."""
    if "unrated" in evidence.rates:
        for model, rows in evidence.rates.groupby("model"):
            once = rows[(rows["alpha"] != 0) | ~rows.duplicated(["scenario", "alpha"])]  # unsteered texts stand at every layer
            missing = once["unrated"].sum()
            texts = missing + once["samples"].sum()
            yield str(model), graded(missing == 0, missing <= UNRATED * texts), f"{missing} of {texts} texts have no rating"


@check("Statistician", "judge agrees with people", "scorer_agreement")
def statistician_judge(evidence: Evidence) -> Findings:
    """Where a judge decides, it rates as every person does who rated texts of the model, by the interval of Cohen's kappa."""
    if evidence.scorer != "rubric":
        return
    bar, rated = evidence.criteria.agreement, dict(list(evidence.agreement.groupby("model"))) if len(evidence.agreement) else {}
    for model in evidence.trends["model"].unique() if len(evidence.trends) else []:
        rows = rated[model].itertuples() if model in rated else []
        own = [row for row in rows if row.first == evidence.scorer and str(row.second).startswith(HUMAN)]
        listed = ", ".join(
            f"{row.second} {row.kappa:.2f} [{row.kappa_lower:.2f}, {row.kappa_upper:.2f}] on {row.texts} texts" for row in own
        )
        good = bool(own) and all(row.kappa_lower >= bar for row in own)
        yield model, graded(good), f"kappa with {listed} (bar {bar}, of the lower end)" if own else "nobody rated its texts"


@check("Engineer", "truncation", "dose_response")
def engineer_truncation(evidence: Evidence) -> Findings:
    """Unsteered texts end by themselves, so that the token limit does not cut off what they would say."""
    for model, ended in unsteered(evidence, "ended"):
        text = f"{ended.mean():.2f} of the unsteered texts end before the token limit"
        yield model, noted(ended.mean() >= ENDED), text


@check("Devil's Advocate", SPECIFICITY, "specificity")
def devil_specificity(evidence: Evidence) -> Findings:
    """Directions refitted on flipped labels, which lie where the pairs vary, move the rate less than the probe's does."""
    steerable = {(row.model, row.layer): row.steerable == YES for row in evidence.trends.itertuples()}
    for row in evidence.specificity.itertuples():
        status = graded(row.p <= evidence.criteria.specificity_p, not steerable.get((row.model, row.layer), False))
        text = (
            f"block {row.layer}: {row.rate_change:+.2f} from {row.alpha_low:g} to {row.alpha_high:g}, {row.arms} flipped "
            f"directions {row.flipped_median:.2f} (median) and {row.flipped_largest:.2f} (largest) either way, p {row.p:.3f}"
        )
        yield row.model, status, text + (", all doses saturated" if row.saturated else "")


@check("Devil's Advocate", "random directions steer", "controls")
def devil_controls(evidence: Evidence) -> Findings:
    """No random direction of the same length moves the rate, up or down, half as much as the probe's."""
    arms = dict(list(evidence.controls.groupby(["model", "layer"]))) if len(evidence.controls) else {}
    for row in evidence.trends.itertuples():
        if (row.model, row.layer) in arms:
            changes = arms[row.model, row.layer].set_index("arm")["rate_change"]
            status = noted(changes.abs().max() <= CONTROL_SHARE * abs(row.rate_change))
            listed = ", ".join(f"{arm} {change:+.2f}" for arm, change in changes.items())
            yield row.model, status, f"block {row.layer}: {listed} against {row.rate_change:+.2f}"


@check("Devil's Advocate", "baseline ceiling or floor", "dose_response")
def devil_ceiling(evidence: Evidence) -> Findings:
    """A baseline at the ceiling or the floor leaves a direction nothing to do on one side."""
    for model, rates in unsteered(evidence, "positive"):
        stuck = rates[(rates >= CEILING) | (rates <= FLOOR)]
        text = ", ".join(f"{scenario} {rate:.2f}" for scenario, rate in stuck.items())
        text = text or f"baselines {rates.min():.2f} to {rates.max():.2f}"
        yield model, noted(stuck.empty), text


@check("Devil's Advocate", "words and deeds", "deed_changes")
def devil_words(evidence: Evidence) -> Findings:
    """A push that moves what is said in the games moves what is done there, too."""
    rows = evidence.deed_changes
    for row in rows[rows["words_change"].notna()].itertuples() if "words_change" in rows else []:
        if row.game == "all" or rows["game"].nunique() == 1:
            talk = talks_only(row)
            said, done, gap = (bounds(row, name) for name in ("words_change", "deeds_change", "gap"))
            text = f"block {row.layer}, {row.variant}: words {said} of 1, deeds {done} of 2, words less half the deeds {gap}"
            yield row.model, noted(not talk), text + ": words move, deeds do not" * talk


@check("Engineer", "actions understood", "deeds")
def engineer_actions(evidence: Evidence) -> Findings:
    """Most of the unsteered answers are actions, or the deeds are those of a player that passes its turns."""
    rows = evidence.deeds
    if len(rows):
        for model, own in rows[rows["arm"] == BASELINE_ARM].groupby("model"):
            share = own["unparsable"].mean()
            yield str(model), noted(share <= UNPARSABLE), f"{share:.2f} of the answers in unsteered games are no action"


@check("Devil's Advocate", "zero effects and broken texts", "steering")
def devil_breakdown(evidence: Evidence) -> Findings:
    """Success that the published rule sees and the strict one does not: zero effects and broken texts."""
    for (model, layer), rows in evidence.success.groupby(["model", "layer"]) if len(evidence.success) else []:
        by_rule = rows.groupby("rule")["success_rate"].mean()
        text = f"block {layer}: success {by_rule['published']:.2f} published, {by_rule['strict']:.2f} strict"
        status = noted(by_rule["published"] - by_rule["strict"] <= EXCESS)
        yield str(model), status, text


def details_of(evidence: Evidence, metric: str, of_layer: bool = False) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Each model's council row with its rows of a metric that comes several times: of the model, or of the selected layer."""
    rows = evidence.details[evidence.details["metric"] == metric] if len(evidence.details) else evidence.details
    of_model = dict(list(rows.groupby("model"))) if len(rows) else {}
    for row in evidence.council.itertuples():
        if row.model in of_model:
            own = of_model[row.model]
            own = own[own["layer"] == row.layer] if of_layer else own
            if len(own):
                yield row, own


def unsteered(evidence: Evidence, rate: str) -> Iterator[tuple[str, pd.Series]]:
    """Per model, a rate of the baseline by scenario."""
    if rate in evidence.rates:
        for model, rows in evidence.rates[evidence.rates["alpha"] == 0].groupby("model"):
            yield str(model), rows.groupby("scenario")[rate].mean()
