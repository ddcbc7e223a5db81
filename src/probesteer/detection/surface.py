"""How well the surface of a text tells the sides apart, without any model: what a probe must beat."""

import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from probesteer.concepts.words import word_pattern
from probesteer.detection.design import Design

# (training texts, training labels, test texts, word list) to test scores (texts,)
Baseline = Callable[[Sequence[str], np.ndarray, Sequence[str], Sequence[str]], np.ndarray]
MARKS = {
    "lines": r"\n",
    "bullets": r"(?m)^\s*(?:[-*•]|\d+[.)])\s",
    "headings": r"(?m)^\s*#|\*\*",
    "digits": r"\d",
    "quotes": r"[\"“”«»]",
    "questions": r"\?",
    "exclamations": r"!",
    "commas": r",",
    "stops": r"[.;:]",
    "brackets": r"[()\[\]]",
    "capitals": r"\b[A-Z]{2,}\b",
}
FIRST_WORDS = 3


def lengths(texts: Sequence[str]) -> np.ndarray:
    """Logarithms of one plus characters and words: (texts, 2)."""
    return np.log1p([[len(text), len(text.split())] for text in texts])


def marks(texts: Sequence[str]) -> np.ndarray:
    """Counts of each kind in MARKS per 100 characters: (texts, kinds)."""
    counts = [[len(re.findall(pattern, text)) for pattern in MARKS.values()] for text in texts]
    return 100 * np.array(counts, dtype=float) / np.maximum(1, [len(text) for text in texts])[:, None]


def form(texts: Sequence[str]) -> np.ndarray:
    """Length and formatting marks together: (texts, features)."""
    return np.hstack([lengths(texts), marks(texts)])


def classified(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Decision values on `test` of a logistic regression fitted on `train`, features scaled by their largest value."""
    model = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=1000))
    return model.fit(train, labels).decision_function(test)


def tfidf(analyzer: str, ngrams: tuple[int, int]) -> Baseline:
    def baseline(train: Sequence[str], labels: np.ndarray, test: Sequence[str], _words: Sequence[str]) -> np.ndarray:
        """Projection on the difference of the class means of TF-IDF vectors."""
        vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True)
        tokens = vectorizer.build_analyzer()
        if not any(tokens(text) for text in train):  # single letters or emoji: no word tells the sides apart
            return np.zeros(len(test))
        vectors = vectorizer.fit_transform(train)
        direction = vectors[labels].mean(0) - vectors[~labels].mean(0)
        return np.asarray(vectorizer.transform(test) @ np.asarray(direction).ravel())

    return baseline


def function_words(train: Sequence[str], labels: np.ndarray, test: Sequence[str], _words: Sequence[str]) -> np.ndarray:
    """A bag of English function words."""
    bag = CountVectorizer(vocabulary=sorted(ENGLISH_STOP_WORDS), token_pattern=r"(?u)\b\w+\b")
    return classified(bag.transform(train).toarray(), labels, bag.transform(test).toarray())


def first_words(train: Sequence[str], labels: np.ndarray, test: Sequence[str], _words: Sequence[str]) -> np.ndarray:
    """The first three words, each at its place."""

    def analyzer(text: str) -> list[str]:
        return [f"{place} {word}" for place, word in enumerate(text.lower().split()[:FIRST_WORDS])]

    bag = CountVectorizer(analyzer=analyzer)
    return classified(bag.fit_transform(train).toarray(), labels, bag.transform(test).toarray())


def keyword_count(train: Sequence[str], labels: np.ndarray, test: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """Which words of the concept's list occur; each counts for the side that it is commoner on in training."""
    patterns = [word_pattern(word) for word in words]

    def found(texts: Sequence[str]) -> np.ndarray:
        return np.array([[bool(pattern.search(text.lower())) for pattern in patterns] for text in texts], dtype=float)

    on_train = found(train).reshape(len(train), -1)
    return found(test).reshape(len(test), -1) @ np.sign(on_train[labels].mean(0) - on_train[~labels].mean(0))


def features(extract: Callable[[Sequence[str]], np.ndarray]) -> Baseline:
    def baseline(train: Sequence[str], labels: np.ndarray, test: Sequence[str], _words: Sequence[str]) -> np.ndarray:
        return classified(extract(train), labels, extract(test))

    return baseline


BASELINES: dict[str, Baseline] = {
    "TF-IDF of words": tfidf("word", (1, 1)),
    "TF-IDF of characters": tfidf("char_wb", (2, 5)),
    "keyword count": keyword_count,
    "function words": function_words,
    "first words": first_words,
    "length": features(lengths),
    "formatting marks": features(marks),
}


def surface_scores(texts: Sequence[str], design: Design, words: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of the held-out texts by every baseline fitted on the training texts; without a word list no keyword count."""
    train, labels = design.train, design.labels
    fit = [text for text, inside in zip(texts, train, strict=True) if inside]
    out = [text for text, inside in zip(texts, train, strict=True) if not inside]
    return {
        name: baseline(fit, labels[train], out, words)
        for name, baseline in BASELINES.items()
        if words or baseline is not keyword_count
    }


def told_by(names: np.ndarray, design: Design) -> np.ndarray:
    """Scores of the held-out texts by a name alone, such as a generator's: the share of its training texts that are positive.

    names (texts,); a name that no training text has scores one half.
    """
    shares = {name: design.labels[design.train & (names == name)].mean() for name in set(names[design.train])}
    return np.array([shares.get(name, 0.5) for name in names[design.test]])
