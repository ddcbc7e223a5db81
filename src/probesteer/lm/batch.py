"""Ragged rows of token ids as one batch."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_rows(rows: Sequence[Sequence[int]], pad_token: int | None, side: str) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both int64 (rows, longest), padded on the `side` "left" or "right"."""
    ids = [torch.tensor(row) for row in rows]
    ones = [torch.ones_like(row) for row in ids]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, True, pad_token or 0, side), pad(ones, True, 0, side)
