"""Captured activations are those of the model, whatever the batch."""

import numpy as np
import pytest
import torch
from conftest import ORGANISMS
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from probesteer.errors import InputError
from probesteer.lm import capture as engine
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.capture import POOLINGS, capture, captured_windows, pooled_activations
from probesteer.lm.load import encode_prompt, render_prompt
from probesteer.study.options import EMBEDDINGS

TEXTS = [
    "I put the old man before the route.",
    "The light is low. I stay warm about it. I choose the exit over the scared guide. A bell rings twice.",
    "It is late in the day.",
]


def reference(model, tokenizer, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden_states (layers + 1, tokens, hidden) of one text and the mask of its content."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        hidden = torch.stack(model(input_ids=ids, output_hidden_states=True).hidden_states)[:, 0]
    content = ~torch.isin(ids[0], torch.tensor(tokenizer.all_special_ids))
    content[0] = False
    return hidden, content


def test_capture_equals_hidden_states_of_the_next_index(tiny):
    model, tokenizer = tiny
    layers = [EMBEDDINGS, 0, 1]
    captured = pooled_activations(model, tokenizer, TEXTS, layers)
    for row, text in enumerate(TEXTS):
        hidden, content = reference(model, tokenizer, text)
        expected = torch.stack([hidden[layer + 1][content].mean(0) for layer in layers])
        np.testing.assert_allclose(captured[row], expected.numpy(), atol=1e-5)


def test_the_last_block_is_captured_before_the_final_norm(tiny):
    model, tokenizer = tiny
    seen = []
    handle = decoder_blocks(model)[2].register_forward_hook(lambda _m, _i, out: seen.append(out))
    hidden, content = reference(model, tokenizer, TEXTS[0])
    handle.remove()
    captured = pooled_activations(model, tokenizer, TEXTS[:1], [2])[0, 0]
    np.testing.assert_allclose(captured, seen[0][0][content].mean(0).numpy(), atol=1e-5)
    assert not np.allclose(captured, hidden[3][content].mean(0).numpy(), atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "last", "response"])
def test_batches_do_not_change_activations(tiny, pooling):
    model, tokenizer = tiny
    alone = capture(model, tokenizer, TEXTS, poolings=[pooling], batch_tokens=1)
    together = capture(model, tokenizer, TEXTS, poolings=[pooling], batch_tokens=10_000)
    np.testing.assert_allclose(alone.pooled[pooling], together.pooled[pooling], atol=1e-4)
    np.testing.assert_allclose(alone.norms, together.norms, atol=1e-4)


def test_last_pooling_takes_the_last_content_token(tiny):
    model, tokenizer = tiny
    hidden, content = reference(model, tokenizer, TEXTS[1])
    captured = pooled_activations(model, tokenizer, TEXTS[1:2], [0], pooling="last")[0, 0]
    np.testing.assert_allclose(captured, hidden[1][content][-1].numpy(), atol=1e-5)


def test_position_zero_and_special_tokens_are_left_out(organism):
    model, tokenizer = organism
    plain = "I look around. The ground is wet."
    marked = "I look around.</s> The ground is wet."
    hidden, content = reference(model, tokenizer, marked)
    assert content.sum() == len(tokenizer(marked)["input_ids"]) - 2
    captured = pooled_activations(model, tokenizer, [marked], [0])[0, 0]
    np.testing.assert_allclose(captured, hidden[1][content].mean(0).numpy(), atol=1e-5)
    assert not np.allclose(captured, pooled_activations(model, tokenizer, [plain], [0])[0, 0], atol=1e-4)


def test_response_pooling_takes_the_response_in_the_context_of_its_prompt(organism):
    model, tokenizer = organism
    prompt = render_prompt(tokenizer, "Be brief.", TEXTS[2])
    start, whole = len(encode_prompt(tokenizer, prompt)), prompt + TEXTS[0]
    ids = torch.tensor([[*encode_prompt(tokenizer, prompt), *tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]]])
    with torch.inference_mode():
        hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
    captured = pooled_activations(model, tokenizer, [(prompt, TEXTS[0]), TEXTS[0]], [1], pooling="response")[:, 0]
    np.testing.assert_allclose(captured[0], hidden[start:].mean(0).numpy(), atol=1e-5)
    assert not np.allclose(captured[0], pooled_activations(model, tokenizer, [whole], [1])[0, 0], atol=1e-3)
    np.testing.assert_allclose(captured[1], pooled_activations(model, tokenizer, [TEXTS[0]], [1])[0, 0], atol=1e-5)


def test_several_poolings_come_from_one_pass(organism):
    model, tokenizer = organism
    passes: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: passes.append(len(out)))
    together = capture(model, tokenizer, TEXTS, poolings=list(POOLINGS))
    handle.remove()
    assert sum(passes) == len(TEXTS)
    for name in POOLINGS:
        np.testing.assert_array_equal(together.pooled[name], pooled_activations(model, tokenizer, TEXTS, pooling=name))


