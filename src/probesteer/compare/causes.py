"""What in a model causes the behaviour: outputs exchanged between two runs, and directions taken out of one."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.compare.corpus import candidate_layers
from probesteer.concepts.card import read_pairs
from probesteer.concepts.concept import Concept
from probesteer.concepts.data import activations_path, pair_set, study_concept
from probesteer.concepts.pairs import Pair
from probesteer.detection.activations import read_layer
from probesteer.detection.forecast import TOKENS, some_of
from probesteer.directions.methods import fitted
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import peak_memory_mb, read_inputs, write_table
from probesteer.jobs import causes_settings
from probesteer.progress import progress
from probesteer.stats import mean_interval
from probesteer.study.experiment import Study
from probesteer.study.model import Model

NUMERICS = 1  # bump by hand when the same inputs give other numbers
CASES, RANDOM = 8, 9  # held-out pairs that are looked at; random directions beside each ablation
ABLATION, EVERYWHERE = "ablation", -1  # at every block at once
CAUSES = ["kind", "site", "layer", "positions", "cases", "effect", "effect_lower", "effect_upper", "share", "rebuilt"]
CAUSES += ["random_least", "random_most"]


def causes_inputs(
    study: Study, model: Model, concept: Concept, card: Mapping[str, Any], cache: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines a model's table, given what determines its activations."""
    system = concept.system_prompts
    asked = [system.positive, system.negative, card["chat_template"], concept.prompts()]
    return {"numerics": NUMERICS, "cache": dict(cache), "asked": digest(asked), **causes_settings(study, model)}


def write_causes(study: Study, model: Model) -> None:
    """Write what causes a model's preference for the positive side of held-out pairs. Raises InputError.

    The effect is that of the system prompt that asks for the behaviour over the one that asks for its opposite, on the
    log-odds of a pair's positive against its negative side as answers to its scenario. Rows of `lm.mediation.patched`: how
    much of it one site's output brings (share), or takes away, with Student's t interval over cases. Rows "ablation": how much
    is lost, in nats, with the direction of a block (-1: of each block at once) projected out, between the least and the most
    of RANDOM random directions, and which share of the direction the last block has built again.
    """
    from probesteer.lm.load import load_card

    started, pairs, concept = time.monotonic(), pair_set(study), study_concept(study)
    path, card = activations_path(study, model, pairs), read_card(study.paths.card(model.name, model.key))
    loaded, _clusters = read_pairs(study.paths.pairs(pairs.concept, pairs.key))
    lm = load_card(card)
    cases = [case(lm, concept, pair, card["chat_template"]) for pair in some_of(loaded, "test", CASES)]
    directions = {layer: fitted(*read_layer(path, layer).training_sides()) for layer in range(card["blocks"])}
    taken = ablations(lm[0], cases, directions, candidate_layers(study, model), study.seed)
    table = [*patches(lm[0], cases), *taken]
    cost = {"seconds": time.monotonic() - started, "load_seconds": 0.0, "peak_memory_mb": peak_memory_mb()}
    rows = [{**dict.fromkeys(CAUSES), **row} for row in table]
    inputs = causes_inputs(study, model, concept, card, read_inputs(path))
    write_table(pa.Table.from_pylist(rows), study.paths.compared(model.name, "causes"), inputs, cost)


def case(lm: tuple[Any, Any], concept: Concept, pair: Pair, chat_template: bool) -> Any:
    """A pair's sides as answers to its scenario, under the prompts for and against; a user's own scenario takes the first."""
    from probesteer.lm.load import render_prompt
    from probesteer.lm.mediation import case_of

    model, tokenizer = lm
    prompts, system = concept.prompts(), concept.system_prompts
    user = prompts.get(pair.scenario, next(iter(prompts.values())))
    asked, against = (render_prompt(tokenizer, text, user, chat_template) for text in (system.positive, system.negative))
    return case_of(model, tokenizer, (asked, against), (pair.positive, pair.negative), TOKENS)


def patches(model: Any, cases: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Rows of the total effect, and of every site's output taken from the other run; at all positions where prompts align."""
    from probesteer.lm.mediation import ALL, RESPONSE, patched

    for positions in (RESPONSE, ALL):
        found: dict[Any, list[float]] = defaultdict(list)
        fitting = [case for case in cases if positions == RESPONSE or case.aligned]
        with progress(len(fitting), f"patches, {positions}", "case") as bar:
            for case in fitting:
                for key, effect in patched(model, case, positions).items():
                    found[key].append(effect)
                bar.update(1)
        if not fitting:
            return
        total = float(np.mean(next(iter(found.values()))))
        for (kind, (site, layer)), effects in found.items():
            row = {"kind": kind, "site": site, "layer": layer, "positions": positions, "cases": len(effects)}
            yield row | _interval(np.array(effects)) | {"share": float(np.mean(effects)) / total if total else None}


def ablations(
    model: Any, cases: Sequence[Any], directions: Mapping[int, np.ndarray], layers: Sequence[int], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of directions projected out at blocks, one by one and all at once, beside random ones."""
    from probesteer.lm.mediation import ablated

    rng = np.random.default_rng(seed)
    sets = [directions]
    for _ in range(RANDOM):
        drawn = {layer: rng.standard_normal(len(own)) for layer, own in directions.items()}
        sets.append({layer: (own / np.linalg.norm(own)).astype(np.float32) for layer, own in drawn.items()})
    whole = np.array([ablated(model, case, directions, [])[0] for case in cases])
    for layer in (*layers, EVERYWHERE):
        acting = [*directions] if layer == EVERYWHERE else [layer]
        found = np.array([[ablated(model, case, own, acting) for case in cases] for own in sets])  # (sets, cases, 2)
        lost = whole - found[:, :, 0]
        others = lost[1:].mean(1)
        row = {"kind": ABLATION, "site": "block", "layer": layer, "positions": "all", "cases": len(cases)}
        row |= {
            "share": float(lost[0].mean() / whole.mean()) if whole.mean() else None,
            "rebuilt": float(found[0, :, 1].mean()),
        }
        yield row | _interval(lost[0]) | {"random_least": float(others.min()), "random_most": float(others.max())}


def _interval(effects: np.ndarray) -> dict[str, float]:
    return dict(zip(("effect", "effect_lower", "effect_upper"), mean_interval(effects), strict=True))
