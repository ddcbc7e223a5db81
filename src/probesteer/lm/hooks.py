"""Interventions on a forward pass; each is gone when its block ends, also after an error."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

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


@contextmanager
def steering(blocks: nn.ModuleList, pushes: Mapping[int, Tensor]) -> Iterator[None]:
    """Add `pushes[layer]`, a tensor (rows, hidden), to the output of each of these blocks, at every position.

    Row i of a batch, which may have fewer rows, gets row i of what the tensor holds at the time; zeros leave it unsteered.
    """

    def hook_at(layer: int) -> Callable[..., Output]:
        def hook(_block: nn.Module, _inputs: object, output: Output) -> Output:
            hidden = untuple(output)
            return retuple(output, hidden + pushes[layer][: len(hidden), None].to(hidden))

        return hook

    with ExitStack() as stack:
        for layer in pushes:
            stack.callback(blocks[layer].register_forward_hook(hook_at(layer)).remove)
        yield


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
