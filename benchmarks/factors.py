"""Attacks on the check of crossed factors: how often does it pass what is only the tone; and what it says of true findings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from probesteer.detection.activations import LayerActivations
from probesteer.detection.crossed import crossed
from probesteer.detection.design import Design
from probesteer.detection.heldout import dprime
from probesteer.detection.robustness import held_out_scores
from probesteer.report.evidence import Evidence
from probesteer.report.sceptic import devil_factors
from probesteer.study.sections import Criteria

Run = Callable[[partial, int], list]
SCENARIOS, FACTORS = 5, {"tone": ["warm", "plain"]}
# Along three axes, in standard deviations: how far the sides differ in a warm text, in a plain one, and how far the tones do.
KINDS = {
    "the behaviour in both tones": ((4, 0, 0), (4, 0, 0), (0, 4, 0)),
    "the behaviour, of which the tone is a sign": ((4, 0, 0), (4, 0, 0), (1.5, 4, 0)),
    "the behaviour, half of which is the tone": ((2.83, 2.83, 0), (2.83, 2.83, 0), (0, 4, 0)),
    "nothing but the tone": ((0, 0, 0), (0, 0, 0), (0, 4, 0)),
    "in one tone only": ((4, 0, 0), (0, 0, 0), (0, 4, 0)),
    "a direction of each tone's own": ((4, 0, 0), (0, 0, 4), (0, 4, 0)),
    "turned round by the tone": ((4, 0, 0), (-4, 0, 0), (0, 4, 0)),
    "more of the tone on one side": ((0, 4, 0), (0, 4, 0), (0, 4, 0)),
    "tones that are not told apart": ((4, 0, 0), (4, 0, 0), (0, 0, 0)),
}
TRUE = list(KINDS)[:3]  # where a direction other than the tone's is there to be read in both


def crossed_pairs(kind: str, situations: int, hidden: int, rng: np.random.Generator) -> LayerActivations:
    """A layer that reads situations told four times, half of them held out: as one of KINDS, the text's noise half its own."""
    warm, plain, tones = (np.pad(np.array(part, dtype=float), (0, hidden - 3)) for part in KINDS[kind])
    situation = np.repeat(np.arange(situations), 4)
    is_warm, positive = np.tile([True, True, False, False], situations), np.tile([True, False], 2 * situations)
    noise = [rng.standard_normal((situations, hidden))[situation], rng.standard_normal((len(situation), hidden))]
    apart = np.where(is_warm[:, None], warm, plain)
    read = np.sqrt(0.5) * sum(noise) + (positive - 0.5)[:, None] * apart + (is_warm - 0.5)[:, None] * tones
    design = Design(positive, situation, situation % 2 == 0, situation // 2 % SCENARIOS)
    levels = {"tone": np.where(is_warm, *FACTORS["tone"])}
    return LayerActivations(read.astype(np.float32), design, np.ones(len(read)), {}, levels, [], {})


def found(cache: LayerActivations, of: Mapping[str, Sequence[str]] = FACTORS) -> tuple[str, str]:
    """What the check says of a layer: its status, and what it read."""
    scores = held_out_scores(cache.activations, cache.design)
    council = pd.DataFrame([{"model": "m", "layer": 0, "dprime": dprime(scores, cache.design.labels[cache.design.test])}])
    details = pd.DataFrame(list(crossed(cache, of))).assign(model="m", layer=0)
    (said,) = devil_factors(Evidence(Criteria(), council, pd.DataFrame(), details))
    return said.status, said.evidence


def status(seed: int, kind: str, situations: int, hidden: int) -> str:
    rng = np.random.default_rng([seed, list(KINDS).index(kind), situations, hidden])
    return found(crossed_pairs(kind, situations, hidden, rng))[0]


def factors(run: Run, sets: int) -> Iterator[str]:
    """Crossed pairs in 64 and 512 dimensions: the share of data sets in which the check gives each status."""
    yield "| what a layer reads | situations | hidden | data sets | PASS | WARN | FAIL |"
    yield "|---|---|---|---|---|---|---|"
    for kind in KINDS:
        for situations, hidden in ((20, 64), (48, 64), (48, 512), (100, 64)):
            said = run(partial(status, kind=kind, situations=situations, hidden=hidden), sets)
            shares = " | ".join(f"{said.count(one) / sets:.3f}" for one in ("PASS", "WARN", "FAIL"))
            yield f"| {kind} | {situations} | {hidden} | {sets} | {shares} |"
