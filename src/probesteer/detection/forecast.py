"""What each block of a model promises before anything is generated: how well it reads, and how a push there moves the odds."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.card import read_pairs
from probesteer.concepts.concept import Concept
from probesteer.concepts.data import activations_path, pair_set, study_concept
from probesteer.concepts.pairs import Pair
from probesteer.detection.activations import read_layer
from probesteer.detection.design import Design
from probesteer.detection.selection import held_out_folds, refitted_aurocs
from probesteer.directions.methods import fitted
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import is_fresh, peak_memory_mb, read_inputs, write_table
from probesteer.jobs import forecast_settings
from probesteer.progress import progress
from probesteer.stats import defined_mean, mean_interval
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS

NUMERICS = 1  # bump by hand when the same inputs give another forecast
PAIRS, TOKENS = 16, 48  # training pairs whose odds are looked at, spread evenly over all; tokens of a text
AUROC_MARGIN = 0.05  # blocks that read this much worse than the best one are not chosen


def forecast_inputs(
    study: Study, model: Model, concept: Concept, card: Mapping[str, Any], cache: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines a model's forecast, given what determines its activations."""
    asked = {"system": concept.system_prompts.neutral, "chat_template": card["chat_template"], "prompts": concept.prompts()}
    return {"numerics": NUMERICS, "cache": dict(cache), "asked": digest(asked), **forecast_settings(study, model)}


def forecast_model(study: Study, model: Model) -> None:
    """Write a model's forecast, a row per detection block. Raises InputError.

    cv_auroc: mean AUROC over folds of the training pairs, each read by a direction fitted on the others. slope: of the log-odds
    of the positive against the negative side of training pairs, as answers to their scenarios, by the push along the direction
    fitted on all of them, in nats per unit of push, mean over pairs with Student's t interval; gain: the same per mean residual
    norm, in which blocks can be compared. chosen: the largest gain of the blocks that read within AUROC_MARGIN of the best.
    """
    started = time.monotonic()
    pairs, concept = pair_set(study), study_concept(study)
    path, card = activations_path(study, model, pairs), read_card(study.paths.card(model.name, model.key))
    output, inputs = study.paths.forecast(model.name), forecast_inputs(study, model, concept, card, read_inputs(path))
    if is_fresh(output, inputs):
        print(f"{output} is up to date", file=sys.stderr)
        return
    loaded, _clusters = read_pairs(study.paths.pairs(pairs.concept, pairs.key))
    layers = [layer for layer in study.layers_of(model) if layer != EMBEDDINGS]
    gradients = odds_gradients(study, concept, card, some_of(loaded, "train"), layers)
    rows = []
    for number, layer in enumerate(layers):
        cache = read_layer(path, layer)
        norm = float(cache.norms[cache.design.train].mean())
        slope, lower, upper = mean_interval(gradients[:, number] @ fitted(*cache.training_sides(), study.method))
        row = {"layer": layer, "cv_auroc": cross_validated(cache.activations, cache.design), "residual_norm": norm}
        row |= {"slope": slope, "slope_lower": lower, "slope_upper": upper}
        row |= {"gain": slope * norm, "gain_lower": lower * norm, "gain_upper": upper * norm}
        rows.append(row)
    best = choose([row["cv_auroc"] for row in rows], [row["gain"] for row in rows])
    table = pa.Table.from_pylist([{**row, "chosen": number == best} for number, row in enumerate(rows)])
    cost = {"seconds": time.monotonic() - started, "load_seconds": 0.0, "peak_memory_mb": peak_memory_mb()}
    write_table(table, output, inputs, cost)
    print(f"{model.name}: the training pairs favour block {rows[best]['layer']}", file=sys.stderr)


def some_of(pairs: Sequence[Pair], split: str, most: int = PAIRS) -> list[Pair]:
    """At most so many of the pairs of a split, spread evenly over them."""
    own = [pair for pair in pairs if pair.split == split]
    return [own[i] for i in np.linspace(0, len(own) - 1, min(most, len(own))).astype(int)]


def odds_gradients(
    study: Study, concept: Concept, card: Mapping[str, Any], pairs: Sequence[Pair], layers: Sequence[int]
) -> np.ndarray:
    """`lm.odds.log_odds_gradient` of each pair: (pairs, layers, hidden). Scenarios of a user's own take the first prompt."""
    from probesteer.lm.load import load_card, render_prompt
    from probesteer.lm.odds import log_odds_gradient

    model, tokenizer = load_card(card)
    prompts = concept.prompts()
    first = next(iter(prompts.values()))
    found = []
    with progress(len(pairs), f"{card.get('name', 'forecast')}, all blocks", "pair") as bar:
        for pair in pairs:
            user = prompts.get(pair.scenario, first)
            prompt = render_prompt(tokenizer, concept.system_prompts.neutral, user, card["chat_template"])
            texts = pair.positive, pair.negative
            found.append(log_odds_gradient(model, tokenizer, prompt, texts, TOKENS, layers, study.positions))
            bar.update(1)
    return np.stack(found)


def cross_validated(activations: np.ndarray, design: Design) -> float:
    """Mean AUROC over the training folds of activations (texts, hidden), each scored by a direction fitted on the others."""
    wide = activations.astype(np.float64)
    gram, labels = wide @ wide.T, design.labels[:, None]
    folds = [refitted_aurocs(gram, labels, design.train & ~out, out)[0] for out in held_out_folds(design)]
    return float(defined_mean(np.array(folds)))


def choose(aurocs: Sequence[float], gains: Sequence[float]) -> int:
    """The largest gain among those whose AUROC lies within AUROC_MARGIN of the best, by its place; the first of equal ones."""
    readable = np.array(aurocs) >= np.nanmax(aurocs) - AUROC_MARGIN
    return int(np.where(readable, gains, -np.inf).argmax())
