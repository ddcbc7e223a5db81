"""Outputs exchanged between runs, and directions taken out, against plain hooks and on an organism."""

import numpy as np
import pytest
import torch
from conftest import ORGANISMS

from probesteer.concepts import grammar
from probesteer.directions import load_planted
from probesteer.lm.blocks import decoder_blocks, untuple
from probesteer.lm.load import render_prompt
from probesteer.lm.mediation import ALL, ablated, case_of, log_odds, patched
from probesteer.lm.sites import BLOCK, part

TEXTS = "I put the hurt climber before the exit.", "I put the exit before the hurt climber."


def case(lm):
    model, tokenizer = lm
    scene = grammar.SCENES["the_maze"]
    user = grammar.situation(scene, scene.persons[0], scene.goals[0])
    prompts = [render_prompt(tokenizer, grammar.SYSTEM_PROMPTS[side][0], user) for side in ("positive", "negative")]
    return case_of(model, tokenizer, tuple(prompts), TEXTS, 48)


def plain_odds(model, prompt, answers):
    """Log-odds of two answers, token by token, by another way than the package's."""
    total = []
    for answer in answers:
        tokens = torch.cat([prompt, answer])[None]
        with torch.inference_mode():
            likely = model(tokens).logits.log_softmax(-1)
        total.append(sum(float(likely[0, len(prompt) - 1 + i, token]) for i, token in enumerate(answer)))
    return total[0] - total[1]


def test_patches_are_those_of_plain_hooks(tiny):
    """Another implementation: rows one by one, the other run's output written into the last positions in place."""
    model, one = tiny[0], case(tiny)
    asked, against = (plain_odds(model, prompt, one.answers) for prompt in (one.asked, one.against))
    assert log_odds(model, one.asked, one.answers) == pytest.approx(asked, abs=1e-4)
    found, length = patched(model, one), one.answers.shape[1]
    assert found["total", (BLOCK, -1)] == pytest.approx(asked - against, abs=1e-4)
    for site in ("block", "attention", "mlp"):
        module, total = part(decoder_blocks(model)[1], site), []
        for answer in one.answers:
            kept = []
            hook = module.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(untuple(out).clone()))
            with torch.inference_mode():
                model(torch.cat([one.asked, answer[:-1]])[None])
            hook.remove()

            def write(_module, _inputs, out, kept=kept):
                untuple(out)[:, -length:] = kept[0][:, -length:]

            hook = module.register_forward_hook(write)
            with torch.inference_mode():
                likely = model(torch.cat([one.against, answer[:-1]])[None]).logits.log_softmax(-1)[0]
            hook.remove()
            total.append(sum(float(likely[len(one.against) - 1 + i, token]) for i, token in enumerate(answer)))
        assert found["denoising", (site, 1)] == pytest.approx(total[0] - total[1] - against, abs=1e-4), site


def test_the_whole_stream_of_the_last_block_brings_the_whole_effect(tiny):
    one = case(tiny)
    found = patched(tiny[0], one, ALL) if one.aligned else patched(tiny[0], one)
    total, last = found["total", (BLOCK, -1)], len(decoder_blocks(tiny[0])) - 1
    for kind in ("denoising", "noising"):
        assert found[kind, (BLOCK, last)] == pytest.approx(total, abs=1e-4)


def test_the_planted_direction_mediates_the_prompt_at_its_block_and_few_random_ones_do(organism):
    """The organism's stance was planted along a known direction at block 3, whose output block 4 is the first to read."""
    model, one = organism[0], case(organism)
    planted = load_planted(ORGANISMS / "llama/planted.safetensors")
    rng = np.random.default_rng(0)
    random = [drawn / np.linalg.norm(drawn) for drawn in rng.standard_normal((60, 64)).astype(np.float32)]

    def left(direction, layers):
        return ablated(model, one, dict.fromkeys(range(6), direction), layers)[0]

    whole = left(planted, [])
    lost = [whole - left(planted, [layer]) for layer in range(6)]
    assert whole > 5 and np.argmax(lost) == 3 and lost[3] > 0.4 * whole
    assert max(lost[:3] + lost[4:]) < 0.15 * whole
    others = np.array([whole - left(other, [3]) for other in random])
    assert others.mean() < 0.1 * whole and (others >= lost[3]).sum() <= 1


@pytest.mark.parametrize("kind", ["denoising", "noising"])
def test_patching_finds_the_block_whose_attention_reads_the_planted_one(organism, kind):
    found = patched(organism[0], case(organism))
    shares = [found[kind, ("attention", layer)] / found["total", (BLOCK, -1)] for layer in range(6)]
    assert np.argmax(shares) == 4 and shares[4] > 0.7 and max(shares[:4]) < 0.3
