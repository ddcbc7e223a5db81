"""A language model as a rater: which level of a rubric it finds likeliest."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.errors import InputError
from probesteer.lm.blocks import input_device, require_positions
from probesteer.lm.engine.batch import run_batches
from probesteer.lm.engine.cache import cache_tokens
from probesteer.lm.engine.prefill import prefill
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request
from probesteer.progress import progress


def rate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], levels: Sequence[str]
) -> list[int]:
    """The index of the level whose first token is likeliest after each rendered prompt.

    Raises InputError where two levels begin with one token, or a prompt exceeds the model's positions.
    """
    tokens = [tokenizer(level, add_special_tokens=False)["input_ids"][0] for level in levels]
    if len(set(tokens)) < len(tokens):
        raise InputError(f"{tokenizer.name_or_path}: the levels {', '.join(levels)} begin with one token; use another judge")
    ids = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    require_positions(model, max(map(len, ids), default=0), "the longest text to rate, with its rubric")
    ratings = [0] * len(ids)

    def run(batch: list[int]) -> None:
        logits = prefill(model, [ids[i] for i in batch], [Request(prompts[i]) for i in batch], 1).logits
        for i, level in zip(batch, logits[:, torch.tensor(tokens)].argmax(1).tolist(), strict=True):
            ratings[i] = level
        bar.update(len(batch))

    with progress(len(ids), "judge", "text") as bar:
        run_batches(run, [len(row) for row in ids], cache_tokens(model, input_device(model)))
    return ratings
