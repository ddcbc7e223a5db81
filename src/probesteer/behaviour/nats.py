"""Steering beside prompting where both move the model's predictions equally far, in nats."""

import numpy as np
import pandas as pd

from probesteer.behaviour.effects import of_arm, rated
from probesteer.study.cells import PROMPTED_ARMS

NAMES = ["model", "layer", "arm", "kl", "prompted", "steered", "alpha", "unsteered"]


def equal_kl(scores: pd.DataFrame) -> pd.DataFrame:
    """What the push does at the KL of each system prompt: a row per (model, layer, prompted arm); none without KL.

    kl: of the system prompt on the neutral texts, in nats per token. prompted, unsteered: share of texts that are coherent and
    on the side that the prompt asks for, mean over scenarios. steered: the same of the probe's arm at that KL, and the alpha
    there, by linear interpolation between the doses of that sign; missing where no dose moves the predictions as far.
    """
    rows = []
    for (model, arm), asked in _prompted(scores).groupby(["model", "arm"]):
        side, sign = PROMPTED_ARMS[str(arm)], 1 if PROMPTED_ARMS[str(arm)] == "positive" else -1
        own = of_arm(scores[scores["model"] == model])
        for layer, pushed in own[own["alpha"] * sign >= 0].groupby("layer"):
            doses = pd.DataFrame({"kl": pushed.groupby("alpha")["kl"].mean(), "rate": _rates(pushed, side)}).sort_values("kl")
            kl, prompted = asked["kl"].mean(), _rates(asked, side).mean()
            at = [float(np.interp(kl, doses["kl"], values, right=np.nan)) for values in (doses["rate"], doses.index)]
            rows.append((model, layer, arm, kl, prompted, *at, doses["rate"].get(0.0, np.nan)))
    return pd.DataFrame(rows, columns=NAMES)


def _prompted(scores: pd.DataFrame) -> pd.DataFrame:
    """The rated texts under a system prompt whose KL is known."""
    if not {"arm", "kl"} <= set(scores):
        return scores.head(0).assign(arm="")
    return rated(scores[scores["arm"].isin(list(PROMPTED_ARMS)) & scores["kl"].notna()])


def _rates(texts: pd.DataFrame, side: str) -> pd.Series:
    """By alpha, the share of texts that are coherent and on a side, mean over scenarios."""
    hits = texts[side] & texts["coherent"]
    return hits.groupby([texts["alpha"], texts["scenario"]]).mean().groupby("alpha").mean()
