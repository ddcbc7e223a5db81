"""Prompts into the cache of the turn before: what they begin with as they did then is copied, not computed."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from probesteer.lm.blocks import decoder_blocks, input_device
from probesteer.lm.engine.batch import pad_rows, token_budget
from probesteer.lm.engine.cache import RowCache, RowLayer
from probesteer.lm.engine.prefill import Prompted, grouped
from probesteer.lm.hooks import steering
from probesteer.lm.request import Request, push_rows


class _Copy(NamedTuple):
    """Keys and values of a row that stay: `tokens` of them, from place and column before to row and column now."""

    place: int
    start: int
    row: int
    column: int
    tokens: int


@torch.inference_mode()
def regrow(
    model: PreTrainedModel,
    before: Prompted,
    width: int,
    known: Sequence[tuple[int, Sequence[int]]],
    prompts: Sequence[Sequence[int]],
    requests: Sequence[Request],
    new: int,
) -> Prompted:
    """The prompts (token ids) of rows as `prefill` would give them, with room for `new` tokens; `before` is used up.

    `known` are each row's place in `before`, whose prompts were padded to `width` tokens, and the prompt that it had there.
    Of every row as many tokens are computed again as of the one that shares least; rows with one prompt under one push are
    computed once.
    """
    groups = [rows for own in grouped(prompts, [request.on_prompt() for request in requests]).values() for rows in own.values()]
    firsts = [rows[0] for rows in groups]
    own = [known[row] for row in firsts], [prompts[row] for row in firsts], [requests[row] for row in firsts]
    once = _computed(model, before, width, *own, new)
    if firsts == [*range(len(prompts))]:
        return once
    group = {row: number for number, rows in enumerate(groups) for row in rows}
    return _spread(once, torch.tensor([group[row] for row in range(len(prompts))]))


def _computed(
    model: PreTrainedModel,
    before: Prompted,
    width: int,
    known: Sequence[tuple[int, Sequence[int]]],
    prompts: Sequence[Sequence[int]],
    requests: Sequence[Request],
    new: int,
) -> Prompted:
    """The same of rows of which no two have one prompt under one push."""
    device, sizes = input_device(model), [len(prompt) for prompt in prompts]
    fresh = max(size - _shared(old, prompt) for size, (_, old), prompt in zip(sizes, known, prompts, strict=True))
    longest = max(sizes)
    copies = [
        _Copy(place, width - len(old), row, longest - size, size - fresh)
        for row, ((place, old), size) in enumerate(zip(known, sizes, strict=True))
        if size > fresh
    ]
    blocks = []
    for block in before.cache.blocks:
        blocks.append(_grown(block, len(prompts), longest, new, copies, longest - fresh))
        del block.keys, block.values  # so that no two whole caches are in memory
    cache = RowCache(blocks)
    attention = torch.zeros(len(prompts), longest + new, dtype=torch.long, device=device)
    for row, size in enumerate(sizes):
        attention[row, longest - size :] = 1
    tokens = pad_rows([prompt[-fresh:] for prompt in prompts], "left")[0].to(device)
    logits = _read(model, cache, attention[:, :longest], tokens, [request.on_prompt() for request in requests])
    for block in cache.blocks:
        block.length = longest
    return Prompted(cache, logits, attention)


def _spread(once: Prompted, group: Tensor) -> Prompted:
    """Rows as copies of the ones they share: int64 (rows,)."""
    blocks = []
    for block in once.cache.blocks:
        blocks.append(block.taken(group))
        del block.keys, block.values
    at = group.to(once.logits.device)
    return Prompted(RowCache(blocks), once.logits[at], once.attention[at])


def _shared(old: Sequence[int], prompt: Sequence[int]) -> int:
    """Tokens that both begin with, less than all of the prompt: its last token is always read."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, prompt, strict=False)))
    return min(same, len(prompt) - 1)


def _grown(block: RowLayer, rows: int, prompt: int, new: int, copies: Sequence[_Copy], length: int) -> RowLayer:
    """A block's keys and values with what stays in its new place."""
    grown = RowLayer(block, rows, prompt, new)
    grown.length = length
    for name in ("keys", "values"):
        old, now = getattr(block, name), getattr(grown, name)
        for place, start, row, column, tokens in copies:
            now[row, :, column : column + tokens] = old[place, :, start : start + tokens]
    return grown


def _read(model: PreTrainedModel, cache: RowCache, attention: Tensor, tokens: Tensor, requests: Sequence[Request]) -> Tensor:
    """Append the tokens (rows, fresh) to the cache, in parts that a forward pass takes; the logits after them."""
    positions = (attention.cumsum(-1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
    step = max(1, token_budget(tokens.device) // tokens.shape[1])
    found = []
    for rows in (slice(at, at + step) for at in range(0, len(tokens), step)):
        with steering(decoder_blocks(model), push_rows(model, requests[rows])):
            logits = model(
                input_ids=tokens[rows],
                attention_mask=attention[rows],
                position_ids=positions[rows],
                past_key_values=cache.part(rows),
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        found.append(logits)
    return torch.cat(found)
