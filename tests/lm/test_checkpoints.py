"""A checkpoint is what its files say, or it is refused before any job loads it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ORGANISMS
from safetensors.torch import load_file, save_file
from test_architectures import random_model
from transformers import AutoConfig, AutoTokenizer

from probesteer.errors import InputError
from probesteer.lm.capture import pooled_activations
from probesteer.lm.card import model_card
from probesteer.lm.checkpoint import checkpoint_folder
from probesteer.lm.load import load_card, load_model
from probesteer.lm.preflight import inspect, problems
from probesteer.lm.verify import verify_architecture
from probesteer.study.model import Model, model_files, weight_files

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of an organism as any checkpoint: without its recipe."""
    for name in FILES:
        shutil.copy(ORGANISMS / "llama" / name, tmp_path / name)
    return tmp_path


def refused(folder: Path, **options: object) -> str:
    """What is wrong with a checkpoint, by the check, which must be one line, and by the model's job, which must agree."""
    model = Model(name="m", source=str(folder), **options)
    said = problems(inspect(model, checkpoint_folder(folder)))
    with pytest.raises(InputError) as error:
        model_card(model, "m")
    assert said and "\n" not in said[0] and said[0].partition(": ")[2].partition(": ")[2] in str(error.value)
    return str(error.value)


def change_weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def change_json(name: str, **options: object) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **options}))

    return changed


def drop(part: str) -> Callable[[dict], None]:
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if part in name]


def rename(tensors: dict) -> None:
    for name in list(tensors):
        tensors[f"base.{name}"] = tensors.pop(name)


FAULTS = {
    "a block's weights are missing": (
        change_weights(drop(".layers.4.")),
        "tensors 9 missing, the first model.layers.4.input_layernorm.weight",
    ),
    "keys with a prefix": (change_weights(rename), "57 missing, the first .*; 56 unexpected, the first base.model"),
    "a reward model's head": (
        change_weights(lambda tensors: tensors.update({"score.weight": torch.zeros(1, 64)})),
        "1 unexpected, the first score.weight",
    ),
    "an untied head is absent": (change_json("config.json", tie_word_embeddings=False), "1 missing, the first lm_head.weight"),
    "another vocabulary": (change_json("config.json", vocab_size=700), "misshapen, the first model.embed_tokens.weight"),
    "a file without tensors": (change_weights(dict.clear), "57 missing"),
    "NaN": (
        change_weights(lambda tensors: tensors["model.layers.2.mlp.up_proj.weight"][3].fill_(float("nan"))),
        "NaN or infinity: model.layers.2.mlp.up_proj.weight in model.safetensors",
    ),
    "half a file": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:900_000]),
        "damaged: 900000 of",
    ),
    "half a header": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:900]),
        "not a safetensors file",
    ),
    "pickles only": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "no model.safetensors and no index; pickles are not loaded",
    ),
    "a missing shard": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "model-1.safetensors"),
            (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
            ),
        ),
        "model-2.safetensors is missing, which the index names",
    ),
    "an adapter beside the weights": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        "adapters are not applied; merge it",
    ),
    "no tokenizer": (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "the tokenizer"),
    "half a tokenizer_config": (
        lambda folder: (folder / "tokenizer_config.json").write_text('{"bos_token": '),
        "the tokenizer does not load",
    ),
    "a template with a syntax error": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% for m in messages %}"),
        "the chat template fails",
    ),
    "a template that always raises": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}"),
        "the chat template fails: no",
    ),
    "a template that drops the user turn": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages[0].role }}"),
        "the chat template drops the text of a turn",
    ),
    "quantised weights without their package": (
        change_json("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "quantised by gptq need gptqmodel",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_checkpoint_that_is_not_what_it_says_is_refused_in_one_line(fault, folder):
    harm, says = FAULTS[fault]
    harm(folder)
    if fault == "NaN":  # only the data show it
        with pytest.raises(InputError, match=says):
            model_card(Model(name="m", source=str(folder)), "m")
    else:
        assert re.search(says, refused(folder))


@pytest.mark.parametrize(
    "fault",
    ["a block's weights are missing", "another vocabulary", "a reward model's head", "an adapter beside the weights"],
)
def test_loading_refuses_weights_that_are_not_the_models(fault, folder):
    harm, says = FAULTS[fault]
    harm(folder)
    with pytest.raises(InputError, match=says):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("bart", "bart is an encoder-decoder; only decoders work"),
        ("marian", "marian is an encoder-decoder"),
        ("t5", "t5 is an encoder-decoder"),
        ("bert", "BertLMHeadModel: no decoder blocks"),
        ("mamba", "MambaForCausalLM: no decoder blocks"),
        ("jamba", "jamba keeps .* states; only key-value caches work"),
        ("openai-gpt", "openai-gpt keeps no keys and values"),
        ("vit", "not a causal LM that loads"),
        ("mllama", "block 3 of mllama reads pictures and does not run on text alone"),
    ],
)
def test_an_architecture_that_does_not_run_is_refused_before_its_weights_are_fetched(kind, says, tmp_path):
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=says):
        verify_architecture(checkpoint_folder(tmp_path), Model(name="m", source=str(tmp_path), blocks=3))


