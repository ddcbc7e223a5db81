"""The likelihood of a continuation is the unsteered model's, prompt excluded."""

import numpy as np
import torch

from probesteer.lm.likelihood import mean_nll
from probesteer.lm.load import encode_prompt

PROMPTS = ["I put", "The light is low. I stay warm about it. I choose", "It is late"]


def test_mean_nll_equals_a_direct_computation(tiny):
    model, tokenizer = tiny
    continuations = [[10, 11, 12], [20], [30, 31, 32, 33, 34]]
    result = mean_nll(model, tokenizer, PROMPTS, continuations)
    for prompt, new, value in zip(PROMPTS, continuations, result, strict=True):
        start = encode_prompt(tokenizer, prompt)
        with torch.inference_mode():
            log_probability = model(input_ids=torch.tensor([[*start, *new]])).logits[0].log_softmax(-1)
        direct = [-log_probability[len(start) - 1 + i, token].item() for i, token in enumerate(new)]
        np.testing.assert_allclose(value, np.mean(direct), rtol=1e-4)


def test_an_empty_continuation_has_no_likelihood(tiny):
    assert np.isnan(mean_nll(*tiny, PROMPTS[:2], [[], [5]])).tolist() == [True, False]
