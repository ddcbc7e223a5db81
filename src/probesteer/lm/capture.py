"""Pooled residual-stream activations of texts: one forward pass per text, all blocks."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks, input_device, positions, untuple
from probesteer.lm.engine.batch import pad_rows, run_batches, token_budget
from probesteer.lm.hooks import Output, watching
from probesteer.lm.load import encode_prompt
from probesteer.progress import progress
from probesteer.study.options import EMBEDDINGS

WINDOW = 64  # texts that are sorted by length, computed and handed on together: what memory depends on

Text = str | tuple[str, str]  # a text, or a rendered prompt and the response to it


def mean_pooling(hidden: Tensor, content: Tensor, _response: Tensor) -> Tensor:
    """Mean over content tokens: (batch, tokens, hidden) and masks (batch, tokens) to (batch, hidden)."""
    return (hidden * content[..., None]).sum(1) / content.sum(1, keepdim=True)


def last_pooling(hidden: Tensor, content: Tensor, _response: Tensor) -> Tensor:
    """The last content token: (batch, tokens, hidden) and masks (batch, tokens) to (batch, hidden)."""
    positions = torch.arange(content.shape[1], device=content.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), (content * positions).argmax(1)]


def response_pooling(hidden: Tensor, content: Tensor, response: Tensor) -> Tensor:
    """Mean over the content tokens of the response: (batch, tokens, hidden) and masks (batch, tokens) to (batch, hidden)."""
    return mean_pooling(hidden, content * response, response)


Pooling = Callable[[Tensor, Tensor, Tensor], Tensor]
POOLINGS: dict[str, Pooling] = {"mean": mean_pooling, "last": last_pooling, "response": response_pooling}


@dataclass(frozen=True)
class Captured:
    """What one pass over texts gives."""

    pooled: Mapping[str, np.ndarray]
    """By pooling: float32 (texts, layers, hidden)."""
    norms: np.ndarray
    """Mean Euclidean norm of a content token's residual, float32 (texts, layers)."""
    cut: int
    """How many of the texts were longer than what was read of them."""


@dataclass(frozen=True)
class _Encoded:
    ids: list[int]
    response_from: int
    """Index of the first token of the response; 0 for a text without a prompt."""
    cut: bool
    """Whether tokens were left out at its end."""


def captured_windows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    layers: Sequence[int] | None = None,
    poolings: Sequence[str] = ("mean",),
    batch_tokens: int | None = None,
    max_tokens: int | None = None,
) -> Iterator[Captured]:
    """Pool `resid_post[L]` (the output of block L, un-normed) over the content tokens of each text, in float32 on the device.

    Yields WINDOW texts at a time, in order, so that memory does not grow with their number. Content leaves out position 0,
    whose norm is tens of times the rest, and special tokens. A text may be a pair of a rendered prompt and its response:
    "response" pools over the response only, "mean" and "last" over both. Texts are cut at `max_tokens`, or where the model's
    positions end. `layers` defaults to all blocks; EMBEDDINGS (-1) is the input to block 0. `batch_tokens` is the padded size
    of a batch, which the device decides. Raises InputError for a text without content, an unknown pooling or layer, and
    activations that are not finite.
    """
    layers = _known_layers(model, layers, poolings)
    longest = min(max_tokens or sys.maxsize, positions(model) or sys.maxsize)
    budget, special = batch_tokens or token_budget(input_device(model)), torch.tensor(tokenizer.all_special_ids)
    width = len(poolings) * model.config.get_text_config().hidden_size + 1  # the pooled vectors, one after the other; the norm
    with progress(len(texts), "activations", "text") as bar:
        for start in range(0, len(texts), WINDOW):
            encoded = [_encode(tokenizer, text, longest) for text in texts[start : start + WINDOW]]
            result = np.empty((len(encoded), len(layers), width), dtype=np.float32)

            def run(batch: list[int], start: int = start, encoded: list = encoded, result: np.ndarray = result) -> None:
                tokens, attention = pad_rows([encoded[i].ids for i in batch], "right")
                masks = _masks(tokens, attention, special, [encoded[i].response_from for i in batch])
                _require_content(masks, [(start + i, texts[start + i]) for i in batch])
                result[batch] = _pool_batch(model, tokens, attention, masks, layers, [POOLINGS[name] for name in poolings])
                bar.update(len(batch))

            run_batches(run, [len(text.ids) for text in encoded], budget)
            _require_finite(model, result, layers, start)
            parts = np.split(result[..., :-1], len(poolings), axis=-1)
            yield Captured(dict(zip(poolings, parts, strict=True)), result[..., -1], sum(text.cut for text in encoded))


