"""Steered sampling: a text depends on its request alone, and on its direction at every step."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import disk_offload
from conftest import ORGANISMS
from scipy.stats import chisquare, kstest
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from probesteer.errors import InputError
from probesteer.lm import generate as engine
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.engine.batch import pad_rows
from probesteer.lm.engine.cache import cached_bytes
from probesteer.lm.engine.prefill import prefill
from probesteer.lm.engine.sampling import filter_logits, gumbel_noise, row_seed, sample
from probesteer.lm.generate import continuations, generate
from probesteer.lm.hooks import steering
from probesteer.lm.load import load_model
from probesteer.lm.request import Request, push_rows
from probesteer.progress import progress

PROMPTS = [
    "I put",
    "The light is low. I stay warm about it. I choose the exit",
    "A bell rings twice. The wall is old and grey. Here the old man counts for more than",
]


def generate_tokens(*arguments, **settings) -> list[list[int]]:
    return [answer.tokens for answer in continuations(*arguments, **settings)]


@pytest.fixture
def no_probe_of_memory(monkeypatch) -> None:
    """Hooks then see the forward passes over the requests alone."""
    monkeypatch.setattr(engine, "cache_tokens", lambda *_: 100_000)


def requests_for(model, prompts=PROMPTS) -> list[Request]:
    """Ragged prompts, several layers, directions and doses, and unsteered rows."""
    rng = np.random.default_rng(0)
    hidden = model.config.hidden_size
    mixed = []
    for number, prompt in enumerate(prompts):
        for layer, alpha in ((None, 0.0), (0, 3.0), (1, -4.0), (2, 2.0)):
            direction = rng.standard_normal(hidden).astype(np.float32)
            direction /= np.linalg.norm(direction)
            mixed.append(Request(prompt, layer, direction if layer is not None else None, alpha, (0, number)))
    return mixed


def test_greedy_text_of_mixed_rows_equals_batch_one_text(tiny):
    model, tokenizer = tiny
    requests = requests_for(model)
    together = generate_tokens(model, tokenizer, requests, 12, temperature=0)
    alone = [generate_tokens(model, tokenizer, [request], 12, temperature=0)[0] for request in requests]
    assert together == alone


def test_greedy_text_equals_that_of_transformers(tiny):
    model, tokenizer = tiny
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, top_k=0)
        assert (
            generate_tokens(model, tokenizer, [Request(prompt)], 12, temperature=0)[0] == expected[0, ids.shape[1] :].tolist()
        )


def test_sampled_text_does_not_depend_on_the_batch(organism, monkeypatch):
    """Equal, unless the two best perturbed logits lie within 1e-3 at the first difference: the promise on batches."""
    model, tokenizer = organism
    requests = [replace(request, seed_key=(7, n)) for n, request in enumerate(requests_for(model) * 20)]
    together = generate_tokens(model, tokenizer, requests, 24, temperature=0.7)
    margins: list[float] = []

    def watched(logits, seeds, step, temperature, *_filters):
        perturbed = logits.float() / temperature + gumbel_noise(seeds, step, logits.shape[-1])
        best = perturbed.topk(2)
        margins.append((best.values[0, 0] - best.values[0, 1]).item())
        return best.indices[:, 0]

    monkeypatch.setattr(engine, "sample", watched)
    equal = 0
    for request, tokens in zip(requests, together, strict=True):
        margins.clear()
        alone = generate_tokens(model, tokenizer, [request], 24, temperature=0.7)[0]
        if alone == tokens:
            equal += 1
            continue
        assert margins[next(i for i, pair in enumerate(zip(alone, tokens, strict=False)) if pair[0] != pair[1])] < 1e-3
    assert equal > 0.99 * len(requests)


def test_the_order_and_size_of_batches_do_not_change_texts(organism):
    requests = [replace(request, seed_key=(7, n)) for n, request in enumerate(requests_for(organism[0]) * 2)]
    first = generate(*organism, requests, 24, temperature=0.7)
    order = list(range(len(requests)))
    random.Random(0).shuffle(order)
    shuffled = generate(*organism, [requests[i] for i in order], 24, temperature=0.7, batch_rows=5)
    assert [first[i] for i in order] == shuffled


def test_alpha_zero_equals_no_hook_at_all(tiny):
    model, tokenizer = tiny
    direction = np.ones(model.config.hidden_size, dtype=np.float32)
    steered = [Request(prompt, 1, direction, 0.0, (0,)) for prompt in PROMPTS]
    plain = [Request(prompt, seed_key=(0,)) for prompt in PROMPTS]
    assert generate(model, tokenizer, steered, 12, temperature=0.7) == generate(model, tokenizer, plain, 12, temperature=0.7)


def test_steering_adds_the_push_at_every_position_of_every_step(tiny, no_probe_of_memory):
    model, tokenizer = tiny
    direction = np.zeros(model.config.hidden_size, dtype=np.float32)
    direction[3] = 1
    seen: list[torch.Tensor] = []
    block = decoder_blocks(model)[1]
    before = block.register_forward_hook(lambda _m, _i, out: seen.append(out[..., 3].clone()))
    generate(model, tokenizer, [Request(PROMPTS[0])], 1, temperature=0)
    plain = seen.pop()
    seen.clear()

    # a hook that runs after the steering one sees what the next block gets
    after_values: list[torch.Tensor] = []

    def watch(_module, args, kwargs):
        after_values.append((args[0] if args else kwargs["hidden_states"])[..., 3].clone())

    after = decoder_blocks(model)[2].register_forward_pre_hook(watch, with_kwargs=True)
    generate(model, tokenizer, [Request(PROMPTS[0], 1, direction, 5.0)], 6, temperature=0)
    before.remove()
    after.remove()
    torch.testing.assert_close(after_values[0], plain + 5.0)
    assert len(after_values) >= 2
    for unsteered, steered in zip(seen, after_values, strict=True):
        torch.testing.assert_close(steered - unsteered, torch.full_like(steered, 5.0))


def test_rows_that_ended_leave_the_batch_and_keep_their_text(organism):
    model, tokenizer = organism
    requests = [Request(PROMPTS[i % 3], seed_key=(1, i)) for i in range(9)]
    tokens = generate_tokens(model, tokenizer, requests, 40, temperature=0.7)
    lengths = {len(row) for row in tokens}
    assert len(lengths) > 1, "the rows should end at different steps"
    assert all(tokenizer.eos_token_id not in row[:-1] for row in tokens)


def test_rows_share_the_memory_that_keys_and_values_may_take(organism, monkeypatch):
    model, tokenizer = organism
    requests = [Request(prompt, seed_key=(1, i)) for i, prompt in enumerate(PROMPTS * 4)]
    plenty = continuations(model, tokenizer, requests, 8, temperature=0.7)
    longest = max(len(tokenizer(prompt)["input_ids"]) for prompt in PROMPTS) + 8
    monkeypatch.setattr(engine, "cache_tokens", lambda *_: 3 * longest)
    scarce = continuations(model, tokenizer, requests, 8, temperature=0.7)
    assert {answer.batch_rows for answer in plenty} == {12} and max(answer.batch_rows for answer in scarce) < 12
    assert [answer.tokens for answer in plenty] == [answer.tokens for answer in scarce]


def test_cached_bytes_are_those_of_the_architecture(tiny):
    model, _ = tiny
    config = model.config
    per_block = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
    assert cached_bytes(model, model.device) == config.num_hidden_layers * per_block


def test_out_of_memory_halves_the_batch_and_goes_on_with_the_same_texts(organism, no_probe_of_memory):
    model, tokenizer = organism
    direction = np.ones(model.config.hidden_size, dtype=np.float32)
    requests = [Request(prompt, 1, direction, 1.0, (0, i)) for i, prompt in enumerate(PROMPTS * 4)]
    expected = generate_tokens(model, tokenizer, requests, 8, temperature=0.7)
    sizes: list[int] = []

    def crowded(_module, _inputs, output):
        sizes.append(len(output))
        if len(output) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = decoder_blocks(model)[2].mlp.register_forward_hook(crowded)
    answers = continuations(model, tokenizer, requests, 8, temperature=0.7)
    handle.remove()
    assert max(sizes) == 12 and {answer.batch_rows for answer in answers} == {3}
    assert [answer.tokens for answer in answers] == expected


def test_a_row_that_does_not_fit_alone_is_an_error(organism):
    model, tokenizer = organism

    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = model.lm_head.register_forward_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        generate(model, tokenizer, [Request(PROMPTS[0])] * 2, 4, temperature=0)
    handle.remove()


def test_more_tokens_than_the_model_has_positions_is_an_error(organism):
    with pytest.raises(InputError, match="the model takes 512"):
        generate(*organism, [Request(PROMPTS[0])], 511, temperature=0)


def test_a_type_that_overflows_is_an_error_and_no_empty_text(organism):
    handle = decoder_blocks(organism[0])[2].register_forward_hook(lambda _m, _i, output: output * float("inf"))
    with pytest.raises(InputError, match=r"logits are not finite in torch\.float32: .* needs a wider dtype"):
        generate(*organism, [Request(PROMPTS[0])], 4, temperature=0.7)
    handle.remove()


def test_an_architecture_without_a_key_value_cache_is_refused():
    config = AutoConfig.for_model("mamba", vocab_size=768, hidden_size=16, num_hidden_layers=1, pad_token_id=0)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="mamba keeps"):
        cached_bytes(model, model.device)


def test_hooks_are_gone_after_an_exception(organism, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("broken")

    model, tokenizer = organism
    blocks = decoder_blocks(model)
    direction = np.ones(model.config.hidden_size, dtype=np.float32)
    requests = [Request(PROMPTS[0], 1, direction, alpha) for alpha in (1.0, 2.0)]
    before = [len(block._forward_hooks) for block in blocks]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="broken"):
        patch.setattr(engine, "sample", broken)
        generate(model, tokenizer, requests, 4, temperature=0.7)
    handle = blocks[4].register_forward_hook(broken)  # while the blocks below are skipped
    with pytest.raises(RuntimeError, match="broken"):
        generate(model, tokenizer, requests, 4, temperature=0.7)
    handle.remove()
    assert [len(block._forward_hooks) for block in blocks] == before
    assert all("forward" not in vars(block) for block in blocks)


def test_noise_is_gumbel_and_keyed_by_row_step_and_token():
    seeds = torch.tensor([row_seed((0, "a", i)) for i in range(4)])
    noise = gumbel_noise(seeds, 3, 50_000)
    for row in noise:
        assert kstest(row.double().numpy(), "gumbel_r").pvalue > 0.001
    assert abs(np.corrcoef(noise.numpy()) - np.eye(4)).max() < 0.02
    torch.testing.assert_close(noise[2:3], gumbel_noise(seeds[2:3], 3, 50_000))
    assert not torch.equal(noise, gumbel_noise(seeds, 4, 50_000))


def test_gumbel_max_samples_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    seeds = torch.tensor([row_seed((5, i)) for i in range(20_000)])
    chosen = sample(logits.repeat(len(seeds), 1), seeds, 0, 1.0, 1.0, 0)
    expected = logits.double().softmax(0).numpy() * len(seeds)
    assert chisquare(np.bincount(chosen.numpy(), minlength=4), expected).pvalue > 0.001


def test_top_k_and_top_p_keep_the_best_tokens():
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]]))
    assert filter_logits(logits, 2, 1.0).isfinite().tolist() == [[False, True, False, True]]
    assert filter_logits(logits, 0, 0.7).isfinite().tolist() == [[False, True, False, True]]
    assert filter_logits(logits, 0, 0.8).isfinite().tolist() == [[False, True, True, True]]
    assert torch.equal(filter_logits(logits, 0, 1.0), logits)


@pytest.fixture
def logits_of(monkeypatch):
    """Runs greedy generation and returns its logits: one (rows, vocabulary) tensor per step, rows by prompt length."""

    def run(model, tokenizer, requests, steps=6):
        seen: list[torch.Tensor] = []

        def record(logits, *_settings):
            seen.append(logits.clone())
            return logits.argmax(-1)

        monkeypatch.setattr(engine, "sample", record)
        monkeypatch.setattr(engine, "end_tokens", lambda *_: {-1})  # no row ends, so that rows keep their place
        generate(model, tokenizer, requests, steps, temperature=0)
        return seen

    return run


def test_logits_agree_whatever_the_batch(tiny, logits_of):
    model, tokenizer = tiny
    requests = sorted(requests_for(model), key=lambda request: len(tokenizer(request.prompt)["input_ids"]))
    together = logits_of(model, tokenizer, requests)
    for row, request in enumerate(requests):
        alone = logits_of(model, tokenizer, [request])
        for step, logits in enumerate(alone):
            torch.testing.assert_close(together[step][row], logits[0], atol=1e-4, rtol=0)


def test_logits_of_steered_prompts_agree_whatever_the_padding_side(tiny):
    model, tokenizer = tiny
    requests = requests_for(model)
    ids = [tokenizer(request.prompt)["input_ids"] for request in requests]
    left = prefill(model, ids, requests, 1).logits
    tokens, mask = pad_rows(ids, "right")
    with torch.inference_mode(), steering(decoder_blocks(model), push_rows(model, requests)):
        right = model(input_ids=tokens, attention_mask=mask).logits[torch.arange(len(ids)), mask.sum(1) - 1]
    torch.testing.assert_close(left, right, atol=1e-4, rtol=0)


def test_steering_the_response_leaves_the_prompt_as_it_is(tiny, logits_of):
    model, tokenizer = tiny
    direction = np.ones(model.config.hidden_size, dtype=np.float32) * np.array([1, -1] * (model.config.hidden_size // 2))
    request = Request(PROMPTS[1], 1, direction.astype(np.float32), 2.0)
    rows = [Request(PROMPTS[1]), replace(request, positions="response"), request]
    first, *rest = logits_of(model, tokenizer, rows)
    torch.testing.assert_close(first[0], first[1], atol=1e-4, rtol=0)
    assert (first[0] - first[2]).abs().max() > 1e-2
    for step in rest:
        assert (step[0] - step[1]).abs().max() > 1e-2


def test_a_steered_row_differs_from_its_unsteered_twin_at_every_step(tiny, logits_of):
    model, tokenizer = tiny
    direction = np.ones(model.config.hidden_size, dtype=np.float32) * np.array([1, -1] * (model.config.hidden_size // 2))
    for layer in range(3):
        twins = [Request(PROMPTS[0], layer, direction.astype(np.float32), alpha) for alpha in (0.0, 2.0)]
        for step in logits_of(model, tokenizer, twins):
            assert (step[0] - step[1]).abs().max() > 1e-2


def test_a_prompt_is_computed_once_below_the_steered_block_and_once_per_push_above(organism, no_probe_of_memory):
    model, tokenizer = organism
    direction = np.ones(model.config.hidden_size, dtype=np.float32)
    requests = [Request(PROMPTS[0], 1, direction, alpha, (0, sample)) for alpha in (-1.0, 1.0) for sample in range(5)]
    rows: dict[int, list[int]] = {0: [], 1: [], 2: []}
    handles = [
        decoder_blocks(model)[layer].mlp.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(len(out)))
        for layer, seen in rows.items()
    ]
    together = generate(model, tokenizer, requests, 8, temperature=0.7)
    for handle in handles:
        handle.remove()
    assert [seen[:2] for seen in rows.values()] == [[1, 10], [1, 10], [2, 10]]
    assert together == [generate(model, tokenizer, [request], 8, temperature=0.7)[0] for request in requests]


OTHERS = {
    "gpt2": {"n_positions": 128},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "mistral": {"sliding_window": 8},
    "qwen3": {"head_dim": 8},
}


@pytest.mark.parametrize("architecture", OTHERS)
def test_mixed_rows_equal_batch_one_on_other_architectures(architecture, logits_of):
    """Blocks elsewhere, blocks that return tuples, learned positions, alibi, windows shorter than the prompt, grouped heads."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 768, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    grouped = {"num_key_value_heads": 2} if architecture in ("gemma2", "mistral", "qwen3") else {}
    config = AutoConfig.for_model(architecture, **sizes, **grouped, **OTHERS[architecture], initializer_range=0.2)
    model = AutoModelForCausalLM.from_config(config).eval()
    tokenizer = AutoTokenizer.from_pretrained(ORGANISMS / "llama")
    requests = sorted(requests_for(model), key=lambda request: len(tokenizer(request.prompt)["input_ids"]))
    together = logits_of(model, tokenizer, requests)
    for row, request in enumerate(requests):
        for step, logits in enumerate(logits_of(model, tokenizer, [request])):
            torch.testing.assert_close(together[step][row], logits[0], atol=1e-4, rtol=0)
    ids = torch.tensor([tokenizer(PROMPTS[2])["input_ids"]])
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=None)
    steps = logits_of(model, tokenizer, [Request(PROMPTS[2])])
    assert [step.argmax(-1).item() for step in steps] == expected[0, ids.shape[1] :].tolist()


