"""Simulated sweeps, and what the rules of a study's verdict say of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from probesteer.behaviour.effects import dose_response
from probesteer.behaviour.trends import scenario_trends, trends
from probesteer.report.council import judge_trends
from probesteer.study.sections import Criteria

ALPHAS = (-5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0)
LIMIT = 5.0


def sweep(
    seed: int,
    changes: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0),
    samples: int = 20,
    coherent: tuple[float, float] = (1.0, 1.0),
    correlation: float = 0.5,
    alphas: Sequence[float] = ALPHAS,
) -> pd.DataFrame:
    """Scores of one (model, layer): the rate rises in each scenario by its change, in a line over the ranks of the alphas.

    The share of coherent texts goes from the first of `coherent` to the second, whatever a text says. Samples share random
    numbers over the alphas: their latent scores have this correlation.
    """
    rng = np.random.default_rng([seed, len(changes), samples])
    steps = np.linspace(-0.5, 0.5, len(alphas))
    whole = np.linspace(*coherent, len(alphas))
    tables = []
    for number, change in enumerate(changes):
        shared = np.sqrt(correlation) * rng.standard_normal((samples, 1))
        latent = shared + np.sqrt(1 - correlation) * rng.standard_normal((samples, len(alphas)))
        base = 0.3 + 0.4 * number / max(1, len(changes) - 1)
        positive = latent < norm.ppf(np.clip(base + change * steps, 0.01, 0.99))
        at = {"scenario": f"s{number}", "sample": np.repeat(np.arange(samples), len(alphas))}
        at |= {"alpha": np.tile(alphas, samples), "positive": positive.ravel()}
        at |= {"coherent": (rng.random(positive.shape) < whole).ravel()}
        tables.append(pd.DataFrame(at))
    scores = pd.concat(tables, ignore_index=True).assign(model="m", layer=0, coherent_published=True)
    return scores.assign(negative=~scores["positive"])


def judged(scores: pd.DataFrame, criteria: Criteria | None = None) -> Any:
    """The row of the trend table as the council judges it, in a model that prompts move and in which the behaviour is read."""
    tables = {
        "scenario_trends": scenario_trends(scores, LIMIT),
        "specificity": pd.DataFrame(),
        "dose_response": dose_response(scores),
        "prompting": pd.DataFrame([{"model": "m", "change_lower": 0.3}]),
        "detection": pd.DataFrame([{"model": "m", "layer": 0, "auroc": 1.0, "gap": 0.5, "permutation_p_max": 0.001}]),
    }
    table = judge_trends(trends(scores, LIMIT), tables, criteria or Criteria())
    return next(table.itertuples())
