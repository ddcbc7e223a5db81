"""What a model's steering did: the tables of the report that concern one model, from its scores and its probes."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa

from probesteer.behaviour.agreement import of_scorers
from probesteer.behaviour.anti_steered import anti_steered
from probesteer.behaviour.arms import arm_rates
from probesteer.behaviour.changes import bounded, mean_change, paired_change
from probesteer.behaviour.effects import CELL, RULES, dose_response, mean_success, of_arm, rated, success_rates
from probesteer.behaviour.nats import equal_kl
from probesteer.behaviour.ratings import people_of
from probesteer.behaviour.specificity import specificity
from probesteer.behaviour.trends import control_trends, scenario_trends, trends
from probesteer.directions import Probe
from probesteer.directions.sites import load_sites
from probesteer.files.digests import file_digest
from probesteer.files.tables import FINGERPRINT, read_fingerprint, read_table, write_table
from probesteer.jobs import effects_settings
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM, PROMPTED_ARMS, RANDOM, dose_pairs
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 5  # bump by hand when the same scores give other effects
EXAMPLE_COLUMNS = ["model", "layer", "scenario", "alpha", "sample", "positive", "coherent", "nll", "text"]
PROMPTED_RATES = {"rate": "outcome", "coherent": "coherent"}  # columns of the table and of the scores


def effects_inputs(study: Study, model: Model, scores: Mapping[str, str], probes: Mapping[int, Probe]) -> dict[str, Any]:
    """Everything that determines a model's tables of effects, given the fingerprints of its scores by scorer."""
    fitted = {str(layer): probe.metadata.get(FINGERPRINT.decode(), "") for layer, probe in probes.items()}
    doses = {str(layer): dict(probe.doses) for layer, probe in probes.items()}
    inputs = {"numerics": NUMERICS, "scores": dict(scores), "probes": fitted, "doses": doses}
    people = {path: file_digest(Path(path)) for path in study.ratings}
    return {**inputs, **({"people": people} if people else {}), **effects_settings(study, model)}


def write_effects(study: Study, model: Model) -> None:
    """Write a model's tables of effects: its name is in their path, not in them. Raises InputError."""
    paths: dict[str, Path] = {scorer: study.paths.scores(model.name, scorer) for scorer in study.scorers}
    probes = {probe.layer: probe for probe in load_sites(study, model).values()}
    scores = {scorer: read_table(path).to_pandas() for scorer, path in paths.items()}
    inputs = effects_inputs(study, model, {scorer: read_fingerprint(path) for scorer, path in paths.items()}, probes)
    people = people_of([Path(path) for path in study.ratings], scores[study.scorers[0]])
    for name, table in effects_tables(study, scores, probes, people).items():
        plain = pa.Table.from_pandas(table.drop(columns="model", errors="ignore"), preserve_index=False)
        write_table(plain, study.paths.effects(model.name, name), inputs)


def effects_tables(
    study: Study,
    scores: Mapping[str, pd.DataFrame],
    probes: Mapping[int, Probe],
    people: Mapping[str, pd.DataFrame] = MappingProxyType({}),
) -> dict[str, pd.DataFrame]:
    """Dose-response, trends, prompted rates and examples from the first scorer; success by every scorer and rule.

    `people` are what raters said of some of the texts (`ratings.people_of`).
    """
    sweeps = {scorer: of_arm(table) for scorer, table in scores.items()}
    decides = study.scorers[0]
    success = [success_rates(sweep, rule).assign(scorer=scorer) for scorer, sweep in sweeps.items() for rule in RULES]
    steering = pd.concat(success).sort_values([*CELL, "rule", "scorer"], ignore_index=True)
    limit = study.criteria.trend_alpha
    random_arms = [arm for arm in study.controls.arms() if arm.startswith(RANDOM)]
    return {
        "dose_response": with_doses(with_unrated(dose_response(sweeps[decides]), scores[decides]), probes, study.alpha_unit),
        "steering": steering,
        "success": mean_success(steering),
        "scorer_agreement": of_scorers(scores, people),
        "anti_steered": anti_steered(scores[decides], limit),
        "trends": trends(sweeps[decides], limit, study.seed, study.trend_permutations),
        "scenario_trends": scenario_trends(sweeps[decides], limit),
        "specificity": specificity(scores[decides], dose_pairs(sweeps[decides]["alpha"], limit)),
        "arms": arm_rates(scores[decides]),
        "controls": control_trends(scores[decides], random_arms, limit, study.seed),
        "prompting": prompting_table(scores[decides]),
        "nats": equal_kl(scores[decides]),
        "examples": examples_table(sweeps[decides], limit),
        "chosen": chosen_table(sweeps[decides], limit),
    }


