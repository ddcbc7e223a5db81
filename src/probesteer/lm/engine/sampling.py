"""Keyed sampling: which token a row draws depends on its logits and its key, never on its neighbours."""

import hashlib

import torch
from torch import Tensor

CACHED = 2**19  # elements that a CPU keeps in its cache from one operation to the next: larger parts take twice as long


def row_seed(seed_key: tuple[int | str, ...]) -> int:
    """A 63-bit seed from a key."""
    return int.from_bytes(hashlib.blake2b(repr(seed_key).encode(), digest_size=8).digest(), "big") >> 1


def _mix(bits: Tensor) -> Tensor:
    """A bijective 32-bit mixer: the `lowbias32` constants of Wellons' hash prospector. In place; int32, which wraps around."""
    bits ^= (bits >> 16) & 0xFFFF
    bits *= 0x7FEB352D
    bits ^= (bits >> 15) & 0x1FFFF
    bits *= 0x846CA68B - 2**32
    bits ^= (bits >> 16) & 0xFFFF
    return bits


def gumbel_noise(seeds: Tensor, step: int, vocabulary: int) -> Tensor:
    """Gumbel noise as a pure function of (row seed, step, token): int64 (rows,) to float32 (rows, vocabulary).

    Counter-based, so a row's noise depends neither on its batch nor on its neighbours.
    """
    low, high = (seeds & 0x7FFFFFFF).int(), (seeds >> 31).int()
    steps = torch.full_like(low, step)
    row = _mix(_mix(_mix(low) ^ high) ^ _mix(steps + 0x1E3779B9))
    tokens = _mix(torch.arange(vocabulary, device=seeds.device, dtype=torch.int32) + 0x05EBCA6B)
    bits = _mix(row[:, None] ^ tokens) & 0x7FFFFFFF
    # 2^-32 .. 1 - 2^-24: small values keep their resolution, and there, by log1p, the noise is large
    uniform = bits.float().add_(0.5).mul_(2.0**-31).clamp_max_(1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


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


def sample(logits: Tensor, seeds: Tensor, step: int, temperature: float, top_p: float, top_k: int) -> Tensor:
    """One token per row, by Gumbel-max: argmax(logits / temperature + noise) draws from the softmax; temperature 0 is greedy.

    (rows, vocabulary) and int64 (rows,) to int64 (rows,).
    """
    if temperature == 0:
        return logits.float().argmax(-1)
    rows = max(1, CACHED // logits.shape[-1]) if logits.device.type == "cpu" else len(logits)
    drawn = []
    for own, keys in zip(logits.split(rows), seeds.split(rows), strict=True):
        noise = gumbel_noise(keys, step, own.shape[-1])
        drawn.append(noise.add_(filter_logits(own.float() / temperature, top_k, top_p)).argmax(-1))
    return torch.cat(drawn)
