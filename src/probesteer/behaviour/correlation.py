"""Does what a model reads in texts go with what they do? Projections against scores and deeds, with intervals over clusters."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import norm, rankdata, t

from probesteer.behaviour.changes import Interval, bounded
from probesteer.behaviour.deeds import BEST, episodes_of
from probesteer.behaviour.gap import gap_row
from probesteer.behaviour.ratings import arms_of
from probesteer.files.tables import read_fingerprint, read_row_groups, read_table, write_table
from probesteer.jobs import correlation_settings
from probesteer.stats import LEVEL, area_interval, auroc_interval, clusters, jackknife_interval, share_interval
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM, PROMPTED_ARMS
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 2  # bump by hand when the same readings and scores give other numbers
POWER = 0.8
OVERALL, WITHIN = "overall", "within scenarios"
SCORE, DEED = "score", "deed"  # what a reading is held against: of a text, and of an episode of a game
SETS = {  # which arms are looked at together
    "unsteered": (BASELINE_ARM,),
    "prompted": (BASELINE_ARM, *PROMPTED_ARMS),
    "steered": (BASELINE_ARM, PROBE_ARM),
}
AT = ["author", "arm", "layer", "scenario", "alpha", "sample"]
ROWS = 500  # of texts that are compared with all others at a time
LARGEST = 1 - 1e-9  # of a correlation, whose z is then finite

Coefficient = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Of projections, scores and strata (texts,)."""


def correlation_inputs(study: Study, model: Model, readings: Mapping[str, str], scores: Mapping[str, str]) -> dict[str, Any]:
    """Everything that determines a model's tables, given the fingerprints of its readings and of the scores by author."""
    return {"numerics": NUMERICS, "readings": dict(readings), "scores": dict(scores), **correlation_settings(study, model)}


def correlate_model(study: Study, model: Model) -> None:
    """Write a model's tables of CORRELATION: its name is in their path, not in them. Raises InputError."""
    decides, authors = study.scorers[0], study.authors_of(model.name)
    paths = {of: study.paths.readings(model.name, of) for of in ("texts", "pairs")}
    readings = {of: read_table(path).to_pandas() for of, path in paths.items()}
    files = {name: study.paths.scores(name, decides) for name in authors}
    scores = {name: read_table(path).to_pandas() for name, path in files.items()}
    parts = [joined(readings["texts"], scores[name], name) for name in authors]
    parts += [done(readings["texts"], study.paths.transcripts(name), name) for name in study.games_read(model.name)]
    points = pd.concat(parts, ignore_index=True)
    tables = {
        "correlation": pd.DataFrame(correlations(points)),
        "binary": pd.DataFrame(binary(points)),
        "gap": pd.DataFrame([gap_row(readings["pairs"], scores[model.name], study.criteria.trend_alpha, study.seed)]),
        "points": points,
    }
    prints = [{name: read_fingerprint(path) for name, path in of.items()} for of in (paths, files)]
    inputs = correlation_inputs(study, model, *prints)
    for name, table in tables.items():
        write_table(pa.Table.from_pandas(table, preserve_index=False), study.paths.correlation(model.name, name), inputs)


def joined(readings: pd.DataFrame, scores: pd.DataFrame, author: str) -> pd.DataFrame:
    """The coherent, rated texts of an author with what was read in them: AT, block, projection, evidence, positive, against."""
    rated = scores[scores["positive"].notna() & scores["coherent"]]
    rated = rated.assign(author=author, arm=arms_of(rated))
    rated["layer"] = rated["layer"].where(rated["arm"] == PROBE_ARM).astype("Int32")
    own = rated.drop_duplicates(AT)[[*AT, "evidence", "positive"]].astype({"evidence": float, "positive": bool})
    read = readings[readings["turn"].isna()].astype({"layer": "Int32"})
    return read.merge(own, on=AT).dropna(subset=["projection"]).assign(against=SCORE).drop(columns="turn")


