"""How likely the unsteered model finds a continuation."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.batch import pad_rows
from probesteer.lm.blocks import input_device
from probesteer.lm.load import encode_prompt

MAX_LOGITS = 2**28  # elements of a batch's logits: 1 GiB in float32


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
    largest = max(map(len, continuations)) * model.config.get_text_config().vocab_size
    batch_rows = max(1, min(batch_rows, MAX_LOGITS // max(1, largest)))
    for start in range(0, len(order), batch_rows):
        rows = order[start : start + batch_rows]
        starts = torch.tensor([len(encoded[i]) for i in rows])
        tokens, attention = pad_rows([[*encoded[i], *continuations[i]] for i in rows], tokenizer.pad_token_id, "right")
        new = attention.bool() & (torch.arange(tokens.shape[1]) >= starts[:, None])
        first = int(starts.min())  # no token before it is scored, so no logits before it are needed
        kept = tokens.shape[1] - first + 1
        logits = model(
            input_ids=tokens.to(device), attention_mask=attention.to(device), use_cache=False, logits_to_keep=kept
        ).logits[:, :-1]
        targets, scored = tokens[:, first:].to(device), new[:, first:].to(device)
        loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        result[rows] = ((loss * scored).sum(1) / scored.sum(1)).double().cpu().numpy()
    return result
