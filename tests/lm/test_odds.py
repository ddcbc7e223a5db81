"""The gradient of the log-odds of two continuations is what small pushes do to them, at every block."""

import numpy as np
import pytest
import torch

from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.load import encode_prompt
from probesteer.lm.odds import log_odds_gradient

PROMPT, TEXTS = "I put the", ("old man before the route today.", "route before the old man. It is late in the day.")
STEP = 1e-2


def log_odds(model, tokenizer, layer: int, push: torch.Tensor, prompted: bool) -> float:
    """Of both texts, cut at the tokens of the shorter one, under a push (hidden,); one row and one pass each."""
    start, sides = encode_prompt(tokenizer, PROMPT), [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    found = []
    for new in (side[: min(map(len, sides))] for side in sides):
        ids = torch.tensor([[*start, *new]])

        def hidden(_module, _inputs, output, start=start):
            states = output[0] if isinstance(output, tuple) else output
            states = states.clone()
            states[:, 0 if prompted else len(start) :] += push
            return (states, *output[1:]) if isinstance(output, tuple) else states

        handle = decoder_blocks(model)[layer].register_forward_hook(hidden)
        with torch.inference_mode():
            log_probability = model(input_ids=ids).logits[0, len(start) - 1 : -1].double().log_softmax(-1)
        handle.remove()
        found.append(log_probability[torch.arange(len(new)), torch.tensor(new)].sum().item())
    return found[0] - found[1]


@pytest.mark.parametrize("positions", ["all", "response"])
def test_the_gradient_is_the_slope_of_small_pushes(tiny, positions):
    model, tokenizer = tiny
    layers = [0, 2]
    gradient = log_odds_gradient(model, tokenizer, PROMPT, TEXTS, 48, layers, positions)
    direction = np.random.default_rng(0).standard_normal(32)
    direction /= np.linalg.norm(direction)
    for layer, own in zip(layers, gradient, strict=True):
        push = torch.tensor(STEP * direction, dtype=torch.float32)
        ends = [log_odds(model, tokenizer, layer, way * push, positions == "all") for way in (1, -1)]
        assert own @ direction == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=0.02, abs=0.02)


def test_texts_are_compared_over_as_many_tokens(tiny):
    model, tokenizer = tiny
    longer = (TEXTS[0], TEXTS[1] + " It is late in the day.")
    first, second = (log_odds_gradient(model, tokenizer, PROMPT, texts, 48, [1]) for texts in (TEXTS, longer))
    np.testing.assert_array_equal(first, second)
    assert not log_odds_gradient(model, tokenizer, PROMPT, ("", TEXTS[1]), 48, [1]).any()


def test_a_model_is_as_it_was_afterwards(tiny):
    model, tokenizer = tiny
    log_odds_gradient(model, tokenizer, PROMPT, TEXTS, 4, [0])
    assert not decoder_blocks(model)[0]._forward_hooks and all(weight.grad is None for weight in model.parameters())