def done(readings: pd.DataFrame, transcripts: Path, author: str) -> pd.DataFrame:
    """An author's episodes as rows of `joined`: the mean of what was read in the answers, against the deeds of the episode.

    The evidence is their score less 1, so that the best is positive, and none is evidence against.
    """
    episodes = pd.concat([episodes_of(turns.to_pandas(), scorer=None) for turns in read_row_groups(transcripts)])
    named = episodes.rename(columns={"game": "scenario", "seed": "sample"}).assign(author=author)
    deeds = named[[*AT, "variant"]].assign(evidence=named["score"] - BEST / 2, against=DEED).astype({"layer": "Int32"})
    read = readings[readings["turn"].notna()].drop(columns="turn").astype({"layer": "Int32"}).dropna(subset=["projection"])
    means = read.groupby([*AT, "variant", "block"], dropna=False).mean().reset_index()
    return means.merge(deeds.assign(positive=deeds["evidence"] > 0), on=[*AT, "variant"])


def sets(points: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The points of each author and set, and what names them; another author's texts are not steered."""
    for (against, author), own in points.groupby(["against", "author"], sort=False):
        for name, arms in SETS.items():
            if len(part := own[own["arm"].isin(arms)]) and (name != "steered" or (part["arm"] == PROBE_ARM).any()):
                yield {"author": author, "against": against, "texts": name, "block": int(part["block"].iloc[0])}, part


def units(points: pd.DataFrame) -> np.ndarray:
    """What shares its random numbers: a scenario's sample, under every push and prompt (texts,)."""
    return (points["scenario"].astype(str) + " " + points["sample"].astype(str)).to_numpy(dtype=str)


def correlations(points: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows per author, what is held against (score, deed), set and scope.

    Scopes: OVERALL, clustered by scenarios; WITHIN them, and in each, clustered by samples.

    pearson and spearman: of projection and evidence, within scenarios less the means (of ranks) there; trend: Somers' D of the
    projection across texts against the behaviour, neither, and for it (`trend`). detectable: the Pearson correlation that is
    told from 0 in 80 % of studies with such clusters.
    """
    for named, part in sets(points):
        scenarios, scenario = np.unique(part["scenario"].to_numpy(dtype=str), return_inverse=True)
        by_sample, one = units(part), np.zeros(len(part), dtype=int)
        scopes = {OVERALL: (one, scenario.astype(str), np.ones(len(part), bool))} if len(scenarios) > 1 else {}
        scopes[WITHIN] = (scenario, by_sample, np.ones(len(part), bool))
        scopes |= {str(name): (one, by_sample, scenario == number) for number, name in enumerate(scenarios)}
        for scope, (strata, groups, shown) in scopes.items():
            reading, evidence = part.loc[shown, ["projection", "evidence"]].to_numpy(dtype=float).T
            yield {**named, "scope": scope, **coefficients(reading, evidence, strata[shown], groups[shown])}


def coefficients(reading: np.ndarray, evidence: np.ndarray, strata: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """One row's numbers: all arrays are (texts,); strata are compared within."""
    count = len(np.unique(groups))
    row: dict[str, Any] = {"n": len(reading), "clusters": count, "detectable": float("nan")}
    for name, of in COEFFICIENTS.items():

        def z(kept: np.ndarray, of: Coefficient = of) -> float:
            return float(np.arctanh(np.clip(of(reading[kept], evidence[kept], strata[kept]), -LARGEST, LARGEST)))

        found = jackknife_interval(z, groups)
        row |= bounded(name, (float(np.tanh(found[0])), float(np.tanh(found[1])), float(np.tanh(found[2]))))
        if name == "pearson" and count > 1:
            quantile = t.ppf((1 + LEVEL) / 2, clusters(groups)[1] - 1)
            row["detectable"] = float(np.tanh((1 + norm.ppf(POWER) / quantile) * (found[2] - found[1]) / 2))
    return {**row, **bounded("trend", trend(reading, evidence, strata, groups))}


def pearson(reading: np.ndarray, evidence: np.ndarray, strata: np.ndarray) -> float:
    """The correlation of what is left of both without the means of the strata; NaN where one does not vary."""
    first, second = centred(reading, strata), centred(evidence, strata)
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 1e-12 else float("nan")


def centred(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Values less the mean of their stratum (texts,)."""
    counts = np.maximum(np.bincount(strata), 1)
    return values - (np.bincount(strata, values) / counts)[strata]


def spearman(reading: np.ndarray, evidence: np.ndarray, strata: np.ndarray) -> float:
    """`pearson` of the ranks within each stratum, as shares of its size."""
    return pearson(ranked(reading, strata), ranked(evidence, strata), strata)


def ranked(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks within each stratum, ties counted half, as shares of its size (texts,): ranks of all, less what lies before it."""
    before = np.unique(values, return_inverse=True)[1] + strata * (len(values) + 1)
    counts = np.bincount(strata)
    return (rankdata(before) - (np.cumsum(counts) - counts)[strata]) / counts[strata]


def trend(reading: np.ndarray, evidence: np.ndarray, strata: np.ndarray, groups: np.ndarray) -> Interval:
    """Somers' D with its 95 % interval: of the pairs of texts of a stratum, of different levels, the share that the projection

    orders alike less the share that it does not. Levels are signs of the evidence. Jonckheere 1954 and Terpstra 1952 sum the
    first of these; Somers 1962 divides the difference. (1 + D) / 2 is an AUROC of ordered levels, and has its interval
    (`stats.area_interval`). NaN without such pairs.
    """
    level, (alike, pairs) = np.sign(evidence), np.zeros((2, len(reading)))
    for own in np.array_split(np.arange(len(reading)), len(reading) // ROWS + 1):
        compared = np.sign(level[own][:, None] - level) * (strata[own][:, None] == strata)
        alike[own] = (np.sign(reading[own][:, None] - reading) * compared).sum(1)
        pairs[own] = np.abs(compared).sum(1)
    if not (total := pairs.sum()):
        return float("nan"), float("nan"), float("nan")
    found = float(alike.sum() / total)
    lower, upper = area_interval((1 + found) / 2, (alike - found * pairs) / total, groups)
    return found, 2 * lower - 1, 2 * upper - 1


COEFFICIENTS: dict[str, Coefficient] = {"pearson": pearson, "spearman": spearman}


def binary(points: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows per author, what is held against, and set: is a text that is read as positive scored so? At the pairs' threshold.

    tp, fp, tn, fn; accuracy, recall, specificity, precision (shares with intervals over samples of a scenario) and f1; auroc,
    which needs no threshold. A share is missing where there is nothing to take it of.
    """
    for named, part in sets(points):
        said, is_so, groups = part["projection"].to_numpy() > 0, part["positive"].to_numpy(dtype=bool), units(part)
        counts = {"tp": said & is_so, "fp": said & ~is_so, "tn": ~said & ~is_so, "fn": ~said & is_so}
        row = {**named, "n": len(part), **{name: int(hits.sum()) for name, hits in counts.items()}}
        shares = {"accuracy": (said == is_so, np.ones(len(part), bool)), "recall": (said, is_so)}
        shares |= {"specificity": (~said, ~is_so), "precision": (is_so, said)}
        for name, (hits, among) in shares.items():
            found = share_interval(hits[among], groups[among]) if among.any() else (float("nan"),) * 3
            row |= bounded(name, found)
        wrong = row["fp"] + row["fn"]
        row["f1"] = 2 * row["tp"] / (2 * row["tp"] + wrong) if row["tp"] + wrong else float("nan")
        told = is_so.any() and not is_so.all()
        found = auroc_interval(part["projection"].to_numpy(), is_so, groups) if told else (float("nan"),) * 3
        yield {**row, **bounded("auroc", found)}
