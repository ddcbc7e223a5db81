"""The engine's push is the push of TransformerLens, which has code of its own; where it is installed."""

import pytest
from conftest import ORGANISMS
from oracles import Ours, transformer_lens

from probesteer.lm.load import load_model


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_a_push_does_what_it_does_in_transformer_lens_at_the_same_block(name):
    pytest.importorskip("transformer_lens")
    ours = Ours(*load_model(str(ORGANISMS / name), dtype="float32", device="cpu"))
    for found in ours.compared(transformer_lens(ORGANISMS / name)):
        before, there, after = found.alike
        assert found.unpushed < 1e-4 and found.pushed < 1e-4 and found.same == 1
        assert there > 0.9999 and max(before, after) < 0.99