def test_steering_works_on_blocks_that_accelerate_moves(tmp_path):
    """accelerate replaces the forward of modules that it places; hooks and shared prefill must still act."""
    model, tokenizer = load_model(str(ORGANISMS / "llama"), device="cpu")
    requests = [replace(request, seed_key=(3, n)) for n, request in enumerate(requests_for(model))]
    expected = generate(model, tokenizer, requests, 8, temperature=0.7)
    for number, block in enumerate(decoder_blocks(model)):
        disk_offload(block, str(tmp_path / str(number)), execution_device=torch.device("cpu"))
    moved = [vars(block)["forward"] for block in decoder_blocks(model)]
    assert generate(model, tokenizer, requests, 8, temperature=0.7) == expected
    assert [vars(block)["forward"] for block in decoder_blocks(model)] == moved


def test_progress_counts_every_token_once_also_of_rows_that_end_and_of_batches_that_are_run_again(organism, monkeypatch):
    model, tokenizer = organism
    requests = [Request("I put the old man before", seed_key=(0, number)) for number in range(6)]
    told: list[int] = []
    continuations(model, tokenizer, requests, 40, 0.7, advance=told.append)
    assert sum(told) == 6 * 40 and len(told) > 2
    whole, runs = engine.decode, []

    def fails_first(*arguments):
        runs.append(len(arguments[1].logits))
        answer = whole(*arguments)
        if len(runs) == 1:
            raise RuntimeError("CUDA out of memory.")
        return answer

    monkeypatch.setattr(engine, "decode", fails_first)
    told.clear()
    continuations(model, tokenizer, requests, 40, 0.7, advance=told.append)
    assert sum(told) == 6 * 40 and runs == [6, 3, 3]


def test_a_log_has_a_line_for_each_state_of_a_bar(capsys):
    with progress(2000, "llama, layer 3", "token") as bar:
        bar.update(1000)
        bar.last_print_t -= 61
        bar.update(500)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("llama, layer 3: 75% of 2.00k tokens, ") and " left, " in lines[1]
    assert all("\r" not in line and line for line in lines) and len(lines) == 3
