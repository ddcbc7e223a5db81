"""What maps between models are made of: activations of a neutral corpus, a twin's too, and how pushes move the odds."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.card import read_pairs
from probesteer.concepts.data import pair_set, study_concept
from probesteer.concepts.neutral import corpus_file, read_corpus
from probesteer.concepts.pairs import Pair
from probesteer.detection import activations
from probesteer.detection.activations import Row, cache_inputs, cache_rows, layer_column, write_activations
from probesteer.detection.forecast import odds_gradients, some_of
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.locks import only_writer
from probesteer.files.tables import is_fresh, peak_memory_mb, write_table
from probesteer.jobs import corpus_settings
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS

NUMERICS = 1  # bump by hand when the same inputs give other gradients, or another twin
MOST_LAYERS = 6  # blocks of a model between which directions are carried, spread evenly


def candidate_layers(study: Study, model: Model) -> list[int]:
    """The blocks of a model that directions are carried from and into."""
    blocks = [layer for layer in study.layers_of(model) if layer != EMBEDDINGS]
    return [blocks[i] for i in np.linspace(0, len(blocks) - 1, min(MOST_LAYERS, len(blocks))).round().astype(int)]


def corpora_inputs(study: Study) -> dict[str, dict[str, dict[str, Any]]]:
    """By model that has a card, everything that determines each of its CORPUS_TABLES. Raises InputError."""
    concept, pairs = study_concept(study), pair_set(study)
    texts = digest(read_corpus(corpus_file(study.concept_folder)))
    reading = {"asked": pairs.prompts, "pooling": study.pooling, "max_text_tokens": study.max_text_tokens}
    found = {}
    for model in study.models:
        path = study.paths.card(model.name, model.key)
        if not path.exists():
            continue
        card = read_card(path)
        read = {"numerics": activations.NUMERICS, "model": card["digest"], "corpus": texts, **reading}
        asked = {"system": concept.system_prompts.neutral, "chat_template": card["chat_template"], "prompts": concept.prompts()}
        cache, twin = cache_inputs(card, pairs, study), {"twin": NUMERICS}
        odds = {"numerics": NUMERICS, "cache": cache, "asked": digest(asked), "blocks": candidate_layers(study, model)}
        odds |= corpus_settings(study, model)
        found[model.name] = {"corpus": read, "twin": read | twin, "twin_pairs": cache | twin, "gradients": odds}
    return found


def write_corpus(study: Study, model: Model) -> None:
    """Write a model's CORPUS_TABLES, those that are not up to date. Raises InputError.

    corpus: activations of the neutral texts, twin: those of a model of the same architecture with random weights, twin_pairs:
    its activations of the pairs. gradients: of held-out pairs, as answers to their scenarios, the gradient of the log-odds of
    the positive against the negative side by what is added at each candidate block.
    """
    pairs = pair_set(study)
    card = read_card(study.paths.card(model.name, model.key))
    loaded, clusters = read_pairs(study.paths.pairs(pairs.concept, pairs.key))
    rows = dict.fromkeys(("corpus", "twin"), neutral_rows(study)) | {"twin_pairs": cache_rows(loaded, clusters, [], 0)}
    for table, inputs in corpora_inputs(study)[model.name].items():
        output = study.paths.compared(model.name, table)
        with only_writer(output.with_suffix(".lock")):
            if is_fresh(output, inputs):
                print(f"{output} is up to date", file=sys.stderr)
            elif table == "gradients":
                write_gradients(study, model, card, loaded, output, inputs)
            else:
                load = None if table == "corpus" else _twin()
                texts = rows[table], pairs.prompts, study.pooling
                write_activations(card, *texts, output, inputs, study.max_text_tokens, load)


def _twin() -> Callable[[Mapping[str, Any]], tuple[Any, Any]]:
    from probesteer.lm.twin import load_twin

    return load_twin


def neutral_rows(study: Study) -> list[Row]:
    """The neutral corpus as rows of an activation cache; where texts are read as answers, they answer the first scenario."""
    rows, scenario = [], study.scenario_names()[0]
    for number, text in enumerate(read_corpus(corpus_file(study.concept_folder))):
        name = f"neutral-{number:03d}"
        pair = Pair(id=name, scenario=scenario, split="train", voice="", positive=text, negative=text)
        rows.append(Row(pair, True, name, 0, text))
    return rows


def write_gradients(
    study: Study,
    model: Model,
    card: Mapping[str, Any],
    pairs: Sequence[Pair],
    output: Path,
    inputs: Mapping[str, Any],
) -> None:
    """Write the gradients of held-out pairs: a row per pair, a vector per candidate block."""
    started, layers, held_out = time.monotonic(), candidate_layers(study, model), some_of(pairs, "test")
    found = odds_gradients(study, study_concept(study), card, held_out, layers)
    columns: dict[str, pa.Array] = {"id": pa.array([pair.id for pair in held_out])}
    for number, layer in enumerate(layers):
        flat = pa.array(found[:, number].ravel())
        columns[layer_column(layer)] = pa.FixedSizeListArray.from_arrays(flat, found.shape[2])
    cost = {"seconds": time.monotonic() - started, "load_seconds": 0.0, "peak_memory_mb": peak_memory_mb()}
    write_table(pa.table(columns), output, inputs, cost)
