"""What every arm of a sweep does, the probe's direction and the control ones, on one scale."""

import pandas as pd

from probesteer.behaviour.changes import bounded, mean_change
from probesteer.behaviour.effects import rated
from probesteer.stats import wilson_interval
from probesteer.study.cells import BASELINE_ARM, FLIPPED, PROBE_ARM, RANDOM

STEERED = f"{PROBE_ARM}$|{FLIPPED}-|{RANDOM}-"


def arm_rates(scores: pd.DataFrame) -> pd.DataFrame:
    """The rate of (positive and coherent) per (model, layer, arm, alpha), mean over scenarios, with its 95 % interval.

    The interval is that of a mean of independent rates (MOVER, `changes.mean_change`) from Wilson's interval in each scenario.
    Alpha 0 is the unsteered baseline, which every arm starts from; it stands with the probe's. samples: of all scenarios.
    """
    known = rated(scores)
    known = known[known["layer"].notna() & known["arm"].str.match(f"{STEERED}|{BASELINE_ARM}$")]
    known = known.assign(
        arm=known["arm"].replace(BASELINE_ARM, PROBE_ARM), outcome=(known["positive"] & known["coherent"]).astype(float)
    ).astype({"layer": int})
    rows = []
    at = ["model", "layer", "arm", "alpha"]
    for key, own in known.groupby(at, sort=True):
        by_scenario = own.groupby("scenario")["outcome"].agg(["sum", "size"])
        bounds = wilson_interval(by_scenario["sum"].to_numpy(), by_scenario["size"].to_numpy())
        rates = zip(by_scenario["sum"] / by_scenario["size"], *bounds, strict=True)
        rows.append(dict(zip(at, key, strict=True)) | bounded("rate", mean_change(rates)) | {"samples": len(own)})
    return pd.DataFrame(rows)
