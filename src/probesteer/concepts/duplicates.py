"""Near-duplicate texts: pairs that count as one observation."""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from probesteer.concepts.pairs import Pair

SHINGLE_WORDS = 5

NEAR = 0.5  # Jaccard similarity of word shingles
NEAR_ORDERED = 0.65  # of words in order: with every fifth one changed it is 2/3

BLOCK = 512  # sets that are compared with all at once


def shingles(text: str) -> set[tuple[str, ...]]:
    """All runs of SHINGLE_WORDS words, lower-cased; the whole text where it is shorter."""
    words = text.lower().split()
    return {tuple(words[start : start + SHINGLE_WORDS]) for start in range(max(1, len(words) - SHINGLE_WORDS + 1))}


def counted_words(text: str) -> set[tuple[str, int]]:
    """The words, lower-cased, each with how often it came before."""
    seen: Counter[str] = Counter()
    found = set()
    for word in text.lower().split():
        found.add((word, seen[word]))
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


def pair_clusters(pairs: Sequence[Pair]) -> np.ndarray:
    """The cluster of near-duplicates and of pairs of one situation that each pair belongs to: int (pairs,)."""
    return near_duplicate_clusters([(pair.positive, pair.negative) for pair in pairs], [pair.situation for pair in pairs])


def near_duplicate_clusters(pairs: Sequence[tuple[str, ...]], situations: Sequence[str | None] = ()) -> np.ndarray:
    """The cluster of each group of texts, such as a contrastive pair: int (groups,).

    Two groups share a cluster where a text of one and a text of the other have a Jaccard similarity of at least NEAR in
    shingles (Broder 1997, "On the resemblance and containment of documents"), which finds sentences in another order, or of
    at least NEAR_ORDERED in words that both have in one order, which finds a template filled in; or where both tell one of the
    `situations` (groups,), of which None is none; or through a chain of such groups.
    """
    texts = [text for group in pairs for text in group]
    of = np.repeat(np.arange(len(pairs)), [len(group) for group in pairs])
    alike = [*near_pairs([shingles(text) for text in texts], NEAR)]
    alike += [pair for pair in near_pairs([counted_words(text) for text in texts], NEAR_ORDERED) if _in_order(texts, *pair)]
    first: dict[str, int] = {}
    told = [(first.setdefault(name, number), number) for number, name in enumerate(situations) if name is not None]
    left, right = np.concatenate([of[np.array(alike, dtype=int).reshape(-1, 2)], np.array(told, dtype=int).reshape(-1, 2)]).T
    return linked(left, right, len(pairs))


def _in_order(texts: Sequence[str], first: int, second: int) -> bool:
    """Whether the words that two texts have in one order are NEAR_ORDERED of all their words."""
    words = [texts[number].lower().split() for number in (first, second)]
    common = longest_common(*words)
    return common >= NEAR_ORDERED * (sum(map(len, words)) - common)


def near_pairs(sets: Sequence[Collection[Hashable]], least: float) -> Iterator[tuple[int, int]]:
    """The pairs of sets, by their numbers, whose Jaccard similarity is at least `least`."""
    column: dict[Hashable, int] = {}
    columns = [column.setdefault(part, len(column)) for own in sets for part in own]
    sizes = np.array([len(own) for own in sets])
    rows = np.repeat(np.arange(len(sets)), sizes)
    members = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(sets), len(column)))
    for start in range(0, len(sets), BLOCK):
        common = (members[start : start + BLOCK] @ members[: start + BLOCK].T).toarray()
        union = sizes[start : start + BLOCK, None] + sizes[None, : start + BLOCK] - common
        for row, other in zip(*np.nonzero(common >= least * union), strict=True):
            if other < start + row:
                yield int(other), int(start + row)


def linked(left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """The connected component of each of `size` things, where left[i] and right[i] are linked: int (size,)."""
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(size, size))
    return connected_components(graph, directed=False)[1]
