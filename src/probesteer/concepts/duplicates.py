"""Near-duplicate texts: pairs that count as one observation."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SHINGLE_WORDS = 5
NEAR = 0.5  # Jaccard similarity of word shingles


def shingles(text: str) -> set[tuple[str, ...]]:
    """All runs of SHINGLE_WORDS words, lower-cased; the whole text where it is shorter."""
    words = text.lower().split()
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def near_duplicate_clusters(pairs: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The cluster of each group of texts, such as a contrastive pair: int (groups,).

    Two groups share a cluster where a text of one and a text of the other have a Jaccard similarity of at least NEAR, or
    through a chain of such groups (Broder 1997, "On the resemblance and containment of documents").
    """
    sets = [[shingles(text) for text in texts] for texts in pairs]
    owners: dict[tuple[str, ...], list[int]] = {}
    for group, texts in enumerate(sets):
        for shingle in set().union(*texts):
            owners.setdefault(shingle, []).append(group)
    # only groups that share a shingle can be near
    candidates = {pair for groups in owners.values() for pair in combinations(groups, 2)}
    near = [pair for pair in candidates if any(len(a & b) >= NEAR * len(a | b) for a in sets[pair[0]] for b in sets[pair[1]])]
    left, right = np.array(near, dtype=int).reshape(-1, 2).T
    return linked(left, right, len(sets))


def linked(left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """The connected component of each of `size` things, where left[i] and right[i] are linked: int (size,)."""
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(size, size))
    return connected_components(graph, directed=False)[1]
