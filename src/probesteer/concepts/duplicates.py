"""Near-duplicate texts: pairs that count as one observation."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SHINGLE_WORDS = 5
NEAR = 0.5  # Jaccard similarity of word shingles
NEAR_ORDERED = 0.65  # of words in order: with every fifth one changed it is 2/3

Parts = dict[Any, None]  # a set that keeps its order


def shingles(text: str) -> set[tuple[str, ...]]:
    """All runs of SHINGLE_WORDS words, lower-cased; the whole text where it is shorter."""
    words = text.lower().split()
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def counted_words(text: str) -> Parts:
    """The words in order, lower-cased, each with how often it came before, so that none is there twice."""
    seen: Counter[str] = Counter()
    found: Parts = {}
    for word in text.lower().split():
        found[word, seen[word]] = None
        seen[word] += 1
    return found


def longest_common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, a bit for each place of `first` (Hyyrö 2004)."""
    places: dict[Hashable, int] = defaultdict(int)
    for place, item in enumerate(first):
        places[item] |= 1 << place
    every = row = (1 << len(first)) - 1
    for item in second:
        found = row & places.get(item, 0)
        row = (row + found | row - found) & every
    return len(first) - row.bit_count()


def near_duplicate_clusters(pairs: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The cluster of each group of texts, such as a contrastive pair: int (groups,).

    Two groups share a cluster where a text of one and a text of the other have a Jaccard similarity of at least NEAR in
    shingles (Broder 1997, "On the resemblance and containment of documents"), which finds sentences in another order, or of
    at least NEAR_ORDERED in words that both have in one order, which finds a template filled in; or through a chain of such
    groups.
    """
    by_shingle = _links([[dict.fromkeys(shingles(text)) for text in texts] for texts in pairs], NEAR)
    by_order = _links([[counted_words(text) for text in texts] for texts in pairs], NEAR_ORDERED, near_in_order)
    left, right = np.array([*by_shingle, *by_order], dtype=int).reshape(-1, 2).T
    return linked(left, right, len(pairs))


def near_in_order(first: Parts, second: Parts, least: float) -> bool:
    """Whether the words (of `counted_words`) that two texts have in one order are that share of all their words."""
    words = [[word for word, _ in own] for own in (first, second)]
    common = longest_common(*words)
    return common >= least * (len(first) + len(second) - common)


def near(first: Parts, second: Parts, least: float) -> bool:
    """Whether the Jaccard similarity of two sets is at least `least`."""
    common = len(first.keys() & second.keys())
    return common >= least * (len(first) + len(second) - common)


def _links(
    groups: Sequence[Sequence[Parts]], least: float, alike: Callable[[Parts, Parts, float], bool] = near
) -> Iterator[tuple[int, int]]:
    """Links that join every cluster of groups: of sets that are alike, which a Jaccard similarity below `least` cannot be.

    Two sets of that similarity share one of each other's rarest elements, all but ceil(least n) - 1 of n, so only these are
    looked up (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): an opening that all texts share is
    not. Groups that are linked already are not compared again.
    """
    count = Counter(part for texts in groups for own in texts for part in own)
    seen: dict[Hashable, list[tuple[int, Parts]]] = defaultdict(list)
    cluster = list(range(len(groups)))
    members = {group: [group] for group in cluster}
    for group, texts in enumerate(groups):
        for own in texts:
            rarest = sorted(own, key=lambda part: (count[part], part))[: len(own) - ceil(least * len(own)) + 1]
            for part in rarest:
                for other, its in seen[part]:
                    if cluster[other] != cluster[group] and alike(own, its, least):
                        yield other, group
                        joined = members.pop(cluster[group])
                        members[cluster[other]] += joined
                        for one in joined:
                            cluster[one] = cluster[other]
                seen[part].append((group, own))


def linked(left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """The connected component of each of `size` things, where left[i] and right[i] are linked: int (size,)."""
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(size, size))
    return connected_components(graph, directed=False)[1]
