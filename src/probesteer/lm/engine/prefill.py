"""Prompts into the cache: what rows have in common is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel

from probesteer.lm.blocks import decoder_blocks, input_device, untuple
from probesteer.lm.engine.batch import batches, pad_rows, token_budget
from probesteer.lm.engine.cache import RowCache, RowLayer, prefill_cache
from probesteer.lm.hooks import Output, retuple, skipping, steering, watching
from probesteer.lm.request import Request, push_rows


@dataclass(frozen=True)
class Prompted:
    """Rows whose prompts are in the cache, padded on the left to one width."""

    cache: RowCache
    logits: Tensor
    """Of the first new token: (rows, vocabulary)."""
    attention: Tensor
    """int64 (rows, prompt + new tokens): 0 on padding."""

    @property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return self.cache.get_seq_length()


@dataclass(frozen=True)
class _Below:
    """Prompts as they leave the first steered block, before any push."""

    layer: int
    cache: Cache
    output: Output


@torch.inference_mode()
def prefill(model: PreTrainedModel, prompts: Sequence[Sequence[int]], requests: Sequence[Request], new: int) -> Prompted:
    """Fill the cache of a row per request, with room for `new` tokens.

    Each distinct prompt is computed once up to the first steered block, and once per distinct push from there on.
    `prompts` are the token ids of each request.
    """
    device = input_device(model)
    acting = [request.on_prompt() for request in requests]
    layer = min((request.layer for request in acting if request.layer is not None), default=None)
    groups = grouped(prompts, acting)
    distinct = list(groups)
    width = max(map(len, distinct))
    attention = torch.ones(len(requests), width + new, dtype=torch.long, device=device)
    prompted: Prompted | None = None
    for batch in batches([len(prompt) for prompt in distinct], token_budget(device)):
        tokens, mask = (part.to(device) for part in pad_rows([distinct[i] for i in batch], "left"))
        length = tokens.shape[1]
        # (place of the prompt in this batch, rows that share prompt and push)
        shared = [(place, rows) for place, i in enumerate(batch) for rows in groups[distinct[i]].values()]
        below = None if layer is None or len(shared) == len(batch) else _compute_below(model, layer, tokens, mask)
        first = below.layer + 1 if below else 0
        for part in batches([length] * len(shared), token_budget(device)):
            places = torch.tensor([shared[i][0] for i in part], device=device)
            pushes = push_rows(model, [acting[shared[i][1][0]] for i in part])
            above, logits = _compute_above(model, below, tokens[places], mask[places], places, pushes)
            if prompted is None:
                layers = [*below.cache.layers, *above.layers[first:]] if below else above.layers
                empty = logits.new_empty(len(requests), logits.shape[-1])
                cache = RowCache([RowLayer(layer, len(requests), width, new) for layer in layers])
                prompted = Prompted(cache, empty, attention)
            rows = torch.tensor([row for i in part for row in shared[i][1]], device=device)
            source = torch.tensor([at for at, i in enumerate(part) for _ in shared[i][1]], device=device)
            prompted.logits[rows] = logits[source]
            attention[rows, :width] = torch.nn.functional.pad(mask[places][source], (width - length, 0))
            if below:
                prompted.cache.fill(rows, below.cache.layers, places[source])
            prompted.cache.fill(rows, above.layers[first:], source, first)
    assert prompted is not None
    return prompted


def grouped(prompts: Sequence[Sequence[int]], requests: Sequence[Request]) -> dict[tuple[int, ...], dict[tuple, list[int]]]:
    """The rows of each distinct prompt, by push."""
    groups: dict[tuple[int, ...], dict[tuple, list[int]]] = {}
    for row, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        push = request.layer, id(request.direction), request.push
        groups.setdefault(tuple(prompt), {}).setdefault(push, []).append(row)
    return groups


def _inputs(tokens: Tensor, mask: Tensor, cache: Cache) -> dict[str, object]:
    """Arguments of a forward pass over left-padded prompts."""
    return {
        "input_ids": tokens,
        "attention_mask": None if mask.all() else mask,  # without a mask attention takes its fastest kernel
        "position_ids": (mask.cumsum(-1) - 1).clamp_min(0),
        "past_key_values": cache,
        "use_cache": True,
    }


def _compute_below(model: PreTrainedModel, layer: int, tokens: Tensor, mask: Tensor) -> _Below:
    """Run prompts through the blocks up to `layer`."""
    seen: list[Output] = []
    cache = prefill_cache()
    with watching(decoder_blocks(model), [layer], lambda _layer, output: seen.append(output)):
        model.base_model(**_inputs(tokens, mask, cache))
    return _Below(layer, cache, seen[0])


def _compute_above(
    model: PreTrainedModel, below: _Below | None, tokens: Tensor, mask: Tensor, places: Tensor, pushes: dict[int, Tensor]
) -> tuple[Cache, Tensor]:
    """Run prompts under their pushes through the blocks that are left; returns their cache and the logits after them."""
    blocks, cache = decoder_blocks(model), prefill_cache()
    done, output = blocks[:0], None
    if below:
        hidden = untuple(below.output)
        done, output = blocks[: below.layer + 1], retuple(below.output, hidden[places.to(hidden.device)])
    with steering(blocks, pushes), skipping(done, output):
        logits = model(**_inputs(tokens, mask, cache), logits_to_keep=1).logits[:, -1]
    return cache, logits
