"""The first screen, by rule from the tables: what was found in one sentence, a row per model, why, what it does not show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from probesteer.report.charts import Chart, depth_chart, dose_chart
from probesteer.report.checks import FAIL, NO, NOT_MEASURABLE, NOT_TESTED, SOME, WARN, YES
from probesteer.report.council import best_block
from probesteer.study.experiment import Study

Tables = Mapping[str, pd.DataFrame]
ICONS = {"GREEN": "\N{HEAVY CHECK MARK}", "AMBER": "\N{BLACK UP-POINTING TRIANGLE}", "RED": "\N{HEAVY MULTIPLICATION X}"}
WORST = {FAIL: 0, WARN: 1}  # order of checks; what passed comes last
UNTESTED = ", steering not tested"
MOST_NAMES = 4  # of models in the sentence; more are counted
JUDGES = {
    "grammar": "a grammar that knows what these organisms can say",
    "lexical": "counts of words, which see neither sense nor deed",
    "published": "the source work's counts of words, which see neither sense nor deed",
    "rubric": "a language model by rubric, not a person",
}


@dataclass(frozen=True)
class Overview:
    """What the first screen shows."""

    finding: str
    rows: list[dict[str, Any]]
    reasons: Mapping[str, list[dict[str, Any]]]
    texts: list[dict[str, Any]]
    limits: list[str]
    depth: Chart
    dose: Chart | None


def overview(study: Study, concept: str, tables: Tables) -> Overview:
    """The first screen of a study of a concept, by its title."""
    rows = summary(tables)
    steered = rows[rows["steered_layer"].notna()]
    blocks = {row.model: int(row.steered_layer) for row in steered.itertuples()}
    return Overview(
        finding(rows, concept),
        rows.to_dict("records"),
        reasons(tables["checks"], rows["model"].tolist()),
        featured(rows, tables["chosen"]),
        limits(study, tables, rows),
        depth_chart(tables["detection"], tables["council"], study.criteria.auroc),
        dose_chart(tables["arms"], blocks),
    )


def worst_first(checks: pd.DataFrame) -> pd.DataFrame:
    """The checks in order of what they found, within that in their own."""
    return checks.sort_values("status", key=lambda status: status.map(WORST).fillna(2), kind="stable")


def summary(tables: Tables) -> pd.DataFrame:
    """A row per model, the best verdict first: what the first screen shows of it.

    Detection at the selected block, beside the best surface baseline; steering at the block of which most can be said, beside
    the control direction that moves the rate most, up or down. failed, warned: how many checks; missing where not tested.
    """
    surface = tables["details"].query("metric == 'surface_auroc'") if len(tables["details"]) else tables["details"]
    trends = dict(list(tables["trends"].groupby("model"))) if len(tables["trends"]) else {}
    council = tables["council"].set_index("model")
    rows = []
    for judged in tables["verdict"].to_dict("records"):
        model = judged["model"]
        read = council.loc[model]
        rows.append(
            {
                **{name: judged[name] for name in ("model", "verdict", "detected", "steerable", "specific", "failed_checks")},
                **{name: read[name] for name in ("layer", "auroc", "auroc_lower", "auroc_upper", "p_holm")},
                **best_of(surface[surface["model"] == model] if len(surface) else surface),
                **pushed(trends.get(model), tables),
                **counted(tables["checks"], model),
            }
        )
    table = pd.DataFrame(rows)
    order = table["verdict"].map({verdict: place for place, verdict in enumerate(ICONS)})
    return table.assign(order=order).sort_values(["order", "model"]).drop(columns="order").reset_index(drop=True)


def best_of(surface: pd.DataFrame) -> dict[str, Any]:
    """The best of a model's surface baselines, by name."""
    if surface.empty:
        return {"surface": "", "surface_auroc": float("nan")}
    best = surface.loc[surface["estimate"].idxmax()]
    return {"surface": best["of"], "surface_auroc": best["estimate"]}


def pushed(trends: pd.DataFrame | None, tables: Tables) -> dict[str, Any]:
    """What the push does at the block of which most can be said, and the control direction that does most there."""
    if trends is None:
        return {"steered_layer": pd.NA}
    best = best_block(trends)
    here = {"model": best.model, "layer": best.layer}
    changes = {}
    if len(flipped := at(tables["specificity"], here)):
        changes["shuffled labels"] = flipped["flipped_largest"].iloc[0]
    for row in at(tables["controls"], here).itertuples():
        changes[row.arm] = row.rate_change
    strongest = max(changes, key=lambda arm: abs(changes[arm]), default="")
    return {
        "steered_layer": best.layer,
        **{f"rate_change{bound}": getattr(best, f"rate_change{bound}") for bound in ("", "_lower", "_upper")},
        "control": strongest,
        "control_change": changes.get(strongest, float("nan")),
    }


