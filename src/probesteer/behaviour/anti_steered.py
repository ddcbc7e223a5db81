"""How many samples move the other way under a push? What a mean effect averages away."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from probesteer.behaviour.changes import bounded
from probesteer.behaviour.effects import of_arm
from probesteer.stats import share_interval
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM

UNIT = ["scenario", "sample"]
EVERY_DOSE = "all"


def anti_steered(scores: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The share of samples whose score falls where alpha rises: rows (model, layer, doses), of -a, 0 and a, and of all doses.

    A sample is one prompt and one noise seed at every dose. Its slope is that of the least-squares line of its evidence on
    alpha over the doses, after Tan et al. 2024 ("Analyzing the generalization and reliability of steering vectors"); between -a
    and a the middle has no weight. anti: slope below 0; moved: slope other than 0; anti_of_moved: the former among the latter,
    one half where nothing but noise moves the score; all three with intervals (`stats.share_interval`). A text that is not
    coherent has no score, and a sample that lacks a dose is left out: `lost`. chance_anti: the median of the same share over
    the control directions that were steered with at these doses, NaN where none was.
    """
    rows = []
    arms = sorted({*scores["arm"]} - {BASELINE_ARM, PROBE_ARM}) if "arm" in scores else []
    of_arms = {arm: dict(_outcomes(of_arm(scores, arm), limit)) for arm in arms}
    for (model, layer), table in _outcomes(of_arm(scores), limit):
        for label, doses in _doses(table.columns):
            own = [of_arms[arm].get((model, layer)) for arm in arms]
            chance = [_shares(one[doses])["anti"] for one in own if one is not None and {*doses} <= {*one.columns}]
            row = {"model": model, "layer": layer, "doses": label, **_shares(table[doses])}
            rows.append(row | {"chance_anti": float(np.median(chance)) if chance else float("nan")})
    return pd.DataFrame(rows)


def _outcomes(scores: pd.DataFrame, limit: float) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """Per (model, layer) that is steered at, the evidence by UNIT and alpha, NaN where a text is not coherent."""
    within = scores[scores["alpha"].abs() <= limit]
    within = within.assign(score=within["evidence"].astype(float).where(within["coherent"]))
    for (model, layer), part in within.groupby(["model", "layer"], sort=True):
        if part["alpha"].nunique() > 1:
            yield (str(model), int(layer)), part.pivot(index=UNIT, columns="alpha", values="score")


def _doses(alphas: pd.Index) -> Iterator[tuple[str, list[float]]]:
    """The symmetric triples of a grid, from the smallest, and the whole grid where it has more doses."""
    grid = sorted(alphas)
    triples = [[-alpha, 0.0, alpha] for alpha in grid if alpha > 0 and -alpha in grid and 0 in grid]
    yield from ((f"{doses[0]:g} to {doses[-1]:g}", doses) for doses in triples)
    if grid not in triples:
        yield EVERY_DOSE, grid


def _shares(table: pd.DataFrame) -> dict[str, Any]:
    """The shares of a table of evidence (samples, doses)."""
    whole = table.dropna()
    doses = np.array(whole.columns, dtype=float)
    slopes = whole.to_numpy() @ (doses - doses.mean())
    anti, moved = slopes < -1e-12, np.abs(slopes) > 1e-12
    row: dict[str, Any] = {"samples": len(whole), "lost": len(table) - len(whole)}
    for name, hits in (("anti", anti), ("moved", moved), ("anti_of_moved", anti[moved])):
        found = share_interval(hits, np.arange(len(hits))) if len(hits) else (float("nan"),) * 3
        row |= bounded(name, found)
    return row
