"""Operators on one hook, and the sites of attention and MLP on many architectures."""

import pytest
import torch
from test_architectures import ARCHITECTURES, random_model

from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks, untuple
from probesteer.lm.hooks import add, operating, project_out, replace, steering, then
from probesteer.lm.sites import ATTENTION, MLP, WHOLE, sites

TOKENS = torch.arange(20, 32).reshape(2, 6)
WITHOUT_PARTS = {"bloom", "mpt"}  # whose attention and MLP add the stream to what they return


def logits(model, *operators):
    with torch.inference_mode(), operating(operators):
        return model(TOKENS).logits


def test_steering_adds_to_the_last_bit(tiny):
    model, _ = tiny
    blocks, push = decoder_blocks(model), torch.randn(2, 32)
    plain = blocks[1].register_forward_hook(
        lambda _m, _i, out: out + push[:, None] if isinstance(out, torch.Tensor) else (out[0] + push[:, None], *out[1:])
    )
    with torch.inference_mode():
        expected = model(TOKENS).logits
        plain.remove()
        with steering(blocks, {1: push}):
            assert torch.equal(model(TOKENS).logits, expected)
        assert not torch.equal(model(TOKENS).logits, expected)


def test_a_direction_that_is_projected_out_is_not_there_and_nothing_else_is_changed():
    hidden, direction = torch.randn(2, 5, 8), torch.nn.functional.normalize(torch.randn(8), dim=0)
    left = project_out(direction)(hidden)
    assert (left @ direction).abs().max() < 1e-6
    other = torch.randn(8)
    other -= (other @ direction) * direction
    assert torch.allclose(left @ other, hidden @ other, atol=1e-5)
    pushed = then(project_out(direction), add(3 * direction[None].expand(2, -1)))(hidden)
    assert torch.allclose(pushed @ direction, torch.full((2, 5), 3.0), atol=1e-5)


def test_replaced_positions_are_the_last_ones():
    hidden, values = torch.randn(2, 5, 8), torch.randn(2, 2, 8)
    found = replace(values)(hidden)
    assert torch.equal(found[:, 3:], values) and torch.equal(found[:, :3], hidden[:, :3])


def test_what_is_replaced_by_itself_changes_nothing_and_by_another_run_gives_that_run(tiny):
    model, _ = tiny
    blocks, kept = decoder_blocks(model), []
    hook = blocks[2].register_forward_hook(lambda _m, _i, out: kept.append(untuple(out)))
    own = logits(model)
    other_tokens = TOKENS + 40
    with torch.inference_mode():
        other = model(other_tokens).logits
    hook.remove()
    assert torch.allclose(logits(model, (blocks[2], replace(kept[0]))), own, atol=1e-5)
    assert torch.allclose(logits(model, (blocks[2], replace(kept[1]))), other, atol=1e-5)


@pytest.mark.parametrize("kind", [name for name in ARCHITECTURES if name not in WITHOUT_PARTS])
def test_attention_and_mlp_outputs_are_what_a_block_adds_to_the_stream(kind):
    """Where nothing scales them on the way, the stream after a block is that before it and both parts."""
    model = random_model(kind)
    where, seen, before = sites(model), {}, {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, key=key: seen.__setitem__(key, untuple(out).clone()))
        for key, module in where.items()
    ]
    first = where["block", 1]
    hooks.append(
        first.register_forward_pre_hook(
            lambda _m, args, kwargs: before.update(x=args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
    )
    with torch.inference_mode():
        model(TOKENS)
    for hook in hooks:
        hook.remove()
    parts = seen[ATTENTION, 1].reshape(before["x"].shape) + seen[MLP, 1].reshape(before["x"].shape)
    added = seen["block", 1] - before["x"]
    scale = 1.0
    if kind == "granite":
        scale = model.config.residual_multiplier
    assert torch.allclose(scale * parts, added, atol=1e-4), kind


@pytest.mark.parametrize("kind", sorted(WITHOUT_PARTS))
def test_parts_that_return_the_stream_itself_are_refused(kind):
    with pytest.raises(InputError, match="no output of its own"):
        sites(random_model(kind))
    assert type(decoder_blocks(random_model(kind))[0]).__name__ in WHOLE
