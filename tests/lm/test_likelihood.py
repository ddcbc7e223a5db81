"""The likelihood of a continuation is the unsteered model's, prompt excluded."""

import numpy as np
import pytest
import torch

from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.hooks import steering
from probesteer.lm.likelihood import NeutralTexts, surprisal
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request

PROMPTS = ["I put", "The light is low. I stay warm about it. I choose", "It is late"]


def test_mean_and_spread_of_the_surprisal_equal_a_direct_computation(tiny):
    model, tokenizer = tiny
    continuations = [[10, 11, 12], [20], [30, 31, 32, 33, 34]]
    result = surprisal(model, tokenizer, PROMPTS, continuations)
    for prompt, new, mean, spread in zip(PROMPTS, continuations, *result, strict=True):
        start = encode_prompt(tokenizer, prompt)
        with torch.inference_mode():
            log_probability = model(input_ids=torch.tensor([[*start, *new]])).logits[0].log_softmax(-1)
        direct = [-log_probability[len(start) - 1 + i, token].item() for i, token in enumerate(new)]
        np.testing.assert_allclose([mean, spread], [np.mean(direct), np.std(direct)], rtol=1e-3, atol=1e-4)


def test_an_empty_continuation_has_no_likelihood(tiny):
    assert np.isnan(surprisal(*tiny, PROMPTS[:2], [[], [5]])).tolist() == [[True, False]] * 2


TEXTS = ["The wall is old and grey.", "A bell rings twice. It is late in the day."]


def log_probabilities(model, tokenizer, prompt: str, text: str) -> torch.Tensor:
    """Of the whole vocabulary at each token of a text: (tokens, vocabulary)."""
    start, new = encode_prompt(tokenizer, prompt), tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        return model(input_ids=torch.tensor([[*start, *new]])).logits[0, len(start) - 1 : -1].log_softmax(-1)


def test_what_changes_nothing_has_no_divergence(tiny):
    model, tokenizer = tiny
    shift = NeutralTexts(model, tokenizer, PROMPTS[0], TEXTS).shift(Request(PROMPTS[0]))
    tokens = [token for text in TEXTS for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    own = torch.cat([log_probabilities(model, tokenizer, PROMPTS[0], text) for text in TEXTS])
    nll = -own[torch.arange(len(tokens)), torch.tensor(tokens)].mean()
    assert shift.kl == 0 and shift.perplexity == pytest.approx(nll.exp().item(), rel=1e-3)


def test_the_divergence_of_a_push_and_of_a_prompt_equals_a_direct_computation(tiny):
    model, tokenizer = tiny
    direction = np.zeros(32, dtype=np.float32)
    direction[3] = 1
    neutral = NeutralTexts(model, tokenizer, PROMPTS[0], TEXTS)
    before = torch.cat([log_probabilities(model, tokenizer, PROMPTS[0], text) for text in TEXTS])
    with steering(decoder_blocks(model), {1: torch.tensor(2 * direction)[None]}):
        pushed = torch.cat([log_probabilities(model, tokenizer, PROMPTS[0], text) for text in TEXTS])
    prompted = torch.cat([log_probabilities(model, tokenizer, PROMPTS[1], text) for text in TEXTS])
    for request, after in ((Request(PROMPTS[0], 1, direction, 2.0), pushed), (Request(PROMPTS[1]), prompted)):
        direct = (before.exp() * (before - after)).sum(-1).mean().item()
        assert direct > 0.001 and neutral.shift(request).kl == pytest.approx(direct, rel=2e-3)


def test_the_worst_tokens_are_the_one_in_twenty_that_a_push_moves_most(tiny):
    model, tokenizer = tiny
    direction, texts = (
        np.eye(32, dtype=np.float32)[3],
        [*TEXTS, "The rain falls on the grey wall. A door is far away and warm."],
    )
    neutral = NeutralTexts(model, tokenizer, PROMPTS[0], texts)
    before = torch.cat([log_probabilities(model, tokenizer, PROMPTS[0], text) for text in texts])
    with steering(decoder_blocks(model), {1: torch.tensor(2 * direction)[None]}):
        after = torch.cat([log_probabilities(model, tokenizer, PROMPTS[0], text) for text in texts])
    divergences = (before.exp() * (before - after)).sum(-1).sort(descending=True).values
    worst = max(1, round(0.05 * len(divergences)))
    found = neutral.worst(Request(PROMPTS[0], 1, direction, 2.0))
    assert found == pytest.approx(divergences[:worst].mean().item(), rel=2e-3)
    assert found > neutral.shift(Request(PROMPTS[0], 1, direction, 2.0)).kl and neutral.worst(Request(PROMPTS[0])) == 0
