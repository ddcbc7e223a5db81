"""Do the models act, or only talk? Turns of games in, deeds and words per dose out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from probesteer.behaviour.changes import Interval, bounded, mean_change, paired_change
from probesteer.behaviour.scoring import PUBLISHED_WORDS, SCORERS, Words, words_of
from probesteer.behaviour.specificity import compared, rank_p
from probesteer.concepts.concept import Concept
from probesteer.files.tables import read_fingerprint, read_row_groups, write_table
from probesteer.games import spoken
from probesteer.jobs import deeds_settings
from probesteer.stats import difference_interval, mean_interval, share_interval
from probesteer.study.cells import BASELINE_ARM, FLIPPED, PROBE_ARM, dose_pairs
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 1  # bump by hand when the same turns give other tables
EPISODE = ["arm", "layer", "game", "variant", "alpha", "seed"]
ALL = "all"  # games together
BEST = 2  # score of the deeds


def deeds_inputs(study: Study, model: Model, concept: Concept, transcripts: str) -> dict[str, Any]:
    """Everything that determines a model's tables of deeds, given the fingerprint of its transcripts."""
    scorer = words_scorer(study)
    words = words_of(concept) if scorer == "lexical" else None
    inputs = {"numerics": NUMERICS, "transcripts": transcripts, "scorer": scorer, "words": words}
    return {**inputs, **deeds_settings(study, model)}


def write_deeds(study: Study, concept: Concept, model: Model) -> None:
    """Write a model's tables of deeds: its name is in their path, not in them. Raises InputError."""
    path, scorer = study.paths.transcripts(model.name), words_scorer(study)
    words = words_of(concept) if scorer == "lexical" else PUBLISHED_WORDS
    cells = [episodes_of(turns.to_pandas(), scorer, words) for turns in read_row_groups(path)]
    episodes = pd.concat(cells, ignore_index=True)
    inputs = deeds_inputs(study, model, concept, read_fingerprint(path))
    for name, table in deeds_tables(episodes, study.criteria.trend_alpha).items():
        write_table(pa.Table.from_pandas(table, preserve_index=False), study.paths.deeds(model.name, name), inputs)


def words_scorer(study: Study) -> str | None:
    """Who scores what is said: the first scorer of the study that needs no judge; nobody where nothing is said."""
    known = [scorer for scorer in study.scorers if scorer in SCORERS]
    return known[0] if known and study.games and study.games.decides == "answer" else None


def deeds_tables(episodes: pd.DataFrame, limit: float) -> dict[str, pd.DataFrame]:
    """Both tables of `study.paths.GAME_TABLES`; doses within +-limit are compared."""
    return {"deeds": deeds(episodes), "deed_changes": deed_changes(episodes, limit)}


def episodes_of(turns: pd.DataFrame, scorer: str | None, words: Words = PUBLISHED_WORDS) -> pd.DataFrame:
    """One row per episode (EPISODE), from its turns as `steering.transcripts` gathers them.

    score: of the deeds, 0 to 2; reached: the task's objective; turns, of which unparsable, impossible; log_odds: of the action
    that the person needs against that of the task, in nats, mean over the turns in which they differ, NaN without one; words:
    whether what was said in all turns is more evidence for the behaviour than against it, NaN without a scorer.
    """
    evidence = np.full(len(turns), np.nan)
    if scorer:
        rows = zip(turns["answer"], turns["observation"], strict=True)
        evidence = np.array([SCORERS[scorer](said, shown, words) if (said := spoken(text)) else 0 for text, shown in rows])
    own = turns.assign(
        evidence=evidence.astype(float),
        log_odds=turns["log_odds"].astype(float),
        unparsable=turns["outcome"] == "unparsable",
        impossible=turns["outcome"] == "impossible",
    ).sort_values("turn", kind="stable")
    grouped = own.groupby(EPISODE, dropna=False, sort=True)
    table = grouped.agg(
        score=("score", "last"),
        reached=("reached", "last"),
        cut=("cut", "last"),
        turns=("turn", "size"),
        unparsable=("unparsable", "sum"),
        impossible=("impossible", "sum"),
        log_odds=("log_odds", "mean"),
        evidence=("evidence", "sum"),
    ).reset_index()
    return table.assign(words=(table["evidence"] > 0).astype(float) if scorer else np.nan).drop(columns="evidence")


