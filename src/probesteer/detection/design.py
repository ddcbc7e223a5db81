"""The design of a measurement: which side each text is on, what it is grouped with, what it is fitted or tested on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Design:
    """Of each text; every array is (texts,)."""

    labels: np.ndarray
    """bool: True for the positive side."""
    groups: np.ndarray
    """Names of pairs, or of clusters of near-duplicate pairs: the unit of resampling and permutation."""
    train: np.ndarray
    """bool: what directions and thresholds are fitted on; the rest is scored once."""
    folds: np.ndarray
    """What cross-validation leaves out together, such as a scenario."""

    @property
    def test(self) -> np.ndarray:
        return ~self.train

    def among(self, texts: np.ndarray) -> "Design":
        """The design of these texts alone, bool (texts,)."""
        return Design(self.labels[texts], self.groups[texts], self.train[texts], self.folds[texts])

    def sides(self, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The training activations (texts, hidden) of the positive and of the negative side."""
        return activations[self.train & self.labels], activations[self.train & ~self.labels]
