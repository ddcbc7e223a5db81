"""The data card: what the pairs of a study are, and how alike their two sides are in length and format."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from probesteer.duplicates import near_duplicate_clusters
from probesteer.pairs import Pair

FORMATTING = re.compile(r"[*_#`\n\t<>\[\]{}|]")


def data_card(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per split: how many pairs, scenarios, voices, generators and clusters of near-duplicates there are.

    For each side the mean words and the share of texts with formatting; and the share of pairs whose positive side is the
    longer one, 0.5 where they are balanced.
    """
    clusters = near_duplicate_clusters([(pair.positive, pair.negative) for pair in pairs])
    rows = []
    for split in ("train", "test"):
        own = [pair for pair in pairs if pair.split == split]
        row: dict[str, object] = {"split": split, "pairs": len(own)}
        row |= {f"{name}s": len({getattr(pair, name) for pair in own} - {None}) for name in ("scenario", "voice", "generator")}
        row["clusters"] = len({clusters[index] for index, pair in enumerate(pairs) if pair.split == split})
        for side in ("positive", "negative"):
            texts = [getattr(pair, side) for pair in own]
            row[f"words_{side}"] = float(np.mean([len(text.split()) for text in texts]))
            row[f"formatted_{side}"] = float(np.mean([bool(FORMATTING.search(text)) for text in texts]))
        row["longer_positive"] = float(np.mean([len(pair.positive) > len(pair.negative) for pair in own]))
        rows.append(row)
    return pd.DataFrame(rows)
