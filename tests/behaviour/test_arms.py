"""What every arm does on one scale, and one sample that is chosen because its score changes."""

from collections.abc import Sequence

import pandas as pd
import pytest

from probesteer.behaviour.arms import arm_rates
from probesteer.behaviour.outcomes import chosen_table
from probesteer.stats import wilson_interval


def scores(arm: str, alpha: float, positive: Sequence[bool], coherent: bool = True, scenario: str = "s") -> pd.DataFrame:
    rows = [{"sample": number, "positive": value, "negative": not value} for number, value in enumerate(positive)]
    table = pd.DataFrame(rows).assign(arm=arm, alpha=alpha, scenario=scenario, coherent=coherent, model="m", layer=1.0)
    return table.assign(nll=1.0, text=[f"{arm} {alpha} {number}" for number in range(len(rows))])


def test_the_rate_of_an_arm_counts_coherent_texts_alone_and_alpha_0_is_the_probes():
    table = pd.concat(
        [
            scores("baseline", 0, [True, False, False, False]),
            scores("probe", 1, [True, True, True, False]),
            scores("flipped-1", 1, [True, True, True, True], coherent=False),
            scores("prompted-positive", 0, [True] * 4).assign(layer=float("nan")),
        ]
    )
    rates = arm_rates(table).set_index(["arm", "alpha"])
    assert rates["rate"].to_dict() == {("probe", 0.0): 0.25, ("probe", 1.0): 0.75, ("flipped-1", 1.0): 0.0}
    lower, upper = wilson_interval(pd.Series([3.0]), pd.Series([4.0]))
    assert rates.loc[("probe", 1.0), ["rate_lower", "rate_upper"]].tolist() == pytest.approx([lower[0], upper[0]])


def test_the_interval_over_two_scenarios_is_narrower_than_each():
    both = pd.concat([scores("probe", 1, [True, False] * 5, scenario=name) for name in ("a", "b")])
    row = arm_rates(both).iloc[0]
    lower, upper = wilson_interval(pd.Series([5.0]), pd.Series([10.0]))
    assert row["rate"] == 0.5 and row["samples"] == 20
    assert row["rate_upper"] - 0.5 == pytest.approx((upper[0] - 0.5) / 2**0.5)
    assert 0.5 - row["rate_lower"] == pytest.approx((0.5 - lower[0]) / 2**0.5)


def sweep(low: Sequence[bool], high: Sequence[bool], coherent: Sequence[bool] | None = None) -> pd.DataFrame:
    """Scores of the probe at -1, 0, 1 and, outside the range, 9."""
    middle = [False] * len(low)
    parts = [scores("probe", alpha, values) for alpha, values in ((-1, low), (0, middle), (1, high), (9, high))]
    table = pd.concat(parts, ignore_index=True)
    if coherent is not None:
        table.loc[table["alpha"] == 0, "coherent"] = list(coherent)
    return table.astype({"layer": int})


def test_the_chosen_sample_is_the_first_that_changes_and_how_many_do_is_said():
    chosen = chosen_table(sweep([True, False, False, True], [True, True, True, False]), 1)
    assert chosen["alpha"].tolist() == [-1, 0, 1] and set(chosen["sample"]) == {1}
    assert chosen[["changed", "reversed", "samples"]].drop_duplicates().to_numpy().tolist() == [[2, 1, 4]]


def test_a_sample_whose_three_texts_are_coherent_comes_before_another():
    chosen = chosen_table(sweep([False, False], [True, True], coherent=[False, True]), 1)
    assert set(chosen["sample"]) == {1} and chosen["coherent"].all()


def test_where_no_score_changes_nothing_is_chosen():
    assert chosen_table(sweep([True, True], [True, False]), 1).empty
