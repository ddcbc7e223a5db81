"""Ragged rows of token ids as batches that fit the device."""

from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

# Padded tokens of a forward pass. On a CPU matrix products are at full speed by then, and padding would cost more than
# a larger batch gains.
CPU_TOKENS, GPU_TOKENS = 512, 16_384


def token_budget(device: torch.device) -> int:
    """Padded tokens of a forward pass without a cache on this device."""
    return CPU_TOKENS if device.type == "cpu" else GPU_TOKENS


def pad_rows(rows: Sequence[Sequence[int]], side: str) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both int64 (rows, longest), padded on the `side` "left" or "right".

    With token 0, which every vocabulary has: a tokenizer's own padding token may lie outside of the model's.
    """
    ids = [torch.tensor(row) for row in rows]
    ones = [torch.ones_like(row) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, True, 0, side), pad(ones, True, 0, side)


def batches(lengths: Sequence[int], tokens: int, rows: int | None = None) -> Iterator[list[int]]:
    """Indices in order of length, in batches of at most `tokens` padded tokens and `rows` rows; one row may exceed `tokens`."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and ((len(batch) + 1) * lengths[index] > tokens or len(batch) == rows):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def run_batches(run: Callable[[list[int]], None], lengths: Sequence[int], tokens: int, rows: int | None = None) -> None:
    """Call `run` with the indices of each batch. Out of memory halves the batch, and those that follow, and goes on."""
    todo = list(batches(lengths, tokens, rows))
    while todo:
        batch = todo.pop(0)
        try:
            run(batch)
        except RuntimeError as error:
            if len(batch) == 1 or not should_reduce_batch_size(error):
                raise
        else:
            continue
        clear_device_cache(garbage_collection=True)  # after the handler, whose traceback holds the tensors
        half = (len(batch) + 1) // 2
        todo = [part[at : at + half] for part in (batch, *todo) for at in range(0, len(part), half)]
