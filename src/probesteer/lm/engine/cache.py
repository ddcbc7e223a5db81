"""The key-value cache of a batch whose rows end at different steps."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from probesteer.errors import InputError

CPU_CACHE_BYTES = 2**31  # a larger batch gains nothing on a CPU
FREE_SHARE = 0.5  # of the device's free memory, for keys and values


class RowLayer(CacheLayerMixin):
    """Keys and values, each (rows, heads, width, head size), made once: a step writes its token in place and copies nothing.

    Holds all positions of a sliding-window block too; the model's mask leaves out the far ones.
    """

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, like: Any, rows: int, prompt: int, new: int) -> None:
        super().__init__()
        self.prompt, self.length = prompt, prompt
        for name in ("keys", "values"):
            part = getattr(like, name)
            # zeros, not empty: padding is masked, but 0 * NaN would still be NaN
            setattr(self, name, part.new_zeros(rows, part.shape[1], prompt + new, part.shape[3]))
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to do."""

    def update(self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object) -> tuple[Tensor, Tensor]:
        """Append the states of the first rows; returns all states of these rows."""
        rows, start, self.length = len(key_states), self.length, self.length + key_states.shape[-2]
        self.keys[:rows, :, start : self.length] = key_states
        self.values[:rows, :, start : self.length] = value_states
        return self.keys[:rows, :, : self.length], self.values[:rows, :, : self.length]

    def taken(self, rows: Tensor) -> "RowLayer":
        """The same of these rows, copied: int64 (rows,)."""
        other = copy(self)
        rows = rows.to(self.keys.device)
        other.keys, other.values = self.keys[rows], self.values[rows]
        return other

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.keys.shape[2]


class RowCache(Cache):
    """The cache of rows whose prompts are padded on the left to one width, with room for new tokens."""

    order: Tensor | None = None
    """Which row stands at each place, where rows that ended are kept (`keep_rows`): int64 (rows,)."""

    def __init__(self, blocks: Sequence[RowLayer]) -> None:
        self.blocks = list(blocks)
        super().__init__(layers=list(self.blocks))

    def keep_rows(self) -> None:
        """Let rows change places from now on where they would else take the places of rows that ended."""
        self.order = torch.arange(len(self.blocks[0].keys))

    def fill(self, rows: Tensor, prefilled: Sequence[Any], source: Tensor, first: int = 0) -> None:
        """Copy rows `source` of prefilled blocks, the first of which is block `first`, to `rows`, up to where prompts end."""
        for block, layer in zip(self.blocks[first:], prefilled, strict=False):
            rows, source = rows.to(block.keys.device), source.to(block.keys.device)
            start = block.prompt - layer.get_seq_length()
            block.keys[rows, :, start : block.prompt] = layer.keys[source]
            block.values[rows, :, start : block.prompt] = layer.values[source]

    def part(self, rows: slice) -> "RowCache":
        """The cache of some of the rows, in the same memory."""
        part = copy(self)
        part.blocks = [copy(block) for block in self.blocks]
        part.layers = list(part.blocks)
        for block in part.blocks:
            block.keys, block.values = block.keys[rows], block.values[rows]
        return part

    def move(self, source: Tensor, target: Tensor) -> None:
        """Put rows `source` in the place of rows `target`, which take theirs if rows are kept."""
        if self.order is not None:
            source, target = torch.cat([source, target]), torch.cat([target, source])
            self.order[target.cpu()] = self.order[source.cpu()]
        for block in self.blocks:
            source, target = source.to(block.keys.device), target.to(block.keys.device)
            block.keys[target, :, : block.length] = block.keys[source, :, : block.length]
            block.values[target, :, : block.length] = block.values[source, :, : block.length]


def prefill_cache() -> Cache:
    """An empty cache that keeps every position of every block."""
    return Cache(layer_class_to_replicate=DynamicLayer)


def require_key_values(config: PretrainedConfig) -> None:
    """Raise InputError for an architecture whose blocks keep another state than keys and values of their own."""
    if other := {type(layer) for layer in DynamicCache(config=config).layers} - {DynamicLayer, DynamicSlidingWindowLayer}:
        raise InputError(f"{config.model_type} keeps {other.pop().__name__} states; only key-value caches work")


@torch.inference_mode()
def cached_bytes(model: PreTrainedModel, device: torch.device) -> int:
    """Bytes of keys and values per token and row, measured on one token. Raises InputError as above."""
    require_key_values(model.config)
    cache = prefill_cache()
    model.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), past_key_values=cache, use_cache=True)
    layers: list[Any] = cache.layers
    return sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))


def cache_tokens(model: PreTrainedModel, device: torch.device) -> int:
    """Tokens whose keys and values may be in memory at the same time."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = min(psutil.virtual_memory().available, CPU_CACHE_BYTES / FREE_SHARE)
    return int(FREE_SHARE * free / cached_bytes(model, device))
