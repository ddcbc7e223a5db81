"""The Devil's Advocate on detection: what else could have told the sides apart, each a check beside those of `checks`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from probesteer.report.checks import ASKED, CHECKS, Findings, beside, check, details_of, graded, noted
from probesteer.report.evidence import Evidence
from probesteer.study.options import EMBEDDINGS

__all__ = ["ASKED", "CHECKS"]

LEAKS = 0.1  # share of the test clusters
GENERATOR_FAIR, GENERATOR_BAR = 0.6, 0.75  # AUROC of the generator's name alone
ALIGNED = 0.5  # cosine with a factor's direction: a quarter of the squared norm
CONCENTRATED = 0.5  # share of the direction's squared norm in 1 % of its dimensions


@check("Devil's Advocate", "surface baselines", "details")
def devil_surface(evidence: Evidence) -> Findings:
    """The probe is above the best surface baseline: the pairs would else show nothing about the model."""
    above = {row.model: rows.set_index("of") for row, rows in details_of(evidence, "above_surface", of_layer=True)}
    for row, surface in details_of(evidence, "surface_auroc"):
        best = surface.loc[surface["estimate"].idxmax()]
        margin = above[row.model].loc[best["of"]]
        status, text = against(row, best["estimate"], margin, evidence.criteria.auroc)
        yield row.model, status, f"{best['of']} {text}"


@check("Devil's Advocate", "generator", "selection")
def devil_generator(evidence: Evidence) -> Findings:
    """Who wrote a text does not tell its side: the probe may else read the generator's style."""
    for row in evidence.council.itertuples():
        if pd.notna(alone := getattr(row, "generator_auroc", np.nan)):
            apart = max(alone, 1 - alone)
            status = graded(apart <= GENERATOR_FAIR, apart <= GENERATOR_BAR)
            yield row.model, status, f"the generator's name alone gives AUROC {alone:.3f} (bar {GENERATOR_BAR})"


@check("Devil's Advocate", "near-duplicates across the split", "selection")
def devil_leak(evidence: Evidence) -> Findings:
    """No cluster of near-duplicates lies on both sides of the split: the probe would have seen the test."""
    for row in evidence.council.itertuples():
        leaks = getattr(row, "leaking_groups", 0)
        status = graded(leaks == 0, leaks < LEAKS * row.test_groups)
        text = f"{leaks:.0f} of {row.test_groups:.0f} test clusters have near-duplicates among the training pairs"
        yield row.model, status, text


@check("Devil's Advocate", "embeddings alone", "detection")
def devil_embeddings(evidence: Evidence) -> Findings:
    """The words alone, as the input embeddings see them, must not do as well as the selected block."""
    embeddings = evidence.detection[evidence.detection["layer"] == EMBEDDINGS].set_index("model")["auroc"]
    for row in evidence.council.itertuples():
        if row.model in embeddings and row.layer != EMBEDDINGS:
            status, text = against(row, embeddings[row.model], margin_of(row, "above_embeddings"), evidence.criteria.auroc)
            yield row.model, status, text


@check("Devil's Advocate", "lexical ablation", "council")
def devil_ablation(evidence: Evidence) -> Findings:
    """The telling words replaced on both sides, most of the AUROC is left."""
    yield from drops(evidence, "ablated_auroc", evidence.criteria.ablation_drop)


@check("Devil's Advocate", "length and formatting", "council")
def devil_form(evidence: Evidence) -> Findings:
    """What length and formatting predict taken out, most of the AUROC is left."""
    yield from drops(evidence, "residualised_auroc", evidence.criteria.ablation_drop)


def drops(evidence: Evidence, column: str, bar: float) -> Findings:
    for row in evidence.council.itertuples():
        if pd.notna(left := getattr(row, column, np.nan)):
            yield row.model, graded(row.auroc - left <= bar), f"{left:.3f} against {beside(row)} (bar {bar})"


