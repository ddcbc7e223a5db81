"""What `export` writes steers in other tools, which open it themselves, as it does here; where they are installed."""

import os
from pathlib import Path

import numpy as np
import pytest
from carried import Repeng, of_llama_cpp, transformer_lens
from conftest import ORGANISMS, SMOLLM2, needs_smollm2
from llama_cpp import as_float32, installed
from oracles import Ours, loaded
from test_gguf import F32, write_gguf

from probesteer.lm.load import load_model

REPENG = os.environ.get("PROBESTEER_REPENG")
needs_llama_cpp = pytest.mark.skipif(not installed(), reason="xllamacpp, a wheel of llama.cpp, is not installed")


def ours_of(name: str) -> Ours:
    return Ours(*load_model(str(ORGANISMS / name), dtype="float32", device="cpu"))


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_transformer_lens_steers_with_the_block_direction_and_dose_that_a_safetensors_file_names(name, tmp_path):
    pytest.importorskip("transformer_lens")
    for found in ours_of(name).compared(transformer_lens(ORGANISMS / name, tmp_path)):
        before, there, after = found.alike
        assert found.unpushed < 1e-4 and found.pushed < 1e-4 and found.same == 1
        assert there > 0.9999 and max(before, after) < there - 0.03


@pytest.mark.skipif(not REPENG, reason="PROBESTEER_REPENG names no Python of an environment with repeng")
@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_repeng_finds_the_direction_of_a_control_vector_and_steers_with_it_at_the_same_block(name, tmp_path):
    ours = ours_of(name)
    with Repeng(Path(str(REPENG)), ORGANISMS / name, tmp_path) as theirs:
        for found in ours.compared(theirs):
            before, there, after = found.alike
            assert found.unpushed < 1e-4 and found.pushed < 1e-4 and found.same == 1
            assert there > 0.9999 and max(before, after) < there - 0.03
        for block, push in ours.pushes.items():
            theirs(ours.prompts[0], block, push)
            assert list(theirs.directions) == [block]
            assert np.allclose(theirs.directions[block], push / np.linalg.norm(push), atol=1e-6)


@needs_llama_cpp
def test_llama_cpp_loads_a_control_vector_itself_and_steers_at_its_block(tmp_path):
    file = write_gguf(tmp_path / "llama.gguf", F32)
    for found in ours_of("llama").compared(of_llama_cpp(file, ORGANISMS / "llama", 768, tmp_path)):
        before, there, after = found.alike
        assert found.pushed < 0.05  # it keeps keys and values in half precision
        assert there > 0.999 and max(before, after) < there - 0.03


@pytest.mark.slow
@needs_llama_cpp
@needs_smollm2
def test_a_real_model_in_llama_cpp_is_steered_at_the_block_and_not_at_its_neighbours(tmp_path):
    as_float32(SMOLLM2, tmp_path / "float32.gguf")
    with loaded(SMOLLM2) as (model, tokenizer, folder):
        ours = Ours(model, tokenizer)
        for file, least in ((SMOLLM2, 0.99), (tmp_path / "float32.gguf", 0.9999)):
            for found in ours.compared(of_llama_cpp(file, folder, model.config.vocab_size, tmp_path)):
                before, there, after = found.alike
                assert there > least and max(before, after) < there - 0.03