def with_unrated(rates: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Add how many texts of the cell have no rating, since the judge failed: `samples` are those that have one."""
    at = [*CELL, "alpha"]
    arms = scores[scores["arm"].isin([PROBE_ARM, BASELINE_ARM])]
    missing = arms["positive"].isna().groupby([arms[axis] for axis in at]).sum().rename("unrated").reset_index()
    return rates.merge(missing, on=at, how="left").astype({"unrated": int})


def with_doses(rates: pd.DataFrame, probes: Mapping[int, Probe], unit: str) -> pd.DataFrame:
    """Add the dose in all three units: the length of the push, in class separations, and in mean residual norms."""
    at = [probes[layer] for layer in rates["layer"]]
    push = [probe.push(alpha, unit) for probe, alpha in zip(at, rates["alpha"], strict=True)]
    return rates.assign(
        dose_absolute=push,
        dose_separation=[length / probe.separation for length, probe in zip(push, at, strict=True)],
        dose_residual=[length / probe.residual_norm for length, probe in zip(push, at, strict=True)],
    )


def prompting_table(scores: pd.DataFrame) -> pd.DataFrame:
    """What the system prompts do that ask for the behaviour and for its opposite: one row per model.

    rate and coherent: of (positive and coherent), and of coherent texts, under each; change: of the rate, from the prompt
    against to the prompt for, with its interval. Where prompts change nothing that the scorer sees, a push cannot be judged.
    """
    prompted = rated(scores[scores["arm"].isin(list(PROMPTED_ARMS))])
    prompted = prompted.assign(outcome=(prompted["positive"] & prompted["coherent"]).astype(float))
    rows = []
    for model, own in prompted.groupby("model", sort=True):
        sides = {side: own[own["arm"] == arm] for arm, side in PROMPTED_ARMS.items()}
        row = {f"{name}_{side}": of[column].mean() for side, of in sides.items() for name, column in PROMPTED_RATES.items()}
        outcomes = own.pivot(index=["scenario", "sample"], columns="arm", values="outcome")
        outcomes = outcomes.reindex(columns=list(PROMPTED_ARMS)).astype(float)
        by_scenario = [paired_change(*part.to_numpy()[:, ::-1].T) for _, part in outcomes.groupby(level="scenario")]
        rows.append({"model": model, **row, **bounded("change", mean_change(by_scenario))})
    return pd.DataFrame(rows)


def examples_table(scores: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Sample 0 of the first scenario at the lowest and highest alpha of the trend range, at 0, and at the extremes."""
    rows = []
    for (_model, _layer), own in scores.groupby(["model", "layer"]):
        first = own[(own["sample"] == 0) & (own["scenario"] == own["scenario"].min())]
        within = first.loc[first["alpha"].abs() <= limit, "alpha"]
        wanted = {first["alpha"].min(), within.min(), 0.0, within.max(), first["alpha"].max()}
        rows.append(first[first["alpha"].isin(wanted)].sort_values("alpha"))
    return pd.concat(rows)[EXAMPLE_COLUMNS].reset_index(drop=True)


def chosen_table(scores: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Per (model, layer) one sample at the lowest alpha of the trend range, at 0 and at the highest, chosen for its scores:

    not positive at the lowest, positive at the highest, coherent at both; all three coherent before others, then the first. No
    rows where there is none. changed: how many of the `samples` go that way; reversed: how many the other way round.
    """
    rows = []
    for _key, own in scores[scores["alpha"].abs() <= limit].groupby(["model", "layer"]):
        doses = sorted({own["alpha"].min(), 0.0, own["alpha"].max()})
        units = own.set_index(["scenario", "sample", "alpha"])[["positive", "coherent"]].unstack("alpha", fill_value=False)
        low, high, coherent = units["positive"][doses[0]], units["positive"][doses[-1]], units["coherent"]
        told = coherent[doses[0]] & coherent[doses[-1]]
        up, down = told & ~low & high, told & low & ~high
        if not up.any():
            continue
        whole = up & coherent[0.0]
        scenario, sample = (whole if whole.any() else up).idxmax()
        three = own[(own["scenario"] == scenario) & (own["sample"] == sample) & own["alpha"].isin(doses)].sort_values("alpha")
        rows.append(three[EXAMPLE_COLUMNS].assign(changed=int(up.sum()), reversed=int(down.sum()), samples=len(units)))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
