"""Prompts turn by turn: what is kept of the turn before changes no number, and rows do not depend on each other."""

import numpy as np
import pytest
import torch

from probesteer.lm.engine.prefill import prefill
from probesteer.lm.generate import continuations
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request
from probesteer.lm.turns import Turns, drawn

HEAD = "You are in the maze. You see the old man and you think of the exit."
TURNS = [  # of three rows: what grows in the middle, what changes at the end
    ["It is late in the day. What do you do?", "I look around. It is late. What now?", "The ground is wet."],
    ["It is late in the day. I look around. What do you do now?", "I look around. I take one more breath. Late.", "The wall."],
    ["It is late in the day. I look around. A bell rings. Well?", "I look around. I take one more breath. A bell.", "The wet."],
]
ANSWERS = ["I put the exit first.", "I put it", "I choose", "Here the old man counts for more than the exit."]


def rows_of(model, positions="all") -> list[Request]:
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((3, model.config.hidden_size)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    pushes = [(1, 2.0), (None, 0.0), (0, -3.0)]
    rows = zip(pushes, directions, strict=True)
    return [Request("", layer, own, push, (0, at), positions) for at, ((layer, push), own) in enumerate(rows)]


def prompts_of(tokenizer, turn: int) -> list[list[int]]:
    heads = [HEAD, HEAD + " You look around twice.", HEAD]
    return [encode_prompt(tokenizer, f"{head} {text}") for head, text in zip(heads, TURNS[turn], strict=True)]


def encoded(tokenizer) -> list[list[int]]:
    return [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in ANSWERS]


def direct(model, request: Request, prompt: list[int], answer: list[int]) -> float:
    """log P of an answer in one pass of its own, with a plain hook; the push acts on the prompt too."""

    def hook(_block, _inputs, output):
        pushed = torch.tensor(request.push * request.direction)
        return (output[0] + pushed, *output[1:]) if isinstance(output, tuple) else output + pushed

    from probesteer.lm.blocks import decoder_blocks

    handle = decoder_blocks(model)[request.layer].register_forward_hook(hook) if request.layer is not None else None
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    if handle:
        handle.remove()
    return float(sum(logits[len(prompt) - 1 + at, token] for at, token in enumerate(answer)))


def test_the_likelihood_of_answers_is_that_of_a_pass_of_their_own_in_every_turn(tiny):
    model, tokenizer = tiny
    requests = rows_of(model)
    turns, answers = Turns(model, tokenizer, requests), encoded(tokenizer)
    for turn in range(3):
        prompts = prompts_of(tokenizer, turn)
        turns.read([0, 1, 2], prompts, 30)
        own = [answers, answers[:2], answers[1:]]
        found = turns.likelihoods(own)
        turns.answers([(turn, row) for row in range(3)], 12, 0.7)  # rows end at different steps and change places
        for request, prompt, asked, values in zip(requests, prompts, own, found, strict=True):
            expected = [direct(model, request, prompt, answer) for answer in asked]
            np.testing.assert_allclose(values, expected, atol=2e-3)


@pytest.mark.parametrize("positions", ["all", "response"])
def test_answers_are_those_of_the_engine_also_after_rows_have_left(organism, positions):
    model, tokenizer = organism
    requests = rows_of(model, positions)
    turns = Turns(model, tokenizer, requests)
    for turn, rows in enumerate([[0, 1, 2], [0, 2], [2]]):
        prompts = prompts_of(tokenizer, turn)
        turns.read(rows, [prompts[row] for row in rows], 30)
        turns.likelihoods([encoded(tokenizer)] * len(rows))
        keys = [(5, turn, row) for row in rows]
        texts = [tokenizer.decode(prompts[row]) for row in rows]
        asked = [
            Request(text, r.layer, r.direction, r.push, key, positions)
            for text, r, key in zip(texts, (requests[row] for row in rows), keys, strict=True)
        ]
        expected = [answer.tokens for answer in continuations(model, tokenizer, asked, 30, 0.7)]
        assert turns.answers(keys, 30, 0.7) == expected


def test_what_a_prompt_shares_with_the_one_before_is_not_computed_again(organism):
    model, tokenizer = organism
    seen: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(args[0].numel()))
    turns, prompts = Turns(model, tokenizer, [Request("")]), [prompts_of(tokenizer, turn)[:1] for turn in range(2)]
    turns.read([0], prompts[0], 8)
    seen.clear()
    turns.read([0], prompts[1], 8)
    handle.remove()
    assert sum(seen) < len(prompts[1][0]) / 2
    assert torch.allclose(turns.prompted.logits, prefill(model, prompts[1], [Request("")], 8).logits, atol=1e-4)


def test_rows_with_one_prompt_under_one_push_are_computed_once_in_every_turn(organism):
    model, tokenizer = organism
    pushed = rows_of(model)[0]
    requests = [Request("", 1, pushed.direction, push, positions="response") for push in (2.0, -2.0, 0.0, 3.0)]
    turns, seen = Turns(model, tokenizer, requests), []
    prompts = [[prompts_of(tokenizer, turn)[row] for row in (0, 2, 0, 2)] for turn in range(2)]
    handle = model.get_input_embeddings().register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    turns.read(range(4), prompts[0], 30)
    seen.clear()
    turns.read(range(4), prompts[1], 30)
    handle.remove()
    assert sum(seen) == 2
    found = turns.likelihoods([encoded(tokenizer)] * 4)
    for row, request in enumerate(requests):
        alone = Turns(model, tokenizer, [request])
        alone.read([0], [prompts[1][row]], 30)
        np.testing.assert_allclose(found[row], alone.likelihoods([encoded(tokenizer)])[0], atol=1e-3)
    assert not np.allclose(found[0], found[2], atol=0.1)


def test_an_action_is_drawn_by_its_likelihood_and_by_its_key_alone():
    log_p = np.log([0.5, 0.3, 0.2]) - 7
    draws = np.bincount([drawn(log_p, (1, number)) for number in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(draws, [0.5, 0.3, 0.2], atol=0.03)
    assert len({drawn(log_p, (1, "game", 2)) for _ in range(5)}) == 1
