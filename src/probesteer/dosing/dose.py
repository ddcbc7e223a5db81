"""The push that is alpha 1 at a (model, layer), where the unit is one that only the model can tell: kl, and coherence."""

import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import exp, log
from typing import Any

import pandas as pd
import pyarrow as pa

from probesteer.behaviour.coherence import judge_coherence
from probesteer.concepts.data import study_concept
from probesteer.directions import Probe, load_probe
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import is_fresh, peak_memory_mb, read_table, write_table
from probesteer.progress import progress
from probesteer.steering.cells import prompt_of, sample_texts
from probesteer.steering.sweep import Sweep
from probesteer.study.cells import CALIBRATION_ARM, PROBE_ARM, Cell
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import COHERENCE, KL, Site

NUMERICS = 1  # bump by hand when the same inputs give other doses
# What alpha 1 does, the way that does more: nats of `NeutralTexts.worst`, and the share of texts that are still coherent.
NATS, COHERENT = 1.0, 0.65
TEXTS = 36  # pushed each way, at least, over all scenarios
FIRST = 0.5  # of the mean residual norm: the first push that is tried
CLOSE = {KL: 0.02, COHERENCE: 0.05}  # of log nats, and of the share
MOST_TRIES, LEAST_STEP = 16, 0.2  # pushes; share of the bracket that a try takes off
FARTHEST = 1e4  # nats: where a model's numbers overflow
DOSE_SCHEMA = pa.schema({"unit": pa.string(), "push": pa.float64(), "positive": pa.float64(), "negative": pa.float64()})

Tried = tuple[float, float]
"""What a push does, and the same push the other way: nats, or the share of coherent texts."""


def dose_inputs(
    study: Study, sweep: Sweep, card: Mapping[str, Any], probe: Probe, unsteered: Mapping[Cell, str]
) -> dict[str, Any]:
    """Everything that determines the doses of a site; its digest is their fingerprint.

    `unsteered` are the fingerprints of the cells that coherence is calibrated on, which hold the prompts and the sampling.
    """
    concept = sweep.concept
    return {
        "numerics": NUMERICS,
        "unit": study.alpha_unit,
        "model": card["digest"],
        "chat_template": card["chat_template"],
        "neutral": digest([concept.system_prompts.neutral, sweep.neutral_user(), concept.neutral_texts]),
        "layer": probe.layer,
        "direction": sha256(probe.direction.tobytes()).hexdigest(),
        "positions": sweep.positions,
        "unsteered": digest(sorted(unsteered.values())),
    }


def unsteered_of(study: Study, sweep: Sweep, card: Mapping[str, Any], model: Model) -> dict[Cell, str]:
    """The cells that a dose needs, with their fingerprints: none in the unit kl, which generates nothing."""
    return sweep.fingerprints(study.calibration_cells(model), card, None)


def find_doses(study: Study, model: Model, site: Site) -> None:
    """Find and write the doses of a site that its study needs: unit, push, and what that does each way. Raises InputError."""
    from probesteer.lm.load import load_card

    card, probe = read_card(study.paths.card(model.name, model.key)), load_probe(study.paths.probe(model.name, site), site)
    sweep = Sweep.of(study, study_concept(study), model)
    cells = unsteered_of(study, sweep, card, model)
    path, inputs = study.paths.dose(model.name, site), dose_inputs(study, sweep, card, probe, cells)
    if is_fresh(path, inputs):
        print(f"{path} is up to date", file=sys.stderr)
        return
    loaded = load_card(card)
    with progress(MOST_TRIES * (1 + bool(cells)), f"{model.name}, layer {site}", "dose") as bar:
        nats = nats_of(loaded, sweep, card, probe)
        found = {KL: search(_told(nats, bar.update), log(NATS), FIRST * probe.residual_norm, CLOSE[KL], log_worst)}
        if cells:
            unsteered = _unsteered_texts(study, list(cells))
            share = shares_of(loaded, sweep, card, probe, unsteered, study.resources.batch_rows)
            start = found[KL][0]
            found[COHERENCE] = search(_told(share, bar.update), -COHERENT, start, CLOSE[COHERENCE], less_coherent)
    rows = [{"unit": unit, "push": push, "positive": up, "negative": down} for unit, (push, (up, down)) in found.items()]
    write_table(pa.Table.from_pylist(rows, DOSE_SCHEMA), path, inputs, {"peak_memory_mb": peak_memory_mb()})


def log_worst(tried: Tried) -> float:
    """The logarithm of the larger of both: in it nats rise in a line with the logarithm of a small push."""
    return log(max(*tried, 1e-12))


def less_coherent(tried: Tried) -> float:
    """Minus the smaller of both, which rises with the push as `search` wants it."""
    return -min(tried)


