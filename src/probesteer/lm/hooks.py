"""Interventions on a forward pass; each is gone when its block ends, also after an error."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from probesteer.lm.blocks import untuple
from probesteer.study.options import EMBEDDINGS

Output = Tensor | tuple[Any, ...]


class _DeepestBlockReachedError(Exception):
    pass


@contextmanager
def watching(blocks: nn.ModuleList, layers: Iterable[int], keep: Callable[[int, Output], None]) -> Iterator[None]:
    """Call `keep(layer, output)` at each layer, EMBEDDINGS for the input to block 0, and leave after the deepest one."""
    wanted = set(layers)
    deepest = max(wanted)

    def after(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _inputs: object, output: Output) -> None:
            keep(layer, output)
            if layer == deepest:
                raise _DeepestBlockReachedError

        return hook

    def before_first(_block: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        keep(EMBEDDINGS, args[0] if args else kwargs["hidden_states"])
        if deepest == EMBEDDINGS:
            raise _DeepestBlockReachedError

    with ExitStack() as stack:
        for layer in wanted - {EMBEDDINGS}:
            stack.callback(blocks[layer].register_forward_hook(after(layer)).remove)
        if EMBEDDINGS in wanted:
            stack.callback(blocks[0].register_forward_pre_hook(before_first, with_kwargs=True).remove)
        stack.enter_context(suppress(_DeepestBlockReachedError))
        yield


Operator = Callable[[Tensor], Tensor]
"""What is made of hidden states (rows, tokens, hidden) at a site; two follow each other by `then`."""


def add(push: Tensor) -> Operator:
    """Add a push (rows, hidden) at every position.

    Row i of a batch, which may have fewer rows, gets row i of what the tensor holds at the time; zeros leave it as it is.
    """
    return lambda hidden: hidden + push[: len(hidden), None].to(hidden)


def project_out(direction: Tensor) -> Operator:
    """Take out what lies along a unit vector (hidden,), at every position."""

    def operator(hidden: Tensor) -> Tensor:
        along = direction.to(hidden)
        return hidden - (hidden @ along)[..., None] * along

    return operator


def replace(values: Tensor) -> Operator:
    """Put `values` (rows, tokens, hidden) in the place of the last positions, as many as there are."""

    def operator(hidden: Tensor) -> Tensor:
        rows = hidden.reshape(len(values), -1, hidden.shape[-1])  # some parts flatten rows and tokens
        return torch.cat([rows[:, : rows.shape[1] - values.shape[1]], values.to(hidden)], 1).reshape(hidden.shape)

    return operator


def then(first: Operator, second: Operator) -> Operator:
    """One operator after another."""
    return lambda hidden: second(first(hidden))


@contextmanager
def operating(operators: Iterable[tuple[nn.Module, Operator]]) -> Iterator[None]:
    """Let operators act on what modules return, in the order in which they are given."""

    def hook_of(operator: Operator) -> Callable[..., Output]:
        return lambda _module, _inputs, output: retuple(output, operator(untuple(output)))

    with ExitStack() as stack:
        for module, operator in operators:
            stack.callback(module.register_forward_hook(hook_of(operator)).remove)
        yield


def steering(blocks: nn.ModuleList, pushes: Mapping[int, Tensor]) -> AbstractContextManager[None]:
    """Add `pushes[layer]`, a tensor (rows, hidden), to the output of each of these blocks, at every position (`add`)."""
    return operating([(blocks[layer], add(push)) for layer, push in pushes.items()])


@contextmanager
def skipping(blocks: Iterable[nn.Module], output: Output | None) -> Iterator[None]:
    """Let these blocks return `output` without computing anything; their hooks still run."""
    with ExitStack() as stack:
        for block in blocks:
            # accelerate keeps a forward of its own on the block; without one, the class's comes back
            own = {name: value for name, value in vars(block).items() if name == "forward"}
            stack.callback(vars(block).update, own)
            stack.callback(vars(block).pop, "forward")
            block.forward = lambda *_args, **_kwargs: output
        yield


def retuple(output: Output, hidden: Tensor) -> Output:
    """What a block returned, with other hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
