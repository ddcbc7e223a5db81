"""What is said of carried directions."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from probesteer.stats import holm

TRANSFER_P = 0.05
ROUNDING = 1e-9  # of a cosine


def judged(table: pd.DataFrame, detected: Collection[str]) -> pd.DataFrame:
    """The rows of `transfer` of all targets, with what follows from them and from which models the behaviour is detected in.

    cosine_p_holm: corrected over the pairs of models, method by method.
    of_native: the AUROC above 1/2 over that of the target's own direction, where the behaviour is detected in the target.
    transfers: where it is detected in both, the cosine ranks above those of shuffled maps and of flipped labels by the
    corrected p, is larger than in the twin, and the AUROC lies above 1/2 by its interval; why names what is lacking. steers:
    the slope of the log-odds ranks above shuffled maps, uncorrected, and lies above 0 by its interval.
    """
    if table.empty:
        return table
    corrected = table.groupby("method")["cosine_p"].transform(lambda p: holm(p.to_numpy()))
    native = (table["auroc"] - 0.5) / (table["native_auroc"] - 0.5)
    there = {side: table[side].isin(list(detected)) for side in ("source", "target")}
    why = {
        "not detected in the source": ~there["source"],
        "not detected in the target": ~there["target"],
        "no closer than shuffled maps or sides": corrected > TRANSFER_P,
        "as close in a random twin": table["cosine_apart"] <= table["twin_cosine"] + ROUNDING,
        "AUROC not above 1/2": ~(table["auroc_lower"] > 0.5),
    }
    lacking = ["; ".join(what for what, holds in why.items() if holds[row]) for row in table.index]
    steers = (table["slope_p"] <= TRANSFER_P) & (table["slope_lower"] > 0)
    return table.assign(
        cosine_p_holm=corrected,
        of_native=native.where(there["target"]),
        transfers=np.where([not one for one in lacking], "yes", "no"),
        why=lacking,
        steers=np.where(steers, "yes", "no"),
    )


def carried_matrix(table: pd.DataFrame, method: str = "ridge") -> pd.DataFrame:
    """The cosines of one method, a row per source and a column per target."""
    return table[table["method"] == method].pivot(index="source", columns="target", values="cosine")
