"""Steering and prompting are compared where they move the predictions equally far."""

import numpy as np
import pandas as pd
import pytest

from probesteer.behaviour.nats import equal_kl


def scores(prompt_kl: float) -> pd.DataFrame:
    """A push of alpha moves the predictions by alpha^2 / 10 nats and the rate by alpha / 10."""
    rows = []
    for arm, layer, alpha, kl, rate in (
        *(("baseline" if alpha == 0 else "probe", 3, alpha, alpha**2 / 10, 0.5 + alpha / 10) for alpha in (-4, -2, 0, 2, 4)),
        ("prompted-positive", None, 0, prompt_kl, 0.8),
        ("prompted-negative", None, 0, prompt_kl, 0.1),
    ):
        for scenario in ("a", "b"):
            for sample in range(10):
                hit = sample < round(10 * rate)
                rows.append((arm, "m", layer, scenario, float(alpha), sample, hit, not hit, True, kl))
    names = ["arm", "model", "layer", "scenario", "alpha", "sample", "positive", "negative", "coherent", "kl"]
    return pd.DataFrame(rows, columns=names)


def test_the_rate_of_the_push_is_read_at_the_divergence_of_the_prompt():
    table = equal_kl(scores(1.0)).set_index("arm")
    asked, against = table.loc["prompted-positive"], table.loc["prompted-negative"]
    # between alpha 2 (0.4 nats, rate .7) and 4 (1.6 nats, rate .9), half of the way
    assert asked[["kl", "prompted", "steered", "alpha", "unsteered"]].tolist() == pytest.approx([1.0, 0.8, 0.8, 3.0, 0.5])
    assert against[["prompted", "steered", "alpha"]].tolist() == pytest.approx([0.9, 0.8, -3.0])


def test_a_prompt_that_moves_more_than_every_dose_has_no_equal():
    assert equal_kl(scores(5.0))[["steered", "alpha"]].isna().all(axis=None)


def test_texts_without_divergences_have_no_table():
    assert equal_kl(scores(1.0).drop(columns="kl")).empty and equal_kl(scores(1.0).assign(kl=np.nan)).empty
