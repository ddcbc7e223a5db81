"""How fast a push changes which of two continuations a model prefers: the derivative at no push, for every block at once."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import decoder_blocks, input_device
from probesteer.lm.hooks import steering
from probesteer.lm.load import encode_prompt


def log_odds_gradient(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    texts: tuple[str, str],
    most_tokens: int,
    layers: Sequence[int],
    positions: Literal["all", "response"] = "all",
) -> np.ndarray:
    """The gradient of log P(first text | prompt) - log P(second | prompt) by what is added at each block: (layers, hidden).

    Its product with a unit direction is the slope of the log-odds at push 0, in nats per unit of push. Both texts are cut at
    the tokens of the shorter one, and at `most_tokens`, so that length says nothing. Zeros where one of them is empty.
    """
    device, blocks = input_device(model), decoder_blocks(model)
    start = encode_prompt(tokenizer, prompt)
    sides = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    length = min(*map(len, sides), most_tokens)
    hidden = model.config.get_text_config().hidden_size
    if not length:
        return np.zeros((len(layers), hidden))
    new = torch.tensor([side[:length] for side in sides], device=device)
    with torch.enable_grad():
        pushes = {layer: torch.zeros(1, hidden, device=device, requires_grad=True) for layer in layers}
        with steering(blocks, pushes if positions == "all" else {}):
            asked = model(input_ids=torch.tensor([start], device=device), use_cache=True, logits_to_keep=1)
        logits = [asked.logits.expand(2, -1, -1)]
        if length > 1:
            asked.past_key_values.batch_repeat_interleave(2)
            with steering(blocks, pushes):
                logits.append(model(input_ids=new[:, :-1], past_key_values=asked.past_key_values).logits)
        odds = _log_likelihoods(torch.cat(logits, 1), new) @ new.new_tensor([1.0, -1.0], dtype=torch.float32)
        # a push on the response alone cannot act on a first token
        found = torch.autograd.grad(odds, list(pushes.values()), allow_unused=True, materialize_grads=True)
    return np.stack([gradient[0].double().cpu().numpy() for gradient in found])


def _log_likelihoods(logits: Tensor, tokens: Tensor) -> Tensor:
    """Of each row's tokens (rows, tokens), given the logits that predict them: (rows,)."""
    return -torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none").sum(1)