def margin_of(row: Any, column: str) -> dict[str, float]:
    """A metric of a council row with its bounds, as a row of details has them."""
    names = {"estimate": column, "lower": f"{column}_lower", "upper": f"{column}_upper"}
    return {name: getattr(row, of, np.nan) for name, of in names.items()}


def against(row: Any, other: float, margin: Mapping[str, float], bar: float) -> tuple[str, str]:
    """The probe of a council row against the AUROC of what needs no block of the model, by the margin's paired interval.

    FAIL where the interval does not lie above 0: the probe is not shown to read more. WARN where the other reaches the bar.
    """
    status = graded(margin["lower"] > 0 and other < bar, margin["lower"] > 0)
    interval = f"[{margin['lower']:+.3f}, {margin['upper']:+.3f}]"
    return status, f"{other:.3f} (bar {bar}) against {beside(row)}: {margin['estimate']:+.3f} {interval}"


@check("Devil's Advocate", "control concept", "detection")
def devil_control_concept(evidence: Evidence) -> Findings:
    """Another concept's direction, either way round, does not tell this one's sides apart as well."""
    for row in evidence.council.itertuples():
        if pd.notna(auroc := getattr(row, "control_concept_auroc", np.nan)):
            margin = margin_of(row, "above_control_concept")
            status, text = against(row, max(auroc, 1 - auroc), margin, evidence.criteria.auroc)
            yield row.model, status, f"its direction gives {text}, cosine {row.cos_control_concept:.2f}"


@check("Devil's Advocate", "crossed factors", "details")
def devil_factors(evidence: Evidence) -> Findings:
    """It is not only the tone, or whatever else the pairs are crossed with.

    FAIL where the direction fitted in one level does not read the behaviour in the other: the mean AUROC of both ways is below
    its bar, or the interval of one way does not lie above 1/2. Where nothing is read across levels each interval lies above
    1/2 in at most 2.5 % of studies, and both must. FAIL also where less than a share of the d' is left with the factor's own
    direction taken out, or would be by the cosine of both, sqrt(1 - cos^2): within a level, too, the sides then differ in the
    factor. WARN where that direction, either way round, reaches the bar of detection on the behaviour, or lies along the probe
    (cosine ALIGNED): a model may take a warm tone for a sign of the behaviour, and the direction of the tone then holds some
    of it, so that this alone is no ground for a FAIL. WARN, too, where the levels themselves are not told apart: crossing them
    shows nothing, and there is no direction of the factor to lie along.
    """
    bars = evidence.criteria
    names = ("factor_auroc", "cos_factor", "factor_tells_auroc", "without_factor_dprime")
    of_factor = {
        (name, row.model): rows.set_index("of") for name in names for row, rows in details_of(evidence, name, of_layer=True)
    }
    for row, rows in details_of(evidence, "across_level_auroc", of_layer=True):
        for factor, read in rows.groupby(rows["of"].str.partition(": ")[0], sort=False):
            own, cosine, tells, left = (of_factor[name, row.model].loc[factor] for name in names)
            apart = max(tells["estimate"], 1 - tells["estimate"])
            across = read["estimate"].mean() >= bars.factor_auroc and bool((read["lower"] > 0.5).all())
            told, aside = own["lower"] > 0.5, np.sqrt(np.clip(1 - cosine["estimate"] ** 2, 0, None))
            beyond = left["estimate"] >= bars.factor_dprime * row.dprime and not (told and aside < bars.factor_dprime)
            holds = across and beyond
            clear = told and apart < bars.auroc and abs(cosine["estimate"]) < ALIGNED
            ways = " and ".join(f"{way.estimate:.3f} [{way.lower:.3f}, {way.upper:.3f}]" for way in read.itertuples())
            text = (
                f"{factor}: fitted in one level and read in the other {ways} (bar {bars.factor_auroc} on average, intervals "
                f"above 0.5); its own direction reads the levels at {own['estimate']:.3f}, the sides at {apart:.3f} (bar "
                f"{bars.auroc}), cosine {cosine['estimate']:.2f} (bar {ALIGNED}), which leaves a share of {aside:.2f}; d' "
                f"without it {left['estimate']:.2f} of {row.dprime:.2f} (bar a share of {bars.factor_dprime})"
            )
            yield row.model, graded(holds and clear, holds), text


