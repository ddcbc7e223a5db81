"""Sample continuations under steering: rows of any prompt, layer, direction and alpha in one batch."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.batch import pad_rows
from probesteer.lm.blocks import decoder_blocks, input_device, untuple
from probesteer.lm.load import encode_prompt
from probesteer.progress import progress

MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Request:
    """One continuation: h' = h + alpha * direction at the output of block `layer`, prompt included.

    `direction` is a float array (hidden,), or None for an unsteered row. `seed_key` names the random numbers: requests
    with one key share them.
    """

    prompt: str
    layer: int | None = None
    direction: np.ndarray | None = None
    alpha: float = 0.0
    seed_key: tuple[int | str, ...] = (0,)


def row_seed(seed_key: tuple[int | str, ...]) -> int:
    """A 63-bit seed from a key."""
    return int.from_bytes(hashlib.blake2b(repr(seed_key).encode(), digest_size=8).digest(), "big") >> 1


def _mix(bits: Tensor) -> Tensor:
    """A bijective 32-bit mixer in int64 arithmetic: the `lowbias32` constants of Wellons' hash prospector."""
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) & MASK
    bits = ((bits ^ (bits >> 15)) * 0x846CA68B) & MASK
    return bits ^ (bits >> 16)


def gumbel_noise(seeds: Tensor, step: Tensor, vocabulary: int) -> Tensor:
    """Gumbel noise as a pure function of (row seed, step, token): int64 (rows,), (rows,) to float32 (rows, vocabulary).

    Counter-based, so a row's noise depends neither on its batch nor on its neighbours.
    """
    low, high = seeds & MASK, seeds >> 32
    row = _mix(_mix(low) ^ high)
    row = _mix(row ^ _mix(step + 0x9E3779B9))
    tokens = torch.arange(vocabulary, device=seeds.device)
    bits = _mix(row[:, None] ^ _mix(tokens + 0x85EBCA6B)[None])
    # 2^-33 .. 1 - 2^-24: log1p keeps the resolution where the noise is large
    uniform = ((bits.double() + 0.5) * 2.0**-32).float().clamp_max(1 - 2.0**-24)
    return -torch.log(-torch.log1p(-uniform))


def filter_logits(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set to -inf what is outside the `top_k` best tokens (0: all) or the smallest set of probability `top_p` (1: all)."""
    if 0 < top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        probability = ordered.softmax(-1)
        outside = probability.cumsum(-1) - probability >= top_p
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return logits


@contextmanager
def steering(model: PreTrainedModel, layers: set[int], pushes: dict[int, Tensor]) -> Iterator[None]:
    """Add `pushes[layer]` (rows, hidden) to the output of each block in `layers`, at every position."""

    def hook_at(layer: int):  # type: ignore[no-untyped-def]
        def hook(_block: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> object:
            hidden = untuple(output)
            steered = hidden + pushes[layer].to(hidden.device, hidden.dtype)[:, None]
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        return hook

    blocks = decoder_blocks(model)
    handles = [blocks[layer].register_forward_hook(hook_at(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def generate_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_rows: int = 128,
) -> list[list[int]]:
    """The new token ids of each request, in order, the end-of-sequence token included where it was reached.

    Sampling is Gumbel-max with keyed noise: a request's text does not depend on the rest of its batch (in float32, up to
    ties within rounding). `temperature` 0 is greedy. A row that ends leaves the batch.
    """
    prompts = [encode_prompt(tokenizer, request.prompt) for request in requests]
    order = sorted(range(len(requests)), key=lambda i: len(prompts[i]))
    results: list[list[int]] = [[] for _ in requests]
    with progress(len(requests), "generate", "text") as bar:
        for start in range(0, len(order), batch_rows):
            rows = order[start : start + batch_rows]
            tokens = _generate_batch(
                model,
                tokenizer,
                [requests[i] for i in rows],
                [prompts[i] for i in rows],
                max_new_tokens,
                temperature,
                top_p,
                top_k,
            )
            for index, row in zip(rows, tokens, strict=True):
                results[index] = row
            bar.update(len(rows))
    return results


def _generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[Request],
    prompts: list[list[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
) -> list[list[int]]:
    """Rows that share prompt and push, such as the samples of a cell, are prefilled once."""
    device = input_device(model)
    order: dict[tuple[str, int | None, int, float], int] = {}
    keys = [(request.prompt, request.layer, id(request.direction), request.alpha) for request in requests]
    group = torch.tensor([order.setdefault(key, len(order)) for key in keys], device=device)
    heads = [keys.index(key) for key in order]
    padded = pad_rows([prompts[row] for row in heads], tokenizer.pad_token_id, "left")
    tokens, attention = (tensor.to(device) for tensor in padded)
    positions = (attention.cumsum(-1) - 1).clamp_min(0)
    pushes = _push_rows(model, [requests[row] for row in heads], device)
    seeds = torch.tensor([row_seed(request.seed_key) for request in requests], device=device)
    ends = torch.tensor(sorted(end_tokens(model, tokenizer)), device=device)
    results: list[list[int]] = [[] for _ in requests]
    alive = torch.arange(len(requests), device=device)
    cache = DynamicCache(config=model.config)
    with steering(model, set(pushes), pushes):
        for step in range(max_new_tokens):
            logits = model(
                input_ids=tokens,
                attention_mask=attention,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            if step == 0:  # from groups to rows
                cache.batch_select_indices(group)
                logits, attention, positions = logits[group], attention[group], positions[group]
                pushes.update({layer: push[group] for layer, push in pushes.items()})
            chosen = _sample(logits.float(), seeds, step, temperature, top_p, top_k)
            for row, token in zip(alive.tolist(), chosen.tolist(), strict=True):
                results[row].append(token)
            going = ~torch.isin(chosen, ends)
            if not going.any():
                break
            if not going.all():
                cache.batch_select_indices(going.nonzero()[:, 0])
                alive, chosen, seeds, attention, positions = (x[going] for x in (alive, chosen, seeds, attention, positions))
                pushes.update({layer: push[going] for layer, push in pushes.items()})
            tokens = chosen[:, None]
            attention = torch.cat([attention, attention.new_ones(len(attention), 1)], 1)
            positions = positions[:, -1:] + 1
    return results


def _push_rows(model: PreTrainedModel, requests: list[Request], device: torch.device) -> dict[int, Tensor]:
    """What each steered layer adds to each row: float32 (rows, hidden), zeros for rows steered elsewhere or not at all."""
    hidden = model.config.get_text_config().hidden_size
    layers = {request.layer for request in requests if request.layer is not None}
    pushes = {layer: torch.zeros(len(requests), hidden, device=device) for layer in layers}
    for row, request in enumerate(requests):
        if request.layer is not None and request.direction is not None:
            pushes[request.layer][row] = request.alpha * torch.as_tensor(request.direction, device=device)
    return pushes


def _sample(logits: Tensor, seeds: Tensor, step: int, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token per row, by Gumbel-max: argmax(logits / temperature + noise) draws from the softmax."""
    if temperature == 0:
        return logits.argmax(-1)
    scaled = filter_logits(logits / temperature, top_k, top_p)
    steps = torch.full_like(seeds, step)
    return (scaled + gumbel_noise(seeds, steps, logits.shape[-1])).argmax(-1)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a text: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return {token for token in [*configured, tokenizer.eos_token_id] if token is not None}


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_rows: int = 128,
) -> list[str]:
    """The continuation of each request, in order: only new tokens are decoded, special tokens left out."""
    tokens = generate_tokens(model, tokenizer, requests, max_new_tokens, temperature, top_p, top_k, batch_rows)
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)
