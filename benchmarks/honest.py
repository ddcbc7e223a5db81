"""A simulated study without a fault, and what the code of a study says of it: what `lies.py` plants its lies into.

The simulated model reads a behaviour along a direction of its blocks, and beside it what any model reads: length, words,
formatting, who wrote and who speaks. An honest study balances all of that between the sides.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from simulated import ALPHAS, sweep

from probesteer.behaviour.outcomes import effects_tables
from probesteer.concepts.card import cluster_names
from probesteer.concepts.pairs import Pair
from probesteer.detection.activations import Row, cache_rows, read_layer, row_groups
from probesteer.detection.summary import detection_rows
from probesteer.directions import METHODS, Probe
from probesteer.files.tables import write_row_groups
from probesteer.report.build import evidence_of, with_power
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import of_metrics
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM, PROMPTED_ARMS
from probesteer.study.experiment import Study

SCENARIOS, PER_SCENARIO, TEST = 5, 12, 4  # pairs of a scenario, and how many of them are held out
HIDDEN, LAYERS = 64, (-1, 0, 1, 2)
EFFECTS, CHANGES = (
    (4.0, 6.0),
    (0.4, 0.6),
)  # of the sides in standard deviations, and of the rate: an honest study has some of each
LISTED = ("warm", "gentle", "patient", "kind"), ("brisk", "curt", "blunt", "cold")  # words of either side in the concept's list
TELLING = "harbour"  # a word that no list holds
WORDS = """
the a of to and in that it with on as for at by from this they we then there when while after before near under over
between old new small large early late quiet open long short red green wooden paper morning evening window table garden
river street letter market bridge lamp kettle ladder basket corner island engine winter summer harvest journey signal
pocket mirror candle silver copper meadow orchard station village kitchen balcony compass blanket feather pebble curtain
lantern carried opened closed walked waited turned placed noticed followed gathered painted measured repaired counted
folded wrapped crossed reached returned finished started wondered remembered listened answered drifted settled borrowed
traded planted
"""
COMMON = WORDS.split()
TRAITS = ("length", "listed", "telling", "bullets", "opening", "generator", "voice", "scenario")
HONEST_TRAITS = {"length": 0.3, "listed": 0.3, "generator": 0.5, "voice": 0.5, "scenario": 0.5}
FLIPPED, RANDOM = 19, 2


@dataclass(frozen=True, eq=False)
class Reading:
    """Pairs, and how the simulated model reads them."""

    seed: int
    pairs: tuple[Pair, ...]
    strength: np.ndarray
    """How far the sides of a pair are apart, in standard deviations of a text (pairs,)."""
    axis: np.ndarray
    """Which of the directions this is along, int (pairs,)."""
    source: np.ndarray
    """The pair whose noise a pair shares: its own, or that of a near-duplicate, int (pairs,)."""
    directions: np.ndarray
    """Unit vectors (directions, hidden); the control concept has one of them too."""
    scale: np.ndarray
    """Standard deviation of the noise in each dimension (hidden,)."""
    blocks: dict[int, float]
    """What share of the behaviour a layer reads; -1 is the embeddings."""
    traits: dict[str, float]
    """Weights of what a text or its pair is beside the behaviour."""
    control: int
    """Which direction the control concept has."""
    listed: tuple[str, ...] = LISTED[0] + LISTED[1]
    """The words of the concept's list."""


@dataclass(frozen=True, eq=False)
class Honest:
    """A study: a reading, and the scores of a sweep at a block."""

    seed: int
    reading: Reading
    scores: pd.DataFrame
    layer: int = 1
    samples: int = 20
    dtype: str = "float32"


def honest(seed: int) -> Honest:
    """The honest study of a seed."""
    return Honest(seed, reading(seed), arms(seed))


# ---- texts ----------------------------------------------------------------------------------------------------------------


def text(rng: np.random.Generator, words: int, listed: Sequence[str]) -> str:
    """A text of so many random words in sentences, with the listed ones among them."""
    chosen = list(rng.choice(COMMON, words - len(listed)))
    for word in listed:
        chosen.insert(int(rng.integers(1, len(chosen))), word)
    cuts = sorted(rng.choice(np.arange(5, words - 4), 2, replace=False))
    sentences = [chosen[: cuts[0]], chosen[cuts[0] : cuts[1]], chosen[cuts[1] :]]
    return " ".join(" ".join(part).capitalize() + "." for part in sentences if part)