def search(
    act: Callable[[float], Tried], target: float, start: float, close: float, value: Callable[[Tried], float]
) -> tuple[float, Tried]:
    """The push, to three digits, at which `value` of what it does reaches `target`, or within `close`; and what it does.

    `value` rises with the push, not everywhere if it must be. The push is doubled or halved until the target lies between two;
    then both are drawn together in its logarithm, by the line between them and by LEAST_STEP at least. Raises InputError
    where MOST_TRIES pushes find no such pair.
    """
    tried: dict[float, tuple[Tried, float]] = {}

    def at(position: float) -> float:
        push = float(f"{exp(position):.3g}")
        if push not in tried:
            effect = act(push)
            tried[push] = effect, value(effect)
        return tried[push][1] - target

    low = high = log(start)
    while at(high) < 0 and len(tried) < MOST_TRIES:
        low, high = high, high + log(2)
    while at(low) >= 0 and len(tried) < MOST_TRIES:
        low, high = low - log(2), low
    if at(low) >= 0 or at(high) < 0:
        raise InputError(f"no push up to {max(tried):.3g} and down to {min(tried):.3g} has the dose; choose another alpha_unit")
    while min(abs(own - target) for _, own in tried.values()) > close and len(tried) < MOST_TRIES and high - low > 0.02:
        below, above = at(low), at(high)
        share = min(max(-below / (above - below), LEAST_STEP), 1 - LEAST_STEP)  # where a line between both crosses
        middle = low + share * (high - low)
        low, high = (middle, high) if at(middle) < 0 else (low, middle)
    best = min(tried, key=lambda push: abs(tried[push][1] - target))
    return best, tried[best][0]


def nats_of(loaded: tuple[Any, Any], sweep: Sweep, card: Mapping[str, Any], probe: Probe) -> Callable[[float], Tried]:
    """What a push does to the worst tokens of the concept's neutral texts, in nats (`NeutralTexts.worst`)."""
    from probesteer.lm.likelihood import NeutralTexts
    from probesteer.lm.request import Request

    concept = sweep.concept
    asked = {"system": concept.system_prompts.neutral, "chat_template": card["chat_template"]}
    prompt = prompt_of(loaded[1], asked, sweep.neutral_user())
    texts = NeutralTexts(*loaded, prompt, concept.neutral_texts)

    def nats(push: float) -> float:
        worst = texts.worst(Request(prompt, probe.layer, probe.direction, push, positions=sweep.positions))
        return min(worst, FARTHEST) if worst == worst else FARTHEST

    return lambda push: (nats(push), nats(-push))


def shares_of(
    loaded: tuple[Any, Any],
    sweep: Sweep,
    card: Mapping[str, Any],
    probe: Probe,
    unsteered: pd.DataFrame,
    batch_rows: int,
) -> Callable[[float], Tried]:
    """The share of coherent texts under a push (`judge_coherence`), by draws that are not judged, the same for every push."""
    scenarios = list(dict.fromkeys(unsteered["scenario"]))
    count = -(-TEXTS // len(scenarios))

    def shares(push: float) -> Tried:
        cells = [Cell(PROBE_ARM, "", name, probe.layer, way * push) for way in (1, -1) for name in scenarios]
        inputs = {cell: _drawn(sweep, cell, card, probe, count) for cell in cells}
        table, _ = sample_texts(*loaded, inputs, probe, sweep, batch_rows, lambda _tokens: None)
        axes = [[cell.scenario, cell.alpha] for cell in cells for _ in range(count)]
        steered = pd.concat([table.to_pandas(), pd.DataFrame(axes, columns=["scenario", "alpha"])], axis=1)
        both = pd.concat([unsteered, steered.assign(model="", arm=PROBE_ARM)], ignore_index=True)
        coherent = judge_coherence(both)["coherent"]
        up, down = (float(coherent[(both["arm"] == PROBE_ARM) & (both["alpha"] * way > 0)].mean()) for way in (1, -1))
        return up, down

    return shares


def _drawn(sweep: Sweep, cell: Cell, card: Mapping[str, Any], probe: Probe, count: int) -> dict[str, Any]:
    """What determines the texts of a cell whose alpha is the push, of `count` samples."""
    inputs = sweep.inputs(cell, card, None)
    push = {"layer": probe.layer, "push": cell.alpha, "positions": sweep.positions}
    return {**inputs, **push, "samples": count, "draws": "dose"}


def _unsteered_texts(study: Study, cells: Sequence[Cell]) -> pd.DataFrame:
    """The texts that coherence is calibrated on, as `judge_coherence` wants them."""
    tables = [read_table(cell.path(study.paths.cells)).to_pandas().assign(scenario=cell.scenario) for cell in cells]
    return pd.concat(tables, ignore_index=True).assign(model="", arm=CALIBRATION_ARM, alpha=0.0)


def _told(act: Callable[[float], Tried], tell: Callable[[int], object]) -> Callable[[float], Tried]:
    """The same, of which a bar is told."""

    def acted(push: float) -> Tried:
        effect = act(push)
        tell(1)
        return effect

    return acted
