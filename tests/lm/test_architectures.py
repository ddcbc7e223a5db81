"""The engine against an independent implementation with plain hooks, on many architectures at tiny sizes."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import ORGANISMS
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from probesteer.errors import InputError
from probesteer.lm.capture import capture
from probesteer.lm.engine.cache import require_key_values
from probesteer.lm.generate import continuations
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request
from probesteer.study.options import EMBEDDINGS

BLOCKS, HIDDEN, NEW = 3, 32, 6
TEXTS = ["I put the old man before the route.", "The light is low. I stay warm about it. A bell rings twice."]
GQA = {"num_key_value_heads": 2}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8, "head_dim": 4}
LATENT |= {"n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4}
GEMMA4 = {"head_dim": 8, "global_head_dim": 8, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0, "sliding_window": 8}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
VISION |= {"patch_size": 14, "depth": 1, "embed_dim": 16, "num_heads": 2, "out_hidden_size": HIDDEN}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
ARCHITECTURES: dict[str, dict] = {
    "apertus": GQA,
    "bloom": {},
    "codegen": {"rotary_dim": 4},
    "cohere": GQA,
    "cohere2": GQA,
    "deepseek_v3": EXPERTS | LATENT,
    "exaone4": GQA,
    "falcon": {},
    "gemma": GQA | {"head_dim": 8},
    "gemma2": GQA | {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": GQA | {"head_dim": 8, "sliding_window": 8},
    "gemma4_text": GQA | EXPERTS | GEMMA4,
    "glm4": GQA | {"head_dim": 8},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": GQA | EXPERTS | {"head_dim": 8, "sliding_window": 8},
    "gptj": {"rotary_dim": 4},
    "granite": GQA,
    "llama": GQA,
    "llama4_text": GQA | EXPERTS | {"head_dim": 8, "intermediate_size_mlp": 64},
    "mistral": GQA | {"sliding_window": 8},
    "mixtral": GQA | EXPERTS,
    "mpt": {},
    "olmo2": GQA,
    "olmoe": GQA | EXPERTS,
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": HIDDEN},
    "phi": {},
    "phi3": GQA,
    "qwen2": GQA,
    "qwen3": GQA | {"head_dim": 8},
    "qwen3_moe": GQA | EXPERTS | {"head_dim": 8},
    "smollm3": GQA,
    "stablelm": GQA,
    "starcoder2": GQA,
}
WRAPPED = {
    "gemma3": ("gemma3_text", GQA | {"head_dim": 8, "sliding_window": 8}),
    "llava": ("llama", GQA),
    "mistral3": ("mistral", GQA),
    "qwen2_vl": ("qwen2_vl_text", GQA | {"rope_parameters": ROPE | {"mrope_section": [1, 1, 2]}}),
}


def sizes(**options: object) -> dict:
    """The same small size under the names that configurations use."""
    return {
        "vocab_size": 768,
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": BLOCKS,
        "num_layers": BLOCKS,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | options


def random_model(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind in WRAPPED:
        inner, options = WRAPPED[kind]
        text = {"model_type": inner, **sizes(**options)}
        config = AutoConfig.for_model(
            kind, text_config=text, vision_config=dict(VISION), image_token_index=767, image_token_id=767
        )
        auto = AutoModelForCausalLM if kind == "gemma3" else AutoModelForImageTextToText
    else:
        config, auto = AutoConfig.for_model(kind, **sizes(**ARCHITECTURES[kind])), AutoModelForCausalLM
    return auto.from_config(config).eval()


def text_blocks(model: nn.Module) -> nn.ModuleList:
    """The blocks, found by their number: independent of the engine's own table of paths."""
    found = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == BLOCKS]
    assert len(found) == 1
    return found[0]


@contextmanager
def residuals(model: nn.Module) -> Iterator[dict[int, torch.Tensor]]:
    """What goes into block 0, under -1, and comes out of each block."""
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int):
        return lambda _m, _i, out: seen.__setitem__(layer, (out[0] if isinstance(out, tuple) else out).detach())

    def keep_first(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen[EMBEDDINGS] = (args[0] if args else kwargs["hidden_states"]).detach()

    blocks = text_blocks(model)
    handles = [block.register_forward_hook(keep(layer)) for layer, block in enumerate(blocks)]
    handles.append(blocks[0].register_forward_pre_hook(keep_first, with_kwargs=True))
    yield seen
    for handle in handles:
        handle.remove()


def hooked_greedy(model: nn.Module, ids: list[int], layer: int, push: torch.Tensor) -> list[int]:
    """One greedy continuation, the whole text computed anew at each step, without a cache or padding."""

    def add(_module: nn.Module, _inputs: object, out: object) -> object:
        return (out[0] + push, *out[1:]) if isinstance(out, tuple) else out + push

    handle = text_blocks(model)[layer].register_forward_hook(add)
    for _ in range(NEW):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids = [*ids, int(logits.argmax())]
        if ids[-1] == 2:
            break
    handle.remove()
    return ids


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ORGANISMS / "llama")


@pytest.mark.parametrize("kind", [*ARCHITECTURES, *WRAPPED])
def test_captured_activations_and_steered_tokens_are_those_of_plain_hooks(kind, tokenizer):
    model = random_model(kind)
    captured = capture(model, tokenizer, TEXTS, [EMBEDDINGS, 0, 1, 2]).pooled["mean"]
    for row, text in enumerate(TEXTS):
        with residuals(model) as seen, torch.inference_mode():
            hidden = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True).hidden_states
        assert len(hidden) == BLOCKS + 1
        np.testing.assert_allclose(seen[1].numpy(), hidden[2].numpy(), atol=1e-5)
        expected = [seen[layer][0, 1:].mean(0).numpy() for layer in (EMBEDDINGS, 0, 1, 2)]
        np.testing.assert_allclose(captured[row], expected, atol=1e-5)

    direction = np.random.default_rng(0).standard_normal(HIDDEN).astype(np.float32)
    direction /= np.linalg.norm(direction)
    doses = [(layer, push) for layer in (0, 2) for push in (0.0, 3.0)]
    requests = [Request(text, layer, direction, push) for text in TEXTS for layer, push in doses]
    answers = continuations(model, tokenizer, requests, NEW, temperature=0)
    for request, answer in zip(requests, answers, strict=True):
        ids = encode_prompt(tokenizer, request.prompt)
        pushed = hooked_greedy(model, ids, request.layer, request.push * torch.from_numpy(direction))
        assert answer.tokens == pushed[len(ids) :], (request.layer, request.push)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("mamba", "LinearAttentionLayer states"),
        ("jamba", "LinearAttention.* states"),
        ("gemma3n_text", "DummyLayer states"),
    ],
)
def test_blocks_that_keep_other_states_than_their_own_keys_and_values_are_refused(kind, says):
    with pytest.raises(InputError, match=says):
        require_key_values(AutoConfig.for_model(kind))