def _known_layers(model: PreTrainedModel, layers: Sequence[int] | None, poolings: Sequence[str]) -> list[int]:
    """The layers, all blocks where none are given. Raises InputError for one, or a pooling, that there is not."""
    blocks = len(decoder_blocks(model))
    layers = list(range(blocks) if layers is None else layers)
    if unknown := [layer for layer in layers if not EMBEDDINGS <= layer < blocks]:
        raise InputError(f"layer {unknown[0]}: the model has blocks 0 to {blocks - 1}")
    if strange := [name for name in poolings if name not in POOLINGS]:
        raise InputError(f"pooling {strange[0]!r}: choose one of {', '.join(POOLINGS)}")
    return layers


def _masks(tokens: Tensor, attention: Tensor, special: Tensor, response_from: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The content tokens of each text, and those of them in its response: float (batch, tokens) each."""
    content = attention * ~torch.isin(tokens, special)
    content[:, 0] = 0
    response = torch.arange(tokens.shape[1]) >= torch.tensor(response_from)[:, None]
    return content.float(), (content * response).float()


def _require_content(masks: tuple[Tensor, Tensor], texts: Sequence[tuple[int, Text]]) -> None:
    """Raise InputError for the first text, by its number, that has nothing to pool over."""
    for row, (number, text) in enumerate(texts):
        for mask, what in zip(masks, ("content tokens after the first", "response tokens"), strict=True):
            if not mask[row].any():
                raise InputError(f"text {number} has no {what}: {text!r}")


def _require_finite(model: PreTrainedModel, result: np.ndarray, layers: Sequence[int], start: int) -> None:
    """Raise InputError for the first text, by its number, whose activations (texts, layers, ...) overflowed."""
    bad = np.argwhere(~np.isfinite(result).all(-1))
    if len(bad):
        text, layer = start + bad[0][0], layers[bad[0][1]]
        raise InputError(f"text {text}: its activations at layer {layer} are not finite in {model.dtype}; use a wider dtype")


def _encode(tokenizer: PreTrainedTokenizerBase, text: Text, longest: int) -> _Encoded:
    if isinstance(text, str):
        prompt, ids = [], tokenizer(text, verbose=False)["input_ids"]
    else:
        prompt = encode_prompt(tokenizer, text[0])
        ids = [*prompt, *tokenizer(text[1], add_special_tokens=False, verbose=False)["input_ids"]]
    return _Encoded(ids[:longest], len(prompt), len(ids) > longest)


@torch.inference_mode()
def _pool_batch(
    model: PreTrainedModel,
    tokens: Tensor,
    attention: Tensor,
    masks: tuple[Tensor, Tensor],
    layers: Sequence[int],
    poolings: Sequence[Pooling],
) -> np.ndarray:
    """From one forward pass, in one copy from the device: float32 (batch, layers, poolings * hidden + 1)."""
    device = input_device(model)
    at_layer: dict[int, Tensor] = {}

    def keep(layer: int, output: Output) -> None:
        hidden = untuple(output).float()
        content, response = (mask.to(hidden.device) for mask in masks)
        norm = mean_pooling(hidden.norm(dim=-1, keepdim=True), content, response)
        at_layer[layer] = torch.cat([*(pool(hidden, content, response) for pool in poolings), norm], 1).to(device)

    with watching(decoder_blocks(model), layers, keep):
        model.base_model(
            input_ids=tokens.to(device), attention_mask=None if attention.all() else attention.to(device), use_cache=False
        )
    if skipped := sorted(set(layers) - set(at_layer)):
        raise InputError(
            f"block {skipped[0]} of {type(model).__name__} does not run on text alone; such a model does not run here"
        )
    return torch.stack([at_layer[layer] for layer in layers], 1).cpu().numpy()


def capture(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    layers: Sequence[int] | None = None,
    poolings: Sequence[str] = ("mean",),
    batch_tokens: int | None = None,
    max_tokens: int | None = None,
) -> Captured:
    """All of `captured_windows` at once, several poolings from the same pass."""
    windows = list(captured_windows(model, tokenizer, texts, layers, poolings, batch_tokens, max_tokens))
    pooled = {name: np.concatenate([window.pooled[name] for window in windows]) for name in poolings}
    return Captured(pooled, np.concatenate([window.norms for window in windows]), sum(window.cut for window in windows))


def pooled_activations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_tokens: int | None = None,
    max_tokens: int | None = None,
) -> np.ndarray:
    """The activations of `captured_windows` under one pooling: float32 (texts, layers, hidden)."""
    return capture(model, tokenizer, texts, layers, (pooling,), batch_tokens, max_tokens).pooled[pooling]
