"""How a direction is fitted to the two sides of training pairs."""

from collections.abc import Callable

import numpy as np

from probesteer.errors import InputError

COINCIDE = 1e-9  # of the length of the class means: closer ones differ by rounding alone


def coincide(positive: np.ndarray, negative: np.ndarray) -> bool:
    """Whether the means of both sides, (texts, hidden) each, are the same, so that there is no direction between them."""
    means = [side.mean(0, dtype=np.float64) for side in (positive, negative)]
    return bool(np.linalg.norm(means[0] - means[1]) <= COINCIDE * max(map(np.linalg.norm, means)))


def mean_difference(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit vector from the mean of `negative` to the mean of `positive`, both (texts, hidden), and its length.

    The length is the class separation: the distance of the class means along the direction.
    Raises InputError where the means coincide or a value is not finite.
    """
    difference = positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)
    separation = float(np.linalg.norm(difference))
    if not np.isfinite(separation):
        raise InputError("activations hold NaN or Inf; use a wider dtype")
    if coincide(positive, negative):
        raise InputError("the class means coincide: there is no direction between them")
    return (difference / separation).astype(np.float32), separation


def _towards(direction: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit vector along `direction` that points from `negative` to `positive`, and the class separation along it."""
    unit = direction / np.linalg.norm(direction)
    separation = float(unit @ (positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)))
    return (unit * (1 if separation >= 0 else -1)).astype(np.float32), abs(separation)


def logistic(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights of an L2-penalised logistic regression (C = 1) on activations scaled to unit mean square."""
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([positive, negative]).astype(np.float64)
    labels = np.arange(len(both)) < len(positive)
    scale = np.sqrt(((both - both.mean(0)) ** 2).sum(1).mean())
    weights = LogisticRegression(max_iter=1000).fit((both - both.mean(0)) / scale, labels).coef_[0]
    return _towards(weights, positive, negative)


def lda(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """Fisher's discriminant with the Ledoit-Wolf covariance within class, inverted through the (texts, texts) Gram matrix.

    Ledoit and Wolf 2004, Journal of Multivariate Analysis 88; the inverse by Woodbury's identity.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    within = np.concatenate([positive - positive.mean(0), negative - negative.mean(0)]).astype(np.float64)
    shrinkage = ledoit_wolf_shrinkage(within, assume_centered=True)
    texts, hidden = within.shape
    ridge = max(shrinkage * (within**2).sum() / (texts * hidden), 1e-12)
    share = (1 - shrinkage) / texts
    difference = positive.mean(0, dtype=np.float64) - negative.mean(0, dtype=np.float64)
    inner = ridge * np.eye(texts) + share * within @ within.T
    weights = difference - share * within.T @ np.linalg.solve(inner, within @ difference)
    return _towards(weights, positive, negative)


def pca_differences(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, float]:
    """The first principal axis of the differences within pairs, not centred (Zou et al. 2023, "Representation engineering").

    Row i of both is a pair. Raises InputError where the sides differ in number.
    """
    if len(positive) != len(negative):
        raise InputError(f"pca_differences needs pairs; there are {len(positive)} positive and {len(negative)} negative texts")
    differences = positive.astype(np.float64) - negative
    gram = differences @ differences.T
    return _towards(differences.T @ np.linalg.eigh(gram)[1][:, -1], positive, negative)


Method = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]
METHODS: dict[str, Method] = {
    "mean_difference": mean_difference,
    "logistic": logistic,
    "lda": lda,
    "pca_differences": pca_differences,
}


def fitted(positive: np.ndarray, negative: np.ndarray, method: str = "mean_difference") -> np.ndarray:
    """The direction (hidden,) of two sides (texts, hidden); zero, which tells nothing apart, where these coincide."""
    return np.zeros(positive.shape[1]) if coincide(positive, negative) else METHODS[method](positive, negative)[0]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of two directions, each a unit vector; NaN where one is zero, and none."""
    return float(first @ second) if first.any() and second.any() else float("nan")
