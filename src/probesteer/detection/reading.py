"""What a model reads in texts that were written: their projection on its direction at its chosen block."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from probesteer.concepts.data import PairSet, activations_path, pair_sets
from probesteer.detection.activations import LayerActivations, read_layer, read_texts
from probesteer.directions.methods import fitted
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.tables import (
    is_fresh,
    peak_memory_mb,
    read_fingerprint,
    read_inputs,
    read_row_groups,
    read_table,
    write_table,
)
from probesteer.games import VARIANTS, Variant
from probesteer.jobs import reading_settings
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM, PROMPTED_ARMS
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS
from probesteer.study.paths import READINGS

NUMERICS = 2  # bump by hand when the same inputs give other readings
OF_CONTROL = "control_projection"  # the column of what the control concept's direction reads
KEY = ["author", "arm", "layer", "scenario", "alpha", "sample"]
IN_GAMES = ["variant", "turn"]  # beside KEY, where a game is the scenario and its seed the sample; elsewhere null
ASKED = [name for name, options in VARIANTS.items() if Variant.of(options).need]  # variants with somebody in need


@dataclass(frozen=True)
class Reader:
    """A direction of a block with its scale, from the training pairs alone."""

    direction: np.ndarray
    """float64 (hidden,), unit length."""
    threshold: float
    """Midpoint of the class means."""
    separation: float
    """Distance of the class means."""

    @classmethod
    def of(cls, cache: LayerActivations) -> "Reader":
        """The reader that detection judges: the mean difference of the training pairs."""
        positive, negative = (side.astype(np.float64) for side in cache.training_sides())
        direction = fitted(positive, negative).astype(np.float64)
        means = float((positive @ direction).mean()), float((negative @ direction).mean())
        return cls(direction, sum(means) / 2, means[0] - means[1])

    def read(self, activations: np.ndarray) -> np.ndarray:
        """Projections of activations (texts, hidden): 0 at the threshold, 1/2 at the mean of the positive training texts.

        NaN where the training sides coincide.
        """
        above = activations.astype(np.float64) @ self.direction - self.threshold
        return above / self.separation if self.separation > 0 else np.full(len(above), np.nan)


def reading_inputs(
    study: Study, model: Model, card: Mapping[str, Any], caches: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Everything that determines a model's readings, given what determines the caches of its concepts.

    The detection, the texts and the games are there: of these it holds the fingerprints. Raises InputError.
    """
    paths = study.paths
    inputs = {"numerics": NUMERICS, "model": card["digest"], "chat_template": card["chat_template"], "caches": dict(caches)}
    inputs["detection"] = read_fingerprint(paths.detection(model.name))
    inputs["texts"] = {name: read_fingerprint(paths.texts(name)) for name in study.authors_of(model.name)}
    inputs["games"] = {name: read_fingerprint(paths.transcripts(name)) for name in study.games_read(model.name)}
    return {**inputs, **reading_settings(study, model)}


def read_model(study: Study, model: Model) -> None:
    """Write what a model reads in its own texts and games and in those of the first steered model, and in held-out pairs.

    texts: a row per text of `written`, answers in games (`said_in`) among them, with `block` and `projection` (`Reader.read`),
    and what the control concept's direction at that block reads there. pairs: a row per held-out text and block. A steered text
    is read without the push, as any other. Raises InputError.
    """
    started = time.monotonic()
    sets, card = pair_sets(study), read_card(study.paths.card(model.name, model.key))
    paths = {name: activations_path(study, model, pairs) for name, pairs in sets.items()}
    path = paths[study.concept]
    inputs = reading_inputs(study, model, card, {name: read_inputs(one) for name, one in paths.items()})
    made_from = {of: {**inputs, "of": of} for of in READINGS}
    if all(is_fresh(study.paths.readings(model.name, of), own) for of, own in made_from.items()):
        print(f"the readings of {model.name} are up to date", file=sys.stderr)
        return
    blocks = [layer for layer in study.layers_of(model) if layer != EMBEDDINGS]
    block = chosen_block(study, model)
    caches = {layer: read_layer(path, layer) for layer in blocks}
    limit = study.criteria.trend_alpha
    tables = [(name, read_table(study.paths.texts(name)).to_pandas()) for name in study.authors_of(model.name)]
    for name in study.games_read(model.name):
        tables += [(name, said_in(turns.to_pandas())) for turns in read_row_groups(study.paths.transcripts(name))]
    texts = pd.concat([written(table, name, name == model.name, limit) for name, table in tables], ignore_index=True)
    readers = {"projection": Reader.of(caches[block])}
    if study.control_concept:
        readers[OF_CONTROL] = Reader.of(read_layer(paths[study.control_concept], block))
    found, loading = projected(study, card, sets[study.concept], texts, block, readers)
    cost = {"seconds": time.monotonic() - started - loading, "load_seconds": loading, "peak_memory_mb": peak_memory_mb()}
    held_out = pd.concat([held_out_rows(caches[layer], layer) for layer in blocks], ignore_index=True)
    for name, table in (("texts", found), ("pairs", held_out)):
        plain = pa.Table.from_pandas(table, preserve_index=False)
        write_table(plain, study.paths.readings(model.name, name), made_from[name], cost)