@check("Devil's Advocate", "out-of-scenario drop", "details")
def devil_scenario(evidence: Evidence) -> Findings:
    """A scenario that the probe was not fitted on is told apart nearly as well."""
    yield from without(evidence, "scenario")


@check("Devil's Advocate", "out-of-generator drop", "details")
def devil_without_generator(evidence: Evidence) -> Findings:
    """The texts of a generator that the probe was not fitted on are told apart nearly as well."""
    yield from without(evidence, "generator")


@check("Devil's Advocate", "out-of-voice drop", "details")
def devil_without_voice(evidence: Evidence) -> Findings:
    """A voice that the probe was not fitted on is told apart nearly as well."""
    yield from without(evidence, "voice")


def without(evidence: Evidence, what: str) -> Findings:
    bar = evidence.criteria.scenario_drop
    for row, left_out in details_of(evidence, f"without_{what}", of_layer=True):
        worst, mean = left_out.loc[left_out["estimate"].idxmin()], left_out["estimate"].mean()
        text = f"mean {mean:.3f}, least {worst['estimate']:.3f} ({worst['of']}) against {beside(row)} (bar {bar})"
        yield row.model, graded(row.auroc - mean <= bar), text


@check("Devil's Advocate", "another method", "details")
def devil_methods(evidence: Evidence) -> Findings:
    """No other linear method reads the behaviour better than the one that is judged, which outlier dimensions can blind."""
    for row, gains in details_of(evidence, "method_gain", of_layer=True):
        better = gains[gains["lower"] > 0].sort_values("estimate", ascending=False)
        listed = ", ".join(
            f"{gain.of} {row.auroc + gain.estimate:.3f} ({gain.estimate:+.3f} [{gain.lower:+.3f}, {gain.upper:+.3f}])"
            for gain in better.itertuples()
        )
        text = f"another method reads it: {listed} against {beside(row)}" if listed else "no other method reads it better"
        yield row.model, noted(not listed), text


@check("Devil's Advocate", "erasure", "council")
def devil_erasure(evidence: Evidence) -> Findings:
    """One direction taken out of the training texts (LEACE), no linear probe reads the behaviour in the held-out ones."""
    for row in evidence.council.itertuples():
        if pd.notna(left := getattr(row, "erased_auroc", np.nan)):
            reads = margin_of(row, "erased_auroc")["lower"] > 0.5
            yield row.model, noted(not reads), f"the best linear probe after it {left:.3f} against {beside(row)}"


@check("Devil's Advocate", "random directions", "council")
def devil_random(evidence: Evidence) -> Findings:
    """Random directions, isotropic or with the covariance of the activations, must not do as well."""
    for row in evidence.council.itertuples():
        best = max(row.random_auroc_p95, row.matched_auroc_p95)
        status = graded(best < row.auroc_lower, best < row.auroc)
        text = f"95th percentiles {row.random_auroc_p95:.3f} and, covariance-matched, {row.matched_auroc_p95:.3f}"
        yield row.model, status, f"{text} against {beside(row)}"


@check("Devil's Advocate", "concentration", "council")
def devil_geometry(evidence: Evidence) -> Findings:
    """A direction that lives in a few dimensions is likely an outlier dimension's."""
    for row in evidence.council.itertuples():
        status = noted(row.top_share <= CONCENTRATED)
        text = f"participation ratio {row.participation_ratio:.1f}, {row.top_share:.2f} of the norm in 1 % of the dimensions"
        yield row.model, status, text
