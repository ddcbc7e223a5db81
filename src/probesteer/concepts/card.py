"""The pairs of a study as one table with their clusters of near-duplicates, and the data card: how alike the two sides are."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from probesteer.concepts.data import PairSet
from probesteer.concepts.duplicates import pair_clusters
from probesteer.concepts.pairs import Pair
from probesteer.files.tables import read_table, write_table

NUMERICS = 3  # bump by hand when the same pairs give other clusters or splits
FACTOR = "factor."  # how the columns of crossed factors begin
FORMATTING = re.compile(r"[*_#`\n\t<>\[\]{}|]")


def pairs_inputs(pairs: PairSet) -> dict[str, Any]:
    """Everything that determines both tables; its digest is their fingerprint."""
    return {"numerics": NUMERICS, "pairs": pairs.key}


def write_pair_tables(pairs: PairSet, table: Path, card: Path) -> None:
    """Write the pairs with their clusters, and their data card. Raises InputError for a wrong pair."""
    loaded = pairs.load()
    clusters = cluster_names(loaded)
    rows = [
        {**pair.model_dump(exclude={"factors"}), **factor_columns(pair), "cluster": cluster}
        for pair, cluster in zip(loaded, clusters, strict=True)
    ]
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    write_table(pa.Table.from_pylist(rows, schema), table, pairs_inputs(pairs))
    write_table(pa.Table.from_pandas(data_card(loaded, clusters), preserve_index=False), card, pairs_inputs(pairs))


def read_pairs(path: Path) -> tuple[list[Pair], list[str]]:
    """The pairs and the name of each one's cluster. Raises InputError."""
    rows = read_table(path, needs={"id": "text", "cluster": "text"}).to_pylist()
    clusters = [row.pop("cluster") for row in rows]
    factors = [{name.removeprefix(FACTOR): row.pop(name) for name in [*row] if name.startswith(FACTOR)} for row in rows]
    return [Pair.model_construct(**row, factors=own) for row, own in zip(rows, factors, strict=True)], clusters


def factor_columns(pair: Pair) -> dict[str, str]:
    """The columns of a table that hold a pair's levels."""
    return {f"{FACTOR}{name}": level for name, level in pair.factors.items()}


def cluster_names(pairs: Sequence[Pair]) -> list[str]:
    """The cluster of near-duplicates and of pairs of one situation that each pair belongs to, named by its first pair."""
    clusters = pair_clusters(pairs)
    return [pairs[int(np.argmax(clusters == cluster))].id for cluster in clusters]


def data_card(pairs: Sequence[Pair], clusters: Sequence[str]) -> pd.DataFrame:
    """One row per split: how many pairs, scenarios, voices, generators and clusters of near-duplicates there are.

    For each side the mean words and the share of texts with formatting; and the share of pairs whose positive side is the
    longer one, 0.5 where they are balanced. Of crossed pairs also how many situations there are, and pairs of each level.
    """
    levels = {(name, level): None for pair in pairs for name, level in pair.factors.items()}  # in order, as a set is not
    rows = []
    for split in ("train", "test"):
        own = [pair for pair in pairs if pair.split == split]
        row: dict[str, object] = {"split": split, "pairs": len(own)}
        row |= {f"{name}s": len({getattr(pair, name) for pair in own}) for name in ("scenario", "voice")}
        row["generators"] = len({pair.generator_of(side) for pair in own for side in (True, False)} - {None})
        row["clusters"] = len({cluster for pair, cluster in zip(pairs, clusters, strict=True) if pair.split == split})
        if any(pair.situation for pair in pairs):
            row["situations"] = len({pair.situation or pair.id for pair in own})
        row |= {f"{name}_{level}": sum(pair.factors[name] == level for pair in own) for name, level in levels}
        for side in ("positive", "negative"):
            texts = [getattr(pair, side) for pair in own]
            row[f"words_{side}"] = float(np.mean([len(text.split()) for text in texts]))
            row[f"formatted_{side}"] = float(np.mean([bool(FORMATTING.search(text)) for text in texts]))
        row["longer_positive"] = float(np.mean([len(pair.positive) > len(pair.negative) for pair in own]))
        rows.append(row)
    return pd.DataFrame(rows)