def test_the_text_model_of_a_multimodal_checkpoint_is_verified_and_loads(tmp_path):
    model = random_model("gemma3")
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(tmp_path)
    card = model_card(Model(name="m", source=str(tmp_path)), "m")
    assert (card["architecture"], card["blocks"], card["hidden_size"]) == ("Gemma3ForConditionalGeneration", 3, 32)
    loaded, tokenizer = load_card(card)
    texts = ["I put the old man before the route."]
    assert (pooled_activations(loaded, tokenizer, texts) == pooled_activations(model, tokenizer, texts)).all()


def test_the_card_says_the_type_that_is_loaded(folder):
    def card(**options: object) -> dict:
        return model_card(Model(name="m", source=str(folder), **options), "m")

    assert card()["dtype"] == "float32" and card(dtype="bfloat16")["dtype"] == "bfloat16"
    change_weights(lambda tensors: tensors.update({name: tensor.half() for name, tensor in tensors.items()}))(folder)
    change_json("config.json", dtype=None)(folder)
    half = card()
    assert half["dtype"] == "float16" and load_card(half)[0].dtype == torch.float16


def test_merged_weights_are_not_missing(tmp_path):
    model = random_model("mixtral")  # its experts are saved one by one, and merged as they load
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert model_card(Model(name="m", source=str(tmp_path)), "m")["blocks"] == 3


def test_what_decides_the_computation_decides_the_digest_and_no_other_weights_do(folder):
    (folder / "merges.txt").write_text("a b")
    (folder / "tokenizer.model").write_bytes(b"x")
    (folder / "modeling.py").write_text("")
    model = Model(name="m", source=str(folder))
    before = model_card(model, "m")["digest"]
    for name in ("merges.txt", "tokenizer.model", "model.safetensors", "chat_template.jinja"):
        assert folder / name in model.files()
    assert folder / "modeling.py" in model.model_copy(update={"trust_remote_code": True}).files()
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "modeling.py").write_text("# untrusted, so never run")
    assert model_card(model, "m")["digest"] == before and model.parameters() < 10**6
    (folder / "merges.txt").write_text("a c")
    assert model_card(model, "m")["digest"] != before


def test_only_the_weights_that_are_loaded_are_fetched():
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    shards = ["model-1.safetensors", "model-2.safetensors"]
    others = ["consolidated.safetensors", "original/model.safetensors", "original/params.json", "pytorch_model.bin", "x.py"]
    names = [*shards, *others, "model.safetensors.index.json", "config.json"]
    wanted = model_files(names, lambda _name: index)
    assert wanted == ["config.json", *shards, "model.safetensors.index.json"]
    assert weight_files(["model.safetensors", *names], lambda _name: index) == ["model.safetensors"]


@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layer", "n_layers", "num_layers"])
def test_the_number_of_blocks_is_read_under_every_name(name, tmp_path):
    for config in ({name: 7}, {"text_config": {name: 7}, name: 3}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert Model(name="m", source=str(tmp_path)).block_count() == 7


@pytest.mark.parametrize(
    ("kind", "buffers"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "transformer.h.0.attn.masked_bias"]),
        ("gpt_neo", ["transformer.h.0.attn.attention.bias", "transformer.h.0.attn.attention.masked_bias"]),
        ("gpt_neox", ["gpt_neox.layers.0.attention.masked_bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
    ],
)
def test_masks_that_older_releases_saved_are_no_weights(kind, buffers, tmp_path):
    random_model(kind).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(tmp_path)
    change_weights(lambda tensors: tensors.update({name: torch.ones(1) for name in buffers}))(tmp_path)
    assert load_card(model_card(Model(name="m", source=str(tmp_path)), "m"))[0].config.model_type == kind