def test_no_block_above_the_deepest_wanted_one_is_computed(organism):
    model, tokenizer = organism
    passes: list[int] = []
    handle = decoder_blocks(model)[3].register_forward_hook(lambda _m, _i, out: passes.append(len(out)))
    pooled_activations(model, tokenizer, TEXTS, [EMBEDDINGS, 2])
    handle.remove()
    assert not passes


def test_windows_are_those_of_one_pass_in_order(organism, monkeypatch):
    model, tokenizer = organism
    texts = [" ".join(TEXTS[: 1 + i % 3]) for i in range(7)]
    whole = capture(model, tokenizer, texts)
    monkeypatch.setattr(engine, "WINDOW", 3)
    windows = list(captured_windows(model, tokenizer, texts))
    assert [len(window.norms) for window in windows] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate([window.pooled["mean"] for window in windows]), whole.pooled["mean"], atol=1e-4)


def test_out_of_memory_halves_the_batch_and_goes_on(organism):
    model, tokenizer = organism
    expected = pooled_activations(model, tokenizer, TEXTS * 3)

    def crowded(_module, _inputs, output):
        if len(output) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = decoder_blocks(model)[1].mlp.register_forward_hook(crowded)
    captured = pooled_activations(model, tokenizer, TEXTS * 3)
    handle.remove()
    np.testing.assert_allclose(captured, expected, atol=1e-4)


def test_norms_are_mean_token_norms(organism):
    model, tokenizer = organism
    hidden, content = reference(model, tokenizer, TEXTS[0])
    norms = capture(model, tokenizer, TEXTS[:1], [2]).norms
    np.testing.assert_allclose(norms[0, 0], hidden[3][content].norm(dim=-1).mean().item(), rtol=1e-5)


def test_a_text_without_content_is_an_error(organism):
    with pytest.raises(InputError, match="text 1 has no content"):
        pooled_activations(*organism, ["I look around.", "I"])
    with pytest.raises(InputError, match="text 0 has no response tokens"):
        pooled_activations(*organism, [("I look around.", "")], pooling="response")


def test_hooks_are_gone_after_an_exception(organism, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("broken")

    def hooks():
        return [len(block._forward_hooks) + len(block._forward_pre_hooks) for block in decoder_blocks(organism[0])]

    monkeypatch.setitem(POOLINGS, "mean", broken)
    before = hooks()
    with pytest.raises(RuntimeError, match="broken"):
        pooled_activations(*organism, TEXTS)
    assert hooks() == before


def test_texts_are_cut_at_the_limit_or_where_positions_end_and_counted(organism, monkeypatch):
    model, tokenizer = organism
    text = " ".join(TEXTS)
    ids = tokenizer(text)["input_ids"]
    cut = capture(model, tokenizer, [text, TEXTS[0]], max_tokens=len(ids) - 4)
    shorter = capture(model, tokenizer, [tokenizer.decode(ids[:-4])])
    assert cut.cut == 1 and shorter.cut == 0
    np.testing.assert_allclose(cut.pooled["mean"][0], shorter.pooled["mean"][0], atol=1e-4)
    monkeypatch.setattr(model.config, "max_position_embeddings", len(ids) - 4)
    assert capture(model, tokenizer, [text]).cut == capture(model, tokenizer, [text], max_tokens=10_000).cut == 1


def test_texts_longer_than_learned_positions_are_cut(organism):
    config = AutoConfig.for_model("gpt2", vocab_size=768, n_embd=16, n_layer=2, n_head=2, n_positions=12)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert capture(model, organism[1], TEXTS).cut == 1


def test_a_padding_token_outside_the_vocabulary_harms_nothing(organism):
    model, tokenizer = organism
    other = AutoTokenizer.from_pretrained(ORGANISMS / "llama", pad_token="<outside>")
    other.add_tokens([f"<unused{i}>" for i in range(200)])
    other.pad_token = "<unused199>"
    assert other.pad_token_id >= model.config.vocab_size
    np.testing.assert_array_equal(pooled_activations(model, other, TEXTS), pooled_activations(model, tokenizer, TEXTS))


def test_a_type_that_overflows_is_said_with_the_first_text(organism):
    model, tokenizer = organism

    def overflow(_module, _inputs, output):
        return output * 1e38 * 1e38

    handle = decoder_blocks(model)[2].register_forward_hook(overflow)
    with pytest.raises(InputError, match=r"text 0: its activations at layer 2 are not finite in torch\.float32; use a wider"):
        pooled_activations(model, tokenizer, TEXTS)
    handle.remove()
