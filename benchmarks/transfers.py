"""How often is a direction said to be carried where there is nothing to carry it to?"""

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import pandas as pd

from probesteer.compare.maps import METHODS
from probesteer.compare.transfer import Layer, Layers, transfer
from probesteer.compare.verdicts import judged
from probesteer.concepts.card import cluster_names
from probesteer.concepts.concept import load_concept
from probesteer.concepts.neutral import corpus_file, read_corpus
from probesteer.concepts.pairs import load_pairs
from probesteer.detection.design import Design
from probesteer.detection.forecast import TOKENS, some_of
from probesteer.study.model import Model
from probesteer.study.paths import CONCEPTS, PAIRS_FILE

Run = Callable[[partial, int], list]
LEVEL = 0.05
RANKED = ("cosine", "auroc", "slope")
NOTHING = {"auroc": 0.5, "slope": 0.0, "above_twin": 0.0}  # what an interval should hold where nothing is read
# What the target is: a model that reads something of its own in texts of its own, noise, and a random twin, which reads the
# words of the same texts as the source and nothing of what its direction means.
OTHER, NOISE, TWIN = "another model", "noise", "a twin"
PAIRS, TEXTS, MAPS = 60, 200, 99  # of 100 orders the observed one is among the first five by chance in 5 %


def model(rng: np.random.Generator, hidden: int, apart: float = 3.0, said: np.ndarray | None = None) -> Layer:
    """A layer that reads a behaviour along an axis of its own, and neutral texts in a code of its own.

    said: what the texts of the pairs and the neutral ones are about (2 PAIRS + TEXTS, hidden), where other models read it too.
    """
    labels, group = np.tile([True, False], PAIRS), np.repeat(np.arange(PAIRS), 2)
    axis = rng.standard_normal(hidden) / np.sqrt(hidden)
    said = rng.standard_normal((2 * PAIRS + TEXTS, hidden)) if said is None else said
    read = said * np.linspace(2, 0.5, hidden) @ np.linalg.qr(rng.standard_normal((hidden, hidden)))[0]
    gradients = 0.3 * rng.standard_normal((16, hidden)) + axis * bool(apart)
    design = Design(labels, group, group % 2 == 0, group // 2 % 5)
    return Layer(read[: 2 * PAIRS] + apart * labels[:, None] * axis, design, read[2 * PAIRS :], gradients)


def rotated(layer: Layer, rng: np.random.Generator, width: int | None = None) -> Layer:
    """The same layer in another basis, and so in another model."""
    hidden = layer.corpus.shape[1]
    turn = np.linalg.qr(rng.standard_normal((width or hidden, width or hidden)))[0][:hidden]
    return Layer(layer.activations @ turn + 3, layer.design, layer.corpus @ turn + 3, layer.gradients @ turn)


def said_of(source: Layers, target: Layers, twin: Layers, maps: int, seed: int, empty: bool) -> dict[str, bool]:
    """Whether a test of a method says that a direction is carried, or, into an `empty` target, an interval that it is not 0."""
    table = pd.DataFrame(transfer(source, target, twin, maps, seed)).assign(source="a", target="b")
    said = judged(table, {"a", "b"}).set_index("method")
    found = {}
    for method in METHODS:
        row = said.loc[method]
        found |= {f"{method}: {name}": row[f"{name}_p"] <= LEVEL for name in RANKED}
        for name, truth in NOTHING.items() if empty else ():
            found[f"{method}: {name}'s interval"] = not row[f"{name}_lower"] <= truth <= row[f"{name}_upper"]
        found[f"{method}: verdict"] = row["transfers"] == "yes"
    return found


def errors(seed: int, target: str = OTHER, maps: int = MAPS, hidden: int = 24) -> dict[str, bool]:
    """What is said of a target that shares nothing with the source, two layers each, although both count as detected.

    The rank among shuffled maps errs in 5 of 100 where texts are drawn apart: the observed order is one of all orders.
    """
    rng = np.random.default_rng([seed, maps, hidden])
    said = rng.standard_normal((2 * PAIRS + TEXTS, hidden)) if target == TWIN else None
    source = {layer: model(rng, hidden, said=said) for layer in range(2)}
    second = {layer: model(rng, hidden, 3.0 * (target == OTHER), said) for layer in range(2)}
    twin = {layer: model(rng, hidden, 0.0, said) for layer in range(2)}
    return said_of(source, second, twin, maps, seed, target != OTHER)


SOURCE, SOURCE_BLOCKS, TWIN_OF, TWIN_BLOCKS = "llama", (3,), "qwen2", (1, 4)
CONCEPT = "empathy_grammar"


@cache
def card(name: str) -> dict:
    from probesteer.lm.card import model_card

    return model_card(Model(name=name, source=f"resources/organisms/{name}"), name)


def layers_of(loaded: tuple, blocks: tuple[int, ...], seed: int | None = None) -> dict[int, Layer]:
    """What a loaded model gives at these blocks, of the texts that a study of transfer reads.

    With a seed the sides of random pairs are exchanged, so that there is nothing that they have in common.
    """
    from probesteer.lm.capture import captured_windows
    from probesteer.lm.load import render_prompt
    from probesteer.lm.odds import log_odds_gradient

    folder = CONCEPTS / CONCEPT
    concept, pairs = load_concept(folder), load_pairs({folder / PAIRS_FILE: None})
    prompts = concept.prompts()
    exchanged = np.zeros(len(pairs)) if seed is None else np.random.default_rng(seed).random(len(pairs)) < 0.5
    pairs = [
        pair.model_copy(update={"positive": pair.negative, "negative": pair.positive}) if other else pair
        for pair, other in zip(pairs, exchanged, strict=True)
    ]
    texts = [text for pair in pairs for text in (pair.positive, pair.negative)]
    windows = list(captured_windows(*loaded, [*texts, *read_corpus(corpus_file(folder))], blocks))
    pooled, norms = np.concatenate([one.pooled["mean"] for one in windows]), np.concatenate([one.norms for one in windows])
    gradients = []
    for pair in some_of(pairs, "test"):
        prompt = render_prompt(loaded[1], concept.system_prompts.neutral, prompts[pair.scenario], True)
        gradients.append(log_odds_gradient(*loaded, prompt, (pair.positive, pair.negative), TOKENS, blocks))
    sides = np.repeat(cluster_names(pairs), 2), np.repeat([pair.split == "train" for pair in pairs], 2)
    design = Design(np.tile([True, False], len(pairs)), *sides, np.repeat([pair.scenario for pair in pairs], 2))
    among = slice(len(texts)), slice(len(texts), None)
    along = np.stack(gradients) * norms[among[1]].mean(0)[None, :, None]
    return {block: Layer(pooled[among[0], at], design, pooled[among[1], at], along[:, at]) for at, block in enumerate(blocks)}


@cache
def source_layers() -> dict[int, Layer]:
    from probesteer.lm.load import load_card

    return layers_of(load_card(card(SOURCE)), SOURCE_BLOCKS)


def random_weights(seed: int, maps: int = MAPS) -> dict[str, bool]:
    """The same of an organism and the architecture of another one with random weights, beside a twin with others.

    To both of these the sides are exchanged at random: they read words, and the sides of the organisms' pairs differ in some.
    """
    from probesteer.lm.twin import load_twin

    numbers = (2 * seed + 1, 2 * seed + 2)
    target, twin = (layers_of(load_twin(card(TWIN_OF), number), TWIN_BLOCKS, seed) for number in numbers)
    return said_of(source_layers(), target, twin, maps, seed, True)


def carried(run: Run, sets: int) -> Iterator[str]:
    """Rates of errors over `sets` pairs of models that share nothing, by what the target is."""
    kinds = {target: partial(errors, target=target) for target in (OTHER, NOISE, TWIN)}
    yield from _rates(run, sets, kinds)


def twins(run: Run, sets: int) -> Iterator[str]:
    """The same of an organism and `sets` sets of random weights."""
    yield from _rates(run, sets, {"random weights": partial(random_weights)})


def _rates(run: Run, sets: int, kinds: dict[str, partial]) -> Iterator[str]:
    names = [*RANKED, *(f"{name}'s interval" for name in NOTHING), "verdict"]
    yield f"| target | method | {' | '.join(names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for kind, one in kinds.items():
        rates = pd.DataFrame(run(one, sets)).mean()
        for method in METHODS:
            found = [rates.get(f"{method}: {name}") for name in names]
            yield f"| {kind} | {method} | {' | '.join('' if rate is None else f'{rate:.3f}' for rate in found)} |"
