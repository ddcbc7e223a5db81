"""Near-duplicate texts: pairs that count as one observation."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import ceil

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
    links = list(_links([[shingles(text) for text in texts] for texts in pairs]))
    left, right = np.array(links, dtype=int).reshape(-1, 2).T
    return linked(left, right, len(pairs))


def _links(groups: Sequence[Sequence[set[tuple[str, ...]]]]) -> Iterator[tuple[int, int]]:
    """Links that join every cluster of groups.

    Two sets of that similarity share one of each other's rarest elements, all but ceil(NEAR n) - 1 of n, so only these are
    looked up (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): an opening that all texts share is
    not. Groups that are linked already are not compared again.
    """
    count = Counter(shingle for texts in groups for own in texts for shingle in own)
    seen: dict[tuple[str, ...], list[tuple[int, set[tuple[str, ...]]]]] = defaultdict(list)
    cluster = list(range(len(groups)))
    members = {group: [group] for group in cluster}
    for group, texts in enumerate(groups):
        for own in texts:
            rarest = sorted(own, key=lambda shingle: (count[shingle], shingle))[: len(own) - ceil(NEAR * len(own)) + 1]
            for shingle in rarest:
                for other, its in seen[shingle]:
                    if cluster[other] != cluster[group] and len(own & its) >= NEAR * len(own | its):
                        yield other, group
                        joined = members.pop(cluster[group])
                        members[cluster[other]] += joined
                        for one in joined:
                            cluster[one] = cluster[other]
                seen[shingle].append((group, own))


def linked(left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """The connected component of each of `size` things, where left[i] and right[i] are linked: int (size,)."""
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(size, size))
    return connected_components(graph, directed=False)[1]