def chosen_block(study: Study, model: Model) -> int:
    """The block that detection chose. Raises InputError."""
    path = study.paths.detection(model.name)
    rows = read_table(path, needs={"metric": "text", "estimate": "number?"}).to_pylist()
    chosen = [row["estimate"] for row in rows if row["metric"] == "selected_layer"]
    if len(chosen) != 1:
        raise InputError(f"{path}: one chosen block is expected, there are {len(chosen)}")
    return int(chosen[0])


def written(texts: pd.DataFrame, author: str, own: bool, limit: float) -> pd.DataFrame:
    """The texts that are read: KEY, IN_GAMES and text; unsteered and prompted ones, and of one's own those of the probe's arm.

    The latter within |alpha| <= limit. An unsteered text, which stands at every steered layer, is there once, without a layer.
    """
    steered = (texts["arm"] == PROBE_ARM) & (texts["alpha"].abs() <= limit) & own
    shown = texts[steered | texts["arm"].isin([BASELINE_ARM, *PROMPTED_ARMS])].assign(author=author)
    shown["layer"] = shown["layer"].where(shown["arm"] == PROBE_ARM).astype("Int32")
    columns = [*KEY, *IN_GAMES, "text"]
    return shown.reindex(columns=columns).astype({"variant": "string", "turn": "Int32"}).drop_duplicates(columns[:-1])


def said_in(turns: pd.DataFrame) -> pd.DataFrame:
    """Answers in games in which somebody is in need, as texts: a game is the scenario, its seed the sample."""
    asked = turns[turns["variant"].isin(ASKED)]
    texts = asked.rename(columns={"game": "scenario", "seed": "sample", "answer": "text"})
    return texts[[*KEY[1:], *IN_GAMES, "text"]]


def projected(
    study: Study, card: Mapping[str, Any], pairs: PairSet, texts: pd.DataFrame, block: int, readers: Mapping[str, Reader]
) -> tuple[pd.DataFrame, float]:
    """The texts with `block` and a column per reader, and the seconds of loading.

    Left out are texts without content, and those of a scenario (a game) that the concept does not have, where a text is read as
    the answer to its scenario. What was written twice is read once.
    """
    from probesteer.lm.capture import pooled_activations
    from probesteer.lm.load import load_card

    started = time.monotonic()
    language_model, tokenizer = load_card(card)
    loading = time.monotonic() - started
    special = {*tokenizer.all_special_ids}
    distinct = texts[["scenario", "text"]].drop_duplicates()
    if pairs.prompts is not None:
        distinct = distinct[distinct["scenario"].isin(pairs.prompts)]
    distinct = distinct[[not special.issuperset(tokenizer(text)["input_ids"][1:]) for text in distinct["text"]]]
    rows = list(distinct.itertuples(index=False, name=None))
    shown = read_texts(tokenizer, rows, pairs.prompts, card["chat_template"])
    found = pooled_activations(language_model, tokenizer, shown, [block], study.pooling, max_tokens=study.max_text_tokens)
    read = {name: reader.read(found[:, 0]) for name, reader in readers.items()}
    kept = texts.merge(distinct.assign(block=block, **read), on=["scenario", "text"])
    print(f"{len(texts) - len(kept)} of {len(texts)} texts have nothing to read", file=sys.stderr)
    return kept.drop(columns="text"), loading


def held_out_rows(cache: LayerActivations, layer: int) -> pd.DataFrame:
    """The held-out texts at a layer: scenario, group, positive, projection."""
    design = cache.design
    columns = {"group": design.groups, "scenario": cache.names["scenario"], "positive": design.labels}
    table = pd.DataFrame(columns).assign(layer=layer, projection=Reader.of(cache).read(cache.activations))
    return table[design.test]
