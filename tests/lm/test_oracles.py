"""The engine's push, and what runs exchange, are those of TransformerLens, which has code of its own; where it is installed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ORGANISMS
from oracles import Ours, transformer_lens
from test_architectures import random_model
from test_mediation import case
from transformers import AutoTokenizer

from probesteer.lm.load import load_model
from probesteer.lm.mediation import ALL, RESPONSE, Case, Site, patched
from probesteer.lm.sites import ATTENTION, BLOCK, MLP

HOOKS = {BLOCK: "hook_resid_post", ATTENTION: "hook_attn_out", MLP: "hook_mlp_out"}


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_a_push_does_what_it_does_in_transformer_lens_at_the_same_block(name):
    pytest.importorskip("transformer_lens")
    ours = Ours(*load_model(str(ORGANISMS / name), dtype="float32", device="cpu"))
    for found in ours.compared(transformer_lens(ORGANISMS / name)):
        before, there, after = found.alike
        assert found.unpushed < 1e-4 and found.pushed < 1e-4 and found.same == 1
        assert there > 0.9999 and max(before, after) < 0.99


def bridge(folder: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)


def bridge_patched(lens: Any, one: Case, positions: str) -> dict[tuple[str, Site], float]:
    """What `patched` gives, by TransformerLens alone: a row at a time, its hook points, its cache."""
    where = {(site, layer): f"blocks.{layer}.{HOOKS[site]}" for site in HOOKS for layer in range(lens.cfg.n_layers)}
    length = one.answers.shape[1]

    def odds(prompt: torch.Tensor, name: str | None = None, taken: Sequence[Any] = (None, None)) -> float:
        total = []
        for answer, cache in zip(one.answers, taken, strict=True):

            def write(hidden: torch.Tensor, hook: Any, cache: Any = cache) -> torch.Tensor:
                start = 0 if positions == ALL else -length
                hidden[:, start:] = cache[name][:, start:]
                return hidden

            ids = torch.cat([prompt, answer[:-1]])[None]
            logits = lens.run_with_hooks(ids, return_type="logits", fwd_hooks=[(name, write)] if name else [])
            likely = logits[0, -length:].log_softmax(-1)
            total.append(float(likely[torch.arange(length), answer].sum()))
        return total[0] - total[1]

    def kept(prompt: torch.Tensor) -> list[Any]:
        rows = [torch.cat([prompt, answer[:-1]])[None] for answer in one.answers]
        return [lens.run_with_cache(row)[1] for row in rows]

    with torch.inference_mode():
        asked, against = odds(one.asked), odds(one.against)
        runs = {"denoising": (one.against, kept(one.asked), against), "noising": (one.asked, kept(one.against), asked)}
        found = {("total", (BLOCK, -1)): asked - against}
        for kind, (own, others, before) in runs.items():
            for site, name in where.items():
                moved = odds(own, name, others) - before
                found[kind, site] = moved if kind == "denoising" else -moved
    return found


@pytest.mark.parametrize("positions", [RESPONSE, ALL])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "phi", "gemma2"])
def test_patches_are_those_of_transformer_lens(kind, positions, tmp_path):
    """Organisms, whose prompts move them; phi, whose attention and MLP stand side by side; gemma2, with norms behind both."""
    pytest.importorskip("transformer_lens")
    folder = ORGANISMS / kind
    if kind not in ("llama", "qwen2"):
        folder = tmp_path
        random_model(kind).save_pretrained(folder)
        AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(folder)
    lm = load_model(str(folder), dtype="float32", device="cpu")
    one = case(lm)
    length = min(len(one.asked), len(one.against))
    one = replace(one, asked=one.asked[-length:], against=one.against[-length:])  # all positions need prompts as long
    found, expected = patched(lm[0], one, positions), bridge_patched(bridge(folder), one, positions)
    assert found.keys() == expected.keys() and abs(found["total", (BLOCK, -1)]) > 0.05
    assert max(abs(found[key] - expected[key]) for key in found) < 1e-4