def deeds(episodes: pd.DataFrame) -> pd.DataFrame:
    """One row per (arm, layer, game, variant, alpha), and one of all games together: `measured`."""
    at, together = ["arm", "layer", "game", "variant", "alpha"], episodes.assign(game=ALL)
    several = episodes["game"].nunique() > 1
    rows = pd.concat([together, episodes]) if several else episodes
    found = [{**dict(zip(at, key, strict=True)), **measured(own)} for key, own in rows.groupby(at, dropna=False, sort=False)]
    return pd.DataFrame(found).sort_values(at, kind="stable", ignore_index=True)


def measured(episodes: pd.DataFrame) -> dict[str, Any]:
    """What was done and said in episodes; seeds are the clusters of every 95 % interval.

    deeds: mean score, 0 to 2 (`score_interval`), and how many episodes have each; words: share of episodes (`episodes_of`);
    gap: words less deeds / 2, both from 0 to 1. unparsable, impossible: shares of the turns; reached: of the episodes; cut: how
    many ended since their prompt outgrew the model. log_odds: mean over the episodes that have any, `forked`.
    """
    seeds, score = episodes["seed"].to_numpy(), episodes["score"].to_numpy()
    row: dict[str, Any] = {"episodes": len(episodes), **bounded("deeds", score_interval(score, seeds))}
    row |= {f"score_{level}": int((score == level).sum()) for level in range(BEST + 1)}
    row["reached"] = float(episodes["reached"].mean())
    for outcome in ("unparsable", "impossible"):
        row[outcome] = float(episodes[outcome].sum() / episodes["turns"].sum())
    row["cut"] = int(episodes["cut"].sum())
    known = episodes[episodes["log_odds"].notna()]
    odds = mean_interval(known["log_odds"].to_numpy(), known["seed"].to_numpy()) if len(known) else (np.nan,) * 3
    row |= {**bounded("log_odds", odds), "forked": len(known)}
    if episodes["words"].isna().any():
        return row
    said, half = share_interval(episodes["words"].to_numpy() > 0, seeds), _scaled(score_interval(score, seeds), 1 / BEST)
    gap = difference_interval(said, half, _correlation(episodes["words"].to_numpy(), score))
    return {**row, **bounded("words", said), **bounded("gap", gap)}


def score_interval(score: np.ndarray, seeds: np.ndarray) -> Interval:
    """The mean of scores 0, 1, 2 with its 95 % interval, also where all are alike.

    It is the share that reaches 1 plus the share that reaches 2; their bounds (`stats.share_interval`) add, as if both erred
    together, which makes the interval no shorter than it should be.
    """
    shares = [share_interval(score >= level, seeds) for level in range(1, BEST + 1)]
    return _sum(shares)


def deed_changes(episodes: pd.DataFrame, limit: float) -> pd.DataFrame:
    """What the probe's push changes from the lowest to the highest dose within +-limit: a row per (layer, variant, game).

    deeds_change (of 0 to 2) and words_change (of 0 to 1), paired by seed (`changes.paired_change`), of all games their mean;
    gap: words_change less deeds_change / 2: above 0 where the push moves what is said more than what is done. log_odds_slope:
    nats per unit of alpha, mean over (game, seed) of the least-squares slope. deeds_p, log_odds_p: of the change among those of
    directions refitted on flipped labels (`specificity.compared`), `arms` of them, over the games together.
    """
    rows = []
    steered = episodes[episodes["layer"].notna() & (episodes["alpha"].abs() <= limit)]
    baseline = episodes[episodes["arm"] == BASELINE_ARM]
    for (layer, variant), own in steered.groupby(["layer", "variant"], sort=True):
        zero = baseline[baseline["variant"] == variant]
        probe = pd.concat([zero, own[own["arm"] == PROBE_ARM]])
        pairs = dose_pairs(probe["alpha"].unique(), limit)
        at = {"layer": int(layer), "variant": variant, "alpha_low": pairs[0][0], "alpha_high": pairs[0][1]}
        parts = list(probe.groupby("game", sort=True))
        for game, part in ([(ALL, probe)] if len(parts) > 1 else []) + parts:
            rows.append({**at, "game": game, **changed(part, pairs[0])})
        rows[-1 - len(parts) * (len(parts) > 1)] |= _specific(pd.concat([zero, own]), pairs)
    return pd.DataFrame(rows)


