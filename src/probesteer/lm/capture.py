"""Pooled residual-stream activations of texts: one forward pass per text, all blocks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.errors import InputError
from probesteer.lm.batch import pad_rows
from probesteer.lm.blocks import decoder_blocks, input_device, untuple
from probesteer.progress import progress
from probesteer.study import EMBEDDINGS

MAX_TOKENS = 512


def mean_pooling(hidden: Tensor, content: Tensor) -> Tensor:
    """Mean over content tokens: (batch, tokens, hidden) and (batch, tokens) to (batch, hidden)."""
    return (hidden * content[..., None]).sum(1) / content.sum(1, keepdim=True)


def last_pooling(hidden: Tensor, content: Tensor) -> Tensor:
    """The last content token: (batch, tokens, hidden) and (batch, tokens) to (batch, hidden)."""
    positions = torch.arange(content.shape[1], device=content.device)
    return hidden[torch.arange(len(hidden)), (content * positions).argmax(1)]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean_pooling, "last": last_pooling}


@dataclass(frozen=True)
class Captured:
    """What one pass over the texts gives."""

    pooled: np.ndarray
    """float32 (texts, layers, hidden)."""
    norms: np.ndarray
    """Mean Euclidean norm of a content token's residual, float32 (texts, layers)."""


class _DeepestBlockReachedError(Exception):
    pass


@contextmanager
def _hooks(blocks: nn.ModuleList, layers: Sequence[int], keep: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `keep(layer, hidden)` at each layer; stop the forward pass after the deepest."""
    deepest = max(layers)

    def after(layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            if layer in layers:
                keep(layer, untuple(output))
            if layer == deepest:
                raise _DeepestBlockReachedError

        return hook

    def before_first(_block: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        keep(EMBEDDINGS, args[0] if args else kwargs["hidden_states"])

    handles = [block.register_forward_hook(after(layer)) for layer, block in enumerate(blocks)]
    if EMBEDDINGS in layers:
        handles.append(blocks[0].register_forward_pre_hook(before_first, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _batches(lengths: list[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in order of length, in batches of at most `batch_tokens` padded tokens (a single text may exceed it)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def capture(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_tokens: int | None = None,
) -> Captured:
    """Pool `resid_post[L]` (the output of block L, un-normed) over the content tokens of each text, in float32.

    Content leaves out position 0, whose norm is tens of times the rest, and special tokens. Texts are cut at MAX_TOKENS.
    `layers` defaults to all blocks; EMBEDDINGS (-1) is the input to block 0. `batch_tokens` is the padded size of a
    batch; on a CPU, where padding costs more than batching gains, the default is one text.
    Raises InputError for a text without content or an unknown pooling or layer.
    """
    blocks = decoder_blocks(model)
    layers = list(range(len(blocks)) if layers is None else layers)
    if unknown := [layer for layer in layers if not EMBEDDINGS <= layer < len(blocks)]:
        raise InputError(f"layer {unknown[0]}: the model has blocks 0 to {len(blocks) - 1}")
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
    device = input_device(model)
    ids = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    pooled = np.empty((len(ids), len(layers), model.config.get_text_config().hidden_size), dtype=np.float32)
    norms = np.empty(pooled.shape[:2], dtype=np.float32)
    batch_tokens = batch_tokens or (1 if device.type == "cpu" else 16_384)
    with progress(len(ids), "activations", "text") as bar:
        for batch in _batches([len(row) for row in ids], batch_tokens):
            tokens, attention = pad_rows([ids[i] for i in batch], tokenizer.pad_token_id, "right")
            content = attention * ~torch.isin(tokens, torch.tensor(tokenizer.all_special_ids))
            content[:, 0] = 0
            if empty := [batch[row] for row in range(len(batch)) if not content[row].any()]:
                raise InputError(f"text {empty[0]} has no content tokens after the first: {texts[empty[0]]!r}")
            at_layer = _pool_batch(model, tokens.to(device), attention.to(device), content.float(), layers, POOLINGS[pooling])
            pooled[batch] = torch.stack([at_layer[layer][0] for layer in layers], 1).cpu().numpy()
            norms[batch] = torch.stack([at_layer[layer][1] for layer in layers], 1).cpu().numpy()
            bar.update(len(batch))
    return Captured(pooled, norms)


def _pool_batch(
    model: PreTrainedModel,
    tokens: Tensor,
    attention: Tensor,
    content: Tensor,
    layers: Sequence[int],
    pool: Callable[[Tensor, Tensor], Tensor],
) -> dict[int, tuple[Tensor, Tensor]]:
    """Pooled activations (batch, hidden) and mean norms (batch,) at each layer, from one forward pass."""
    at_layer: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        wide, mask = hidden.float(), content.to(hidden.device)
        norm = mean_pooling(wide.norm(dim=-1, keepdim=True), mask)[:, 0]
        at_layer[layer] = pool(wide, mask).to(tokens.device), norm.to(tokens.device)

    with _hooks(decoder_blocks(model), layers, keep), suppress(_DeepestBlockReachedError):
        model.base_model(input_ids=tokens, attention_mask=attention, use_cache=False)
    return at_layer


def pooled_activations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_tokens: int | None = None,
) -> np.ndarray:
    """The pooled activations of `capture`: float32 (texts, layers, hidden)."""
    return capture(model, tokenizer, texts, layers, pooling, batch_tokens).pooled