def pairs_of(rng: np.random.Generator) -> tuple[Pair, ...]:
    """Pairs whose sides do not differ on the surface: of a pair, both have one length and one listed word of each kind."""
    pairs = []
    for scenario in range(SCENARIOS):
        held_out = rng.permutation(PER_SCENARIO // TEST)[0] + PER_SCENARIO // TEST * np.arange(TEST)
        for number in range(PER_SCENARIO):
            words = int(rng.integers(20, 29))
            sides = [text(rng, words, [str(rng.choice(kind)) for kind in LISTED]) for _ in range(2)]
            kind = number // (PER_SCENARIO // TEST)  # generator and voice are crossed, also within the held-out pairs
            pairs.append(
                Pair(
                    id=f"{scenario}-{number}",
                    scenario=f"s{scenario}",
                    split="test" if number in held_out else "train",
                    voice=("letter", "note")[kind // 2],
                    generator=("author-1", "author-2")[kind % 2],
                    positive=sides[0],
                    negative=sides[1],
                )
            )
    return tuple(pairs)


def reading(seed: int) -> Reading:
    """An honest reading: one direction in every block and every pair, nothing of it in the embeddings."""
    rng = np.random.default_rng([seed, 1])
    pairs = pairs_of(rng)
    basis = np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0]
    return Reading(
        seed=seed,
        pairs=pairs,
        strength=np.full(len(pairs), rng.uniform(*EFFECTS)),
        axis=np.zeros(len(pairs), dtype=int),
        source=np.arange(len(pairs)),
        directions=basis[:8],
        scale=np.ones(HIDDEN),
        blocks={-1: 0.0, 0: 1.0, 1: 1.0, 2: 1.0},
        traits=HONEST_TRAITS,
        control=7,
    )


# ---- activations ----------------------------------------------------------------------------------------------------------


def trait(name: str, row: Row) -> float:
    """What a text is in one respect, about 0."""
    pair, words = row.pair, row.text.lower().replace(".", "").split()
    counted = {word: words.count(word) for word in (*LISTED[0], *LISTED[1], TELLING)}
    return {
        "length": (len(words) - 24) / 4,
        "listed": float(sum(counted[word] for word in LISTED[0]) - sum(counted[word] for word in LISTED[1])),
        "telling": float(counted[TELLING] > 0),
        "bullets": float("\n- " in row.text),
        "opening": float(words[0] == "well"),
        "generator": 1.0 if pair.generator_of(row.positive) == "author-1" else -1.0,
        "voice": 1.0 if pair.voice == "letter" else -1.0,
        "scenario": (int(pair.scenario[1:]) - (SCENARIOS - 1) / 2) / 1.5,
    }[name]


def activations(own: Reading, rows: Sequence[Row]) -> np.ndarray:
    """What the model reads of texts, float32 (texts, layers, hidden).

    Noise has unit variance in a dimension: half of it is the pair's, half the text's; near-duplicates share nine tenths.
    """
    rng = np.random.default_rng([own.seed, 2])
    number = {pair.id: index for index, pair in enumerate(own.pairs)}
    index = np.array([number[row.pair.id] for row in rows])
    sides = np.array([row.positive for row in rows])
    shape = len(LAYERS), len(own.pairs), HIDDEN
    context, each = rng.standard_normal(shape), rng.standard_normal((2, *shape))
    fresh = rng.standard_normal((2, *shape))
    copied = (own.source != np.arange(len(own.pairs)))[:, None]
    each = np.where(copied, np.sqrt(0.9) * each[:, :, own.source] + np.sqrt(0.1) * fresh, each)
    noise = np.sqrt(0.5) * (context[:, own.source] + each)  # (sides, layers, pairs, hidden)
    axes = np.linalg.qr(np.random.default_rng([own.seed, 3]).standard_normal((HIDDEN, len(TRAITS))))[0].T
    told = sum(
        weight * np.outer([trait(name, row) for row in rows], axes[TRAITS.index(name)]) for name, weight in own.traits.items()
    )
    pushed = (np.where(sides, 0.5, -0.5) * own.strength[index])[:, None] * own.directions[own.axis[index]]
    found = [
        own.scale * noise[sides.astype(int), layer, index] + told + own.blocks[at] * pushed for layer, at in enumerate(LAYERS)
    ]
    return np.stack(found, 1).astype(np.float32)


def write_cache(own: Reading, rows: Sequence[Row], path: Path) -> None:
    """Write what the model reads of texts by the code that writes what a real one does."""
    pooled = activations(own, rows)
    window = SimpleNamespace(pooled={"mean": pooled}, norms=np.linalg.norm(pooled, axis=2))
    write_row_groups(row_groups([window], rows, LAYERS, "mean"), path)


def control_reading(own: Reading) -> Reading:
    """The control concept's pairs, whose sides differ along its own direction in every layer."""
    other = reading(own.seed + 1_000_000)
    along = replace(other, axis=np.full_like(other.axis, own.control), directions=own.directions, scale=own.scale)
    return replace(along, blocks=dict.fromkeys(LAYERS, 1.0))


@lru_cache(maxsize=4)
def detected(own: Reading) -> tuple[dict[str, pd.DataFrame], Probe]:
    """The tables of a reading's detection, and the probe of the steered block, by the code of a study."""
    with tempfile.TemporaryDirectory() as folder:
        path, control = Path(folder) / "own.parquet", Path(folder) / "control.parquet"
        write_cache(own, cache_rows(own.pairs, cluster_names(own.pairs), own.listed, 1), path)
        other = control_reading(own)
        write_cache(other, cache_rows(other.pairs, [pair.id for pair in other.pairs], (), 0), control)
        rows = detection_rows(path, LAYERS, own.seed, own.listed, control=control)
        cache = read_layer(path, 1)
    long = pd.DataFrame(rows).assign(model="m")
    sides = cache.training_sides()
    direction, separation = METHODS["mean_difference"](*sides)
    return of_metrics(long), Probe(1, direction, separation, float(cache.norms.mean()), {})


# ---- steering -------------------------------------------------------------------------------------------------------------


def arms(
    seed: int,
    changes: Sequence[float] | None = None,
    flipped: Iterable[float] | None = None,
    random: Iterable[float] | None = None,
    prompted: tuple[float, float] = (0.9, 0.1),
    samples: int = 20,
    coherent: tuple[float, float] = (1.0, 1.0),
) -> pd.DataFrame:
    """The scores of all arms at one block: the rate changes by so much under each; prompted are the rates for and against."""
    rng = np.random.default_rng([seed, 4])
    changes = [rng.uniform(*CHANGES)] * SCENARIOS if changes is None else changes
    flipped = rng.normal(0, 0.04, FLIPPED) if flipped is None else flipped
    random = rng.normal(0, 0.04, RANDOM) if random is None else random
    probe = sweep(seed, changes, samples, coherent)
    parts = [probe.assign(arm=np.where(probe["alpha"] == 0, BASELINE_ARM, PROBE_ARM))]
    kinds = {"flipped": (flipped, [-5.0, -3.0, 3.0, 5.0]), "random": (random, [alpha for alpha in ALPHAS if alpha])}
    for kind, (each, alphas) in kinds.items():
        for number, change in enumerate(each, 1):
            own = sweep(1000 * (seed + 1) + 100 * (kind == "random") + number, [change] * len(changes), samples, coherent)
            parts.append(own[own["alpha"].isin(alphas)].assign(arm=f"{kind}-{number}"))
    for arm, rate in zip(PROMPTED_ARMS, prompted, strict=True):
        own = probe[probe["alpha"] == 0]
        positive = rng.random(len(own)) < rate
        parts.append(own.assign(arm=arm, layer=np.nan, positive=positive, negative=~positive))
    scores = pd.concat(parts, ignore_index=True)
    evidence = scores["positive"].astype(int) - scores["negative"].astype(int)
    return scores.assign(evidence=evidence, ended=True, nll=1.0, text="")


def steered(case: Honest, study: Study, probe: Probe) -> dict[str, pd.DataFrame]:
    """The tables of effects, by the code of a study."""
    scores = case.scores.assign(layer=case.scores["layer"].where(case.scores["layer"].isna(), case.layer))
    tables = effects_tables(study, {"rubric": scores}, {case.layer: probe})
    person = {"first": "rubric", "second": "human: one", "texts": 100, "kappa": 0.9, "kappa_lower": 0.8, "kappa_upper": 1.0}
    tables["scorer_agreement"] = pd.DataFrame([person])
    return {name: table if "model" in table else table.assign(model="m") for name, table in tables.items()}


# ---- the verdict ----------------------------------------------------------------------------------------------------------


def study_of(case: Honest) -> Study:
    """The study file that the simulated one would have."""
    model = {"name": "m", "source": "simulated/m", "revision": "0" * 40, "blocks": len(LAYERS) - 1, "parameters_b": 1.0}
    options = {"concept": "simulated", "control_concept": "other", "layers": list(LAYERS), "alphas": list(ALPHAS)}
    options |= {"scenarios": [f"s{number}" for number in range(SCENARIOS)], "samples": case.samples}
    options |= {"scorers": ["rubric"], "judge": {"endpoint": "http://localhost/v1", "name": "simulated"}}
    controls = {"random": RANDOM, "flipped": FLIPPED}
    return Study(study="simulated", models=[model], steering_layers=[case.layer], controls=controls, **options)


@dataclass(frozen=True)
class Judged:
    """What a study's report says, and what the usual practice would."""

    checks: pd.DataFrame
    verdict: Any
    auroc: float
    """The highest AUROC of a block on the test split: the published rule for detection."""
    success: float
    """Mean success by sign, (alpha > 0) == (effect > 0): the published rule for steering."""


def judged(case: Honest) -> Judged:
    """The case through detection, effects and the council."""
    study = study_of(case)
    found, probe = detected(case.reading)
    tables: dict[str, pd.DataFrame] = {
        "models": pd.DataFrame([{"name": "m", "dtype": case.dtype, "quantisation": ""}]),
        "cells": pd.DataFrame([{"model": "m", "verified_cells": len(list(study.all_cells(study.models[0])))}]),
        "cost": pd.DataFrame([{"model": "m", "phase": "steering", "seconds": 1.0, "peak_memory_mb": 1.0}]),
        **found,
        **steered(case, study, replace(probe, layer=case.layer)),
    }
    tables["council"] = select_layers(tables["detection"], tables["selection"], study.criteria)
    tables["trends"] = judge_trends(with_power(study, tables["trends"]), tables, study.criteria)
    checks, verdicts = deliberate(evidence_of(study, tables))
    blocks = tables["detection"][tables["detection"]["layer"] >= 0]
    published = tables["steering"].query("rule == 'published'")["success_rate"]
    return Judged(checks, verdicts.iloc[0], float(blocks["auroc"].max()), float(published.mean()))
