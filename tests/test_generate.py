"""Steered sampling: a text depends on its request alone, and on its direction at every step."""

import random

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from probesteer.lm import generate as engine
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.generate import Request, filter_logits, generate, generate_tokens, gumbel_noise, row_seed

PROMPTS = [
    "I put",
    "The light is low. I stay warm about it. I choose the exit",
    "A bell rings twice. The wall is old and grey. Here the old man counts for more than",
]


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


def test_sampled_text_does_not_depend_on_the_batch(organism):
    requests = [request for request in requests_for(organism[0]) for _ in range(2)]
    requests = [
        Request(request.prompt, request.layer, request.direction, request.alpha, (7, number))
        for number, request in enumerate(requests)
    ]
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


def test_steering_adds_the_push_at_every_position_of_every_step(tiny):
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


def test_hooks_are_gone_after_an_exception(organism, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(engine, "_sample", broken)
    direction = np.ones(organism[0].config.hidden_size, dtype=np.float32)
    before = [len(block._forward_hooks) for block in decoder_blocks(organism[0])]
    with pytest.raises(RuntimeError, match="broken"):
        generate(*organism, [Request(PROMPTS[0], 1, direction, 1.0)], 4, temperature=0.7)
    assert [len(block._forward_hooks) for block in decoder_blocks(organism[0])] == before


def test_noise_is_gumbel_and_keyed_by_row_step_and_token():
    seeds = torch.tensor([row_seed((0, "a", i)) for i in range(4)])
    noise = gumbel_noise(seeds, torch.full_like(seeds, 3), 50_000)
    for row in noise:
        assert kstest(row.double().numpy(), "gumbel_r").pvalue > 0.001
    assert abs(np.corrcoef(noise.numpy()) - np.eye(4)).max() < 0.02
    torch.testing.assert_close(noise[2:3], gumbel_noise(seeds[2:3], torch.tensor([3]), 50_000))
    assert not torch.equal(noise, gumbel_noise(seeds, torch.full_like(seeds, 4), 50_000))


def test_gumbel_max_samples_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    seeds = torch.tensor([row_seed((5, i)) for i in range(20_000)])
    chosen = engine._sample(logits.repeat(len(seeds), 1), seeds, 0, 1.0, 1.0, 0)
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

        monkeypatch.setattr(engine, "_sample", record)
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


def test_a_steered_row_differs_from_its_unsteered_twin_at_every_step(tiny, logits_of):
    model, tokenizer = tiny
    direction = np.ones(model.config.hidden_size, dtype=np.float32) * np.array([1, -1] * (model.config.hidden_size // 2))
    for layer in range(3):
        twins = [Request(PROMPTS[0], layer, direction.astype(np.float32), alpha) for alpha in (0.0, 2.0)]
        for step in logits_of(model, tokenizer, twins):
            assert (step[0] - step[1]).abs().max() > 1e-2


def test_samples_of_a_cell_share_one_prefill(organism):
    model, tokenizer = organism
    direction = np.ones(model.config.hidden_size, dtype=np.float32)
    requests = [Request(PROMPTS[0], 1, direction, alpha, (0, sample)) for alpha in (-1.0, 1.0) for sample in range(5)]
    rows: list[int] = []
    handle = decoder_blocks(model)[0].register_forward_hook(lambda _m, _i, out: rows.append(len(out)))
    together = generate(model, tokenizer, requests, 8, temperature=0.7)
    handle.remove()
    assert rows[:2] == [2, 10]
    assert together == [generate(model, tokenizer, [request], 8, temperature=0.7)[0] for request in requests]
