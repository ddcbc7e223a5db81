"""How likely the unsteered model finds a continuation."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import input_device
from probesteer.lm.engine.batch import pad_rows, run_batches
from probesteer.lm.engine.cache import cache_tokens
from probesteer.lm.engine.prefill import prefill
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request

MAX_LOGITS = 2**28  # elements of a batch's logits: 1 GiB in float32


@torch.inference_mode()
def mean_nll(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
) -> np.ndarray:
    """Mean negative log-likelihood, in nats per new token at temperature 1, of token ids after their prompts.

    Returns float64 (texts,); NaN for an empty continuation. A prompt that texts share is computed once a batch.
    """
    device = input_device(model)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    scored = [i for i, new in enumerate(continuations) if new]
    lengths = [len(continuations[i]) for i in scored]
    result = np.full(len(encoded), np.nan)

    def run(batch: list[int]) -> None:
        rows = [scored[i] for i in batch]
        tokens, mask = (part.to(device) for part in pad_rows([continuations[i] for i in rows], "right"))
        prompted = prefill(model, [encoded[i] for i in rows], [Request(prompts[i]) for i in rows], tokens.shape[1])
        logits = prompted.logits[:, None]
        if tokens.shape[1] > 1:
            attention = prompted.attention[:, :-1]
            rest = model(
                input_ids=tokens[:, :-1],
                attention_mask=attention,
                position_ids=(attention.cumsum(-1) - 1)[:, prompted.width :],
                past_key_values=prompted.cache,
                use_cache=True,
            ).logits
            logits = torch.cat([logits, rest], 1)
        loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
        result[rows] = ((loss * mask).sum(1) / mask.sum(1)).double().cpu().numpy()

    if scored:
        longest = max(len(encoded[i]) + len(continuations[i]) for i in scored)
        most_rows = max(1, cache_tokens(model, device) // longest)
        run_batches(run, lengths, MAX_LOGITS // model.config.get_text_config().vocab_size, most_rows)
    return result
