"""How likely the unsteered model finds a continuation."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import input_device
from probesteer.lm.load import encode_prompt


@torch.inference_mode()
def mean_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
    batch_rows: int = 128,
) -> np.ndarray:
    """Mean negative log-likelihood, in nats per new token at temperature 1, of token ids after their prompts.

    Returns float64 (texts,); NaN for an empty continuation.
    """
    device = input_device(model)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]) + len(continuations[i]))
    result = np.full(len(encoded), np.nan)
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        longest = max(len(encoded[i]) + len(continuations[i]) for i in rows)
        tokens = torch.full((len(rows), longest), tokenizer.pad_token_id or 0)
        attention, new = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
        for row, i in enumerate(rows):
            ids = [*encoded[i], *continuations[i]]
            tokens[row, : len(ids)] = torch.tensor(ids)
            attention[row, : len(ids)] = 1
            new[row, len(encoded[i]) : len(ids)] = True
        tokens, attention, new = tokens.to(device), attention.to(device), new[:, 1:].to(device)
        first = min(len(encoded[i]) for i in rows) - 1
        logits = model(input_ids=tokens, attention_mask=attention, use_cache=False, logits_to_keep=longest - first).logits[
            :, :-1
        ]
        targets, scored = tokens[:, first + 1 :], new[:, first:]
        loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        mean = (loss * scored).sum(1) / scored.sum(1)
        result[rows] = mean.double().cpu().numpy()
    return result
