"""Concept erasure: what a linear probe reads, taken out of activations. It stands here because the library works on tensors."""

import numpy as np


def erase(activations: np.ndarray, labels: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Activations (texts, hidden) without what tells labels (texts,) apart linearly, as seen on the texts `fit`, bool (texts,).

    LEACE (Belrose et al. 2023): the smallest change, in least squares, after which no linear classifier of the texts `fit` can
    do better than a constant. The library's shrinkage of the covariance (which can turn negative where all variances are
    alike) and its bound on the variance are off: both may leave a part of the difference in, and nothing flows into a model.
    """
    import torch
    from concept_erasure import LeaceEraser

    tensor = torch.from_numpy(activations.astype(np.float64))
    inside = torch.from_numpy(fit)
    sides = torch.from_numpy(labels.astype(np.float64))
    eraser = LeaceEraser.fit(tensor[inside], sides[inside], shrinkage=False, constrain_cov_trace=False)
    return eraser(tensor).numpy()