def at(table: pd.DataFrame, place: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a table, which may be empty, at a model and a layer."""
    return table[(table["model"] == place["model"]) & (table["layer"] == place["layer"])] if len(table) else table


def counted(checks: pd.DataFrame, model: str) -> dict[str, int]:
    status = checks.loc[checks["model"] == model, "status"]
    return {"failed": int((status == FAIL).sum()), "warned": int((status == WARN).sum())}


def finding(rows: pd.DataFrame, concept: str) -> str:
    """What was found, in one sentence: the models of which the same is said together, the best first."""
    untested = bool((rows["steerable"] == NOT_TESTED).all())
    groups: dict[str, list[str]] = {}
    for row in rows.itertuples():
        groups.setdefault(phrase(row).replace(UNTESTED, "" if untested else UNTESTED), []).append(row.model)
    parts = [f"in {named(models, len(rows))}: {what}" for what, models in groups.items()]
    return f"{concept} {'; '.join([*parts, *['steering was not tested'] * untested])}."


def named(models: Sequence[str], of: int) -> str:
    """Which of the models, where they are few, and how many."""
    count = f"{len(models)} of {of} models"
    if len(models) == 1:
        return models[0]
    return f"{joined(models)} ({count})" if len(models) <= MOST_NAMES else count


def joined(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def phrase(row: Any) -> str:
    """What is said of a model: whether it is detected, whether a push along it steers, and what speaks against both."""
    read = row.detected == YES
    if row.steerable == NOT_TESTED:
        said = f"{'detected' if read else 'not detected'}{UNTESTED}"
    elif row.steerable == NOT_MEASURABLE:
        said = f"{'detected' if read else 'not detected'}, and steering cannot be measured"
    elif row.steerable == NO:
        said = "detected, not steerable" if read else "neither detected nor steerable"
    else:
        where = " in some scenarios" if row.steerable == SOME else ""
        if read and row.specific == YES:
            said = f"detected, steerable{where} and specific"
        else:
            said = f"{'detected and' if read else 'not detected, but'} steerable{where}{unspecific(row)}"
    sound = not read or not row.failed_checks
    return said if sound else f"{said}, with checks that fail"


def unspecific(row: Any) -> str:
    """What is said where the push is not shown to do more than chance directions do."""
    if row.specific == YES:
        return ", more than by directions of shuffled labels"
    if row.specific == NOT_TESTED:
        return ", without a test against directions of shuffled labels"
    strongly = abs(row.control_change) >= abs(row.rate_change)
    return ", but a shuffled-label direction steers as strongly" if strongly else ", but not shown to be specific"


def reasons(checks: pd.DataFrame, models: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Per model, in this order, its checks that fail or warn, the worst first."""
    bad = worst_first(checks[checks["status"].isin(list(WORST))])
    return {model: bad[bad["model"] == model].to_dict("records") for model in models}


def featured(rows: pd.DataFrame, chosen: pd.DataFrame) -> list[dict[str, Any]]:
    """Three texts of one sample whose score changed: of the best model that has one, at the block where the most samples do."""
    for model in rows["model"] if len(chosen) else []:
        own = chosen[chosen["model"] == model]
        if len(own):
            best = own.loc[own["changed"].idxmax(), "layer"]
            return own[own["layer"] == best].to_dict("records")
    return []


def limits(study: Study, tables: Tables, rows: pd.DataFrame) -> list[str]:
    """What the study does not show, by rule from its tables."""
    models, council = tables["models"], tables["council"]
    largest = models["parameters"].max() / 1e9
    said = []
    if study.models[0].organism:
        said.append("Nothing about real models: these were trained to carry what is looked for.")
    else:
        said.append(f"Nothing about models larger than {largest:.3g} billion parameters, the largest studied.")
    pairs = council["test_groups"].min()
    said.append(f"Detection rests on {pairs:.0f} held-out pairs or clusters, all of one concept's making.")
    if study.steered:
        prompts = tables["dose_response"]["scenario"].nunique()
        many = f"{prompts} prompts, one a scenario" if prompts > 1 else "one prompt"
        said.append(f"Steering was tried on {many}, {study.samples} samples each; other prompts may answer otherwise.")
        said.append(f"Texts were judged by {JUDGES.get(study.scorers[0], study.scorers[0])} (scorer {study.scorers[0]}).")
        least = tables["trends"]["detectable_change"].min()
        if pd.notna(least):
            said.append(f"A change of the rate below {least:.2f} is missed in one of five studies of this size, or more.")
    if failed := int(rows["failed"].sum()):
        said.append(f"{failed} checks fail and {int(rows['warned'].sum())} warn: the reasons are below, the worst first.")
    elif warned := int(rows["warned"].sum()):
        said.append(f"{warned} checks warn: the reasons are below.")
    if quantised := models.loc[models["quantisation"].astype(str).str.len() > 0, "name"].tolist():
        said.append(f"Weights of {joined(quantised)} were quantised: these were studied, not the originals.")
    return said
