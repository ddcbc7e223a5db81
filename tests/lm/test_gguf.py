"""A model in a GGUF file is the model that transformers reads from it, or is refused in one line."""

import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from conftest import ORGANISMS, World
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from probesteer.cli import main
from probesteer.errors import InputError
from probesteer.lm.card import model_card
from probesteer.lm.gguf import convert
from probesteer.lm.load import load_model, render_prompt
from probesteer.study.gguf import read_gguf
from probesteer.study.model import Model

LLAMA = ORGANISMS / "llama"
NAMES = {  # parts of names, as llama.cpp spells them
    "model.layers": "blk",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
Q8_0, F32 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32


def interleaved(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order of llama.cpp, whose rotary pairs stand side by side."""
    return weights.reshape(heads, 2, -1, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)


def write_gguf(
    path: Path, kind: gguf.GGMLQuantizationType = Q8_0, tokenizer: bool = True, parts: int = 1, without: str = ""
) -> Path:
    """The organism llama as a GGUF file, its matrices quantised."""
    config = json.loads((LLAMA / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("organism")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    if parts > 1:
        writer.add_uint16("split.count", parts)
    if tokenizer:
        add_tokenizer(writer, config["vocab_size"])
    for name, weights in load_file(LLAMA / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weights = interleaved(weights, config["num_attention_heads"])
        if gguf_name(name) == without:
            continue
        quantised = weights.ndim == 2 and kind != F32
        data = gguf.quantize(weights, kind) if quantised else weights.astype(np.float32)
        writer.add_tensor(gguf_name(name), data, raw_dtype=kind if quantised else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    """What llama.cpp calls a tensor of a Llama."""
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def add_tokenizer(writer: gguf.GGUFWriter, rows: int) -> None:
    """With a name for each row of the embeddings, as llama.cpp's own converter pads it; llama.cpp loads no other."""
    model = json.loads((LLAMA / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if token[0] == "<" and token[-1] == ">" else gguf.TokenType.NORMAL for token in tokens]
    padding = [f"[PAD{row}]" for row in range(len(tokens), rows)]
    kinds += [gguf.TokenType.UNUSED] * len(padding)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens + padding)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template((LLAMA / "chat_template.jinja").read_text())


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(5, 45)[None]).logits


def converted(path: Path, folder: Path) -> tuple:
    convert(Model(name="m", source=str(path)), path, folder)
    return load_model(str(folder), device="cpu")


def test_an_unquantised_file_is_the_model_that_it_was_made_of(tmp_path, organism):
    model, tokenizer = converted(write_gguf(tmp_path / "m.gguf", F32), tmp_path / "out")
    assert torch.equal(logits(model), logits(organism[0]))
    prompt = render_prompt(organism[1], "You are an agent.", "A person asks for help.")
    assert render_prompt(tokenizer, "You are an agent.", "A person asks for help.") == prompt
    assert tokenizer(prompt)["input_ids"] == organism[1](prompt)["input_ids"]


def test_a_quantised_file_gives_the_logits_of_transformers_own_dequantised_model(tmp_path, organism):
    path = write_gguf(tmp_path / "m.gguf")
    model, _tokenizer = converted(path, tmp_path / "out")
    own = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    torch.testing.assert_close(logits(model), logits(own.eval()), atol=1e-5, rtol=0)
    assert not torch.equal(logits(model), logits(organism[0]))


def test_the_card_says_the_quantisation_and_is_named_by_the_file(tmp_path):
    path, other = write_gguf(tmp_path / "m.gguf"), write_gguf(tmp_path / "other.gguf", F32)
    model, folder = Model(name="m", source=str(path)), tmp_path / "out"
    convert(model, path, folder)
    card = model_card(model, "m", weights_in=folder)
    assert card["quantisation"] == "Q8_0 (43), F32 (13)"
    assert (card["blocks"], card["parameters"]) == (6, read_gguf(path).parameters)
    os.replace(other, path)
    with pytest.raises(InputError, match="weights of another file"):
        model_card(model, "m", weights_in=folder)


def test_the_header_gives_blocks_and_parameters_without_the_tensors(tmp_path):
    model = Model(name="m", source=str(write_gguf(tmp_path / "m.gguf")))
    held = sum(tensor.size for tensor in load_file(LLAMA / "model.safetensors").values())
    assert (model.block_count(), model.parameters(), model.local) == (6, held, True)
    assert Model(name="m", source=str(tmp_path)).gguf == tmp_path / "m.gguf"


@pytest.mark.parametrize(
    "options, cut, says",
    [
        ({"tokenizer": False}, 0, "holds no tokenizer"),
        ({"parts": 2}, 0, "one of 2 parts; join them"),
        ({}, 1000, "damaged: [0-9]+ of [0-9]+ bytes"),
        ({}, 200_000, "damaged|not a whole GGUF file"),
        ({"without": "blk.3.ffn_up.weight"}, 0, "1 missing, the first model.layers.3.mlp.up_proj.weight"),
    ],
)
def test_a_file_that_is_not_a_whole_model_is_refused(tmp_path, options, cut, says):
    path = write_gguf(tmp_path / "m.gguf", **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    with pytest.raises(InputError, match=says):
        converted(path, tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m.gguf"]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x09\x00\x00\x00" + bytes(16), b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
def test_what_is_no_gguf_is_said_before_anything_is_planned(tmp_path, content, capsys):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    study = tmp_path / "study.yaml"
    study.write_text(f"study: s\nconcept: empathy_in_action\nmodels: [{{name: m, source: {path}}}]\nsteering_layers: []\n")
    assert main(["check", "--configfile", str(study)]) == 2
    assert f"{path} is not a whole GGUF file of version 2 or 3" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_with_one_gguf_file_runs_and_what_it_was_is_in_the_report(fresh: World):
    folder = fresh.folder / "models"
    folder.mkdir()
    write_gguf(folder / "organism.Q8_0.gguf")
    study = fresh.study(models=[{"name": "quantised", "source": "models"}], layers=[3], steering_layers=[], scorers=[])
    fresh.run(study)
    assert "Q8_0 (43), F32 (13)" in (fresh.folder / "results/small/council/tables/models.csv").read_text()
    assert fresh.plan(study) == {}
