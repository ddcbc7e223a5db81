"""How often is a direction said to be carried between models that share nothing?"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from probesteer.compare.maps import METHODS
from probesteer.compare.transfer import Layer, transfer
from probesteer.compare.verdicts import judged
from probesteer.detection.design import Design

Run = Callable[[partial, int], list]
LEVEL = 0.05
RANKED = ("cosine", "auroc", "slope")


def model(rng: np.random.Generator, hidden: int, pairs: int = 60, texts: int = 200, apart: float = 3.0) -> Layer:
    """A layer that reads a behaviour along an axis of its own, and neutral texts in a code of its own."""
    labels, group = np.tile([True, False], pairs), np.repeat(np.arange(pairs), 2)
    axis = rng.standard_normal(hidden) / np.sqrt(hidden)
    sizes = np.linspace(2, 0.5, hidden)
    read = rng.standard_normal((2 * pairs, hidden)) * sizes + apart * labels[:, None] * axis
    design = Design(labels, group, group % 2 == 0, group // 2 % 5)
    gradients = 0.3 * rng.standard_normal((16, hidden)) + axis
    return Layer(read, design, rng.standard_normal((texts, hidden)) * sizes, gradients)


def rotated(layer: Layer, rng: np.random.Generator, width: int | None = None) -> Layer:
    """The same layer in another basis, and so in another model."""
    hidden = layer.corpus.shape[1]
    turn = np.linalg.qr(rng.standard_normal((width or hidden, width or hidden)))[0][:hidden]
    return Layer(layer.activations @ turn + 3, layer.design, layer.corpus @ turn + 3, layer.gradients @ turn)


def errors(seed: int, maps: int = 200, hidden: int = 24) -> dict[str, bool]:
    """Of two models that share nothing, two layers each: whether a statistic of a method says otherwise, and the verdict.

    The neutral texts are drawn apart, so that the observed order is one of all orders: a rank test errs in 10 of 201 at .05.
    """
    rng = np.random.default_rng([seed, maps, hidden])
    source, target, twin = ({layer: model(rng, hidden) for layer in range(2)} for _ in range(3))
    table = pd.DataFrame(transfer(source, target, twin, maps, seed)).assign(source="a", target="b")
    said = judged(table, {"a", "b"}).set_index("method")
    wrong = {f"{method}: {name}": said.loc[method, f"{name}_p"] <= LEVEL for method in METHODS for name in RANKED}
    return wrong | {f"{method}: transfers": said.loc[method, "transfers"] == "yes" for method in METHODS}


def carried(run: Run, sets: int) -> Iterator[str]:
    """Rates of errors over `sets` pairs of models that share nothing."""
    rates = pd.DataFrame(run(partial(errors), sets)).mean()
    yield "| method | cosine | AUROC | slope | verdict |"
    yield "|---|---|---|---|---|"
    for method in METHODS:
        yield f"| {method} | " + " | ".join(f"{rates[f'{method}: {name}']:.3f}" for name in (*RANKED, "transfers")) + " |"
