"""A real language model, where workflow/scripts/real_models.py has put it: SmolLM2-135M-Instruct, from a GGUF file."""

from pathlib import Path

import pytest
import torch
from conftest import SMOLLM2, needs_smollm2
from transformers import AutoModelForCausalLM

from probesteer.lm.generate import generate
from probesteer.lm.gguf import convert
from probesteer.lm.load import load_model, render_prompt
from probesteer.lm.request import Request
from probesteer.study.model import Model

pytestmark = [pytest.mark.slow, needs_smollm2]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder: Path = tmp_path_factory.mktemp("smollm2") / "weights"
    convert(Model(name="smollm2", source=str(SMOLLM2)), SMOLLM2, folder)
    return load_model(str(folder), device="cpu")


def test_its_logits_are_those_of_transformers_own_dequantised_model(smollm2):
    model, tokenizer = smollm2
    own = AutoModelForCausalLM.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name, dtype=torch.float32).eval()
    tokens = tokenizer("A courier stops for somebody who sits on the steps and cries.", return_tensors="pt")
    with torch.inference_mode():
        ours, theirs = (each(**tokens, output_hidden_states=True) for each in (model, own))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.hidden_states[15], theirs.hidden_states[15], atol=1e-5, rtol=0)


def test_it_answers_a_question(smollm2):
    model, tokenizer = smollm2
    prompt = render_prompt(tokenizer, "Answer in one short sentence.", "What is the capital of France?")
    assert "Paris" in generate(model, tokenizer, [Request(prompt)], 12, temperature=0)[0]