def changed(episodes: pd.DataFrame, pair: tuple[float, float]) -> dict[str, Any]:
    """The changes of `deed_changes` in the probe's episodes of one game, or of several."""
    by_game = [own for _, own in episodes.groupby("game", sort=True)]
    did = mean_change(_score_change(own, pair) for own in by_game)
    slopes = _slopes(episodes)
    odds = mean_interval(slopes.to_numpy(), slopes.index.get_level_values("seed").to_numpy()) if len(slopes) else (np.nan,) * 3
    row = {"seeds": episodes["seed"].nunique(), **bounded("deeds_change", did), **bounded("log_odds_slope", odds)}
    if episodes["words"].isna().any():
        return row
    said = mean_change(paired_change(*_paired(own, "words", pair)) for own in by_game)
    units = [np.subtract(*_paired(own, name, pair)[::-1]) for name in ("words", "score") for own in by_game]
    half = len(by_game)
    gap = difference_interval(
        said, _scaled(did, 1 / BEST), _correlation(np.concatenate(units[:half]), np.concatenate(units[half:]))
    )
    return {**row, **bounded("words_change", said), **bounded("gap", gap)}


def _score_change(episodes: pd.DataFrame, pair: tuple[float, float]) -> Interval:
    """The change of the mean score: that of the share that reaches 1 plus that of the share that reaches 2."""
    low, high = _paired(episodes, "score", pair)
    return _sum([paired_change(*((side >= level).astype(float) for side in (low, high))) for level in range(1, BEST + 1)])


def _paired(episodes: pd.DataFrame, column: str, pair: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A column at both doses, seed by seed: two of float64 (seeds,)."""
    table = episodes.pivot(index="seed", columns="alpha", values=column).astype(float)
    return table[pair[0]].to_numpy(), table[pair[1]].to_numpy()


def _slopes(episodes: pd.DataFrame) -> pd.Series:
    """The least-squares slope of the log-odds on alpha, by (game, seed): of those that have them at two doses or more."""
    known = episodes[episodes["log_odds"].notna()]
    centred = known.assign(alpha=known["alpha"] - known.groupby(["game", "seed"])["alpha"].transform("mean"))
    sums = centred.assign(top=centred["alpha"] * centred["log_odds"], below=centred["alpha"] ** 2)
    sums = sums.groupby(["game", "seed"])[["top", "below"]].sum()
    sums = sums[sums["below"] > 0]
    return sums["top"] / sums["below"]


def _specific(episodes: pd.DataFrame, pairs: Sequence[tuple[float, float]]) -> Mapping[str, Any]:
    """Where the probe's changes stand among those of the flipped arms; nothing where there are none."""
    found: dict[str, Any] = {}
    for name, column, scale in (("deeds", "score", 1 / BEST), ("log_odds", "log_odds", 1.0)):
        by_game = episodes.groupby(["arm", "alpha", "game"])[column].mean()
        means = by_game.groupby(["arm", "alpha"]).mean().unstack("alpha") * scale
        means[0.0] = means.loc[BASELINE_ARM, 0.0]
        means = means[[arm == PROBE_ARM or arm.startswith(FLIPPED) for arm in means.index]]
        if len(means) < 2:
            return found
        changes = means[pairs[0][1]] - means[pairs[0][0]]
        others = changes.drop(PROBE_ARM).abs().dropna().to_numpy()
        if column == "score":
            found |= {f"{name}_p": compared(means, pairs)["p"], "arms": len(others)}
        elif pd.notna(changes[PROBE_ARM]) and len(others):
            found[f"{name}_p"] = rank_p(float(changes[PROBE_ARM]), others)
    return found


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's, 0 where one of them does not vary."""
    return float(np.corrcoef(first, second)[0, 1]) if np.ptp(first) and np.ptp(second) else 0.0


def _scaled(interval: Interval, factor: float) -> Interval:
    estimate, lower, upper = interval
    return estimate * factor, lower * factor, upper * factor


def _sum(intervals: Sequence[Interval]) -> Interval:
    estimate, lower, upper = map(sum, zip(*intervals, strict=True))
    return float(estimate), float(lower), float(upper)
