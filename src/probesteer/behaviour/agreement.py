"""Do scorers agree, with each other and with people? Cohen's kappa and Krippendorff's alpha, with intervals over clusters."""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pandas as pd

from probesteer.behaviour.changes import Interval, bounded
from probesteer.behaviour.judging import ORDERS
from probesteer.behaviour.ratings import KEY, RATED_ARMS, arms_of, text_keys
from probesteer.errors import InputError
from probesteer.stats import jackknife_interval

ALL, HUMAN = "all", "human: "  # how rows name every scorer together, and a human rater
COLUMNS = ["model", "first", "second", "texts", "kappa", "kappa_lower", "kappa_upper", "alpha", "alpha_lower", "alpha_upper"]

Statistic = Callable[[np.ndarray], float]
"""Of levels (raters, texts) of -1, 0 and 1, NaN where a rater gave none."""


def kappa(levels: np.ndarray) -> float:
    """Cohen's kappa of two raters (Cohen 1960), (2, texts) without NaN; NaN where both gave one and the same level to all."""
    first, second = ([(rater == level).mean() for level in (-1, 0, 1)] for rater in levels)
    expected = float(np.dot(first, second))
    return float(((levels[0] == levels[1]).mean() - expected) / (1 - expected)) if np.ptp(levels) else float("nan")


def alpha(levels: np.ndarray) -> float:
    """Krippendorff's alpha for ordinal levels (Krippendorff 2019, chapter 12), any number of raters; NaN where none varies."""
    shared = levels[:, (~np.isnan(levels)).sum(0) > 1]
    if not shared.size or np.nanmax(shared) == np.nanmin(shared):
        return float("nan")
    return float(krippendorff.alpha(shared, value_domain=[-1, 0, 1], level_of_measurement="ordinal"))


def interval(statistic: Statistic, levels: np.ndarray, groups: np.ndarray) -> Interval:
    """A coefficient of agreement with its 95 % interval, cluster jackknife over `groups` (texts,).

    The lower end is also that of the same with one cluster more, on which the first rater says the opposite of all others:
    where nobody disagrees a jackknife sees no error at all, and a few texts would be as sure as many.
    """
    estimate, lower, upper = jackknife_interval(lambda kept: statistic(levels[:, kept]), groups)
    worst = np.append(levels, np.where(np.arange(len(levels)) == 0, -1.0, 1.0)[:, None], axis=1)
    least = jackknife_interval(lambda kept: statistic(worst[:, kept]), np.append(groups, "one more"))[1]
    return estimate, float(np.clip(np.minimum(lower, least), -1, 1)), float(np.clip(upper, -1, 1))


def agreement(levels: pd.DataFrame, groups: pd.Series) -> Iterator[dict[str, Any]]:
    """Rows of COLUMNS without the model: of each two raters, and of ALL of them where there are more.

    levels (texts, raters): -1, 0 or 1, NaN without a rating; groups (texts,) name what shares its random numbers. kappa and
    alpha of two are on the texts that both rated; alpha of all is on those that two rated.
    """
    raters = list(levels)
    for first, second in combinations(raters, 2):
        both = levels[[first, second]].dropna()
        values, own = both.to_numpy(dtype=float).T, groups[both.index].to_numpy(dtype=str)
        row = {"first": first, "second": second, "texts": len(both)}
        known = ((name, interval(of, values, own)) for name, of in (("kappa", kappa), ("alpha", alpha)) if len(both))
        yield row | {key: value for name, found in known for key, value in bounded(name, found).items()}
    if len(raters) > 2:
        several = levels[levels.notna().sum(axis=1) > 1]
        found = interval(alpha, several.to_numpy(dtype=float).T, groups[several.index].to_numpy(dtype=str))
        yield {"first": ALL, "second": ALL, "texts": len(several), **bounded("alpha", found)}


def of_scorers(
    scores: Mapping[str, pd.DataFrame], ratings: Mapping[str, pd.DataFrame], arms: Collection[str] = RATED_ARMS
) -> pd.DataFrame:
    """The table of agreement of a model: its scorers with each other and with people, and a judge in both orders.

    scores by scorer, of the same texts in the same order; ratings by rater: KEY and `rating`, 0, 1 or 2. On the texts of
    these arms, of which an unsteered one counts once at however many layers it stands.
    """
    first = next(iter(scores.values())).reset_index(drop=True)
    signs = {name: np.sign(table["evidence"].astype(float).to_numpy()) for name, table in scores.items()}
    swapped = {
        f"{name}, {column}": table[column].astype(float).to_numpy() - 1
        for name, table in scores.items()
        for column in ORDERS
        if column in table
    }
    keys = text_keys(first)
    people = {f"{HUMAN}{name}": keys.map(rating_by_key(table, name)).to_numpy(dtype=float) for name, table in ratings.items()}
    table = pd.DataFrame({**signs, **people, **swapped})
    at = first[["model", "scenario", "sample"]].assign(arm=arms_of(first), alpha=first["alpha"], text=first.get("text", ""))
    at["layer"] = first["layer"].where(first["alpha"] != 0)
    table = table[at["arm"].isin(arms)].groupby([at[name] for name in at], sort=False, dropna=False).first()
    places = table.index.to_frame()
    groups = (places["scenario"].astype(str) + " " + places["sample"].astype(str)).reset_index(drop=True)
    table = table.reset_index(drop=True)
    rated = table[[*signs, *people]].dropna(axis=1, how="all")
    rows = [*agreement(rated, groups), *(agreement(table[[*swapped]], groups) if swapped else [])]
    return pd.DataFrame(rows).assign(model=first["model"].iloc[0]).reindex(columns=COLUMNS)


def rating_by_key(ratings: pd.DataFrame, name: str) -> pd.Series:
    """Ratings less one by the key of their text. Raises InputError where a text has two."""
    keys = text_keys(ratings)
    if (again := keys.duplicated()).any():
        raise InputError(f"ratings {name}: {keys[again].iloc[0]} is there twice; agreement needs one of each text")
    return pd.Series(ratings["rating"].to_numpy(dtype=float) - 1, index=keys.to_numpy())


def agreement_with(scores: pd.DataFrame, ratings: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """The table of agreement of one scorer, of all its models together, with people; and how many ratings are of other texts.

    Raises InputError where a text has two scores or two ratings, or none has both.
    """
    keys = text_keys(scores)
    if (again := keys.duplicated()).any():
        raise InputError(f"scores: {keys[again].iloc[0]} is there twice; agreement needs one of each text")
    found = sum(int(text_keys(table).isin(keys).sum()) for table in ratings.values())
    if not found:
        raise InputError(f"scores and ratings have no row in common; they are matched on {', '.join(KEY)} and arm")
    return of_scorers({"scores": scores}, ratings, set(arms_of(scores))), sum(map(len, ratings.values())) - found
