"""What mediates a preference between two answers: runs under two prompts, and interventions at sites."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import decoder_blocks, input_device
from probesteer.lm.hooks import Operator, operating, project_out, replace
from probesteer.lm.load import encode_prompt
from probesteer.lm.sites import BLOCK, sites

Site = tuple[str, int]
ALL, RESPONSE = "all", "response"


@dataclass(frozen=True)
class Case:
    """Two answers, read after a prompt that asks for the first one and after a prompt that asks for the second."""

    asked: Tensor
    """Tokens of the first prompt (tokens,)."""
    against: Tensor
    """Tokens of the second prompt (tokens,)."""
    answers: Tensor
    """Tokens of both answers, cut at the shorter one: (2, tokens)."""

    @property
    def aligned(self) -> bool:
        """Whether the prompts have as many tokens, so that all of their positions can be exchanged."""
        return len(self.asked) == len(self.against)


def case_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: tuple[str, str], texts: tuple[str, str], most: int
) -> Case:
    """A case from rendered prompts and texts; the answers have at most `most` tokens."""
    device = input_device(model)
    first, second = (torch.tensor(encode_prompt(tokenizer, prompt), device=device) for prompt in prompts)
    sides = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    length = min(*map(len, sides), most)
    return Case(first, second, torch.tensor([side[:length] for side in sides], device=device))


@torch.inference_mode()
def log_odds(model: PreTrainedModel, prompt: Tensor, answers: Tensor) -> float:
    """log P(first answer | prompt) - log P(second | prompt), in nats, under the interventions that are on."""
    length = answers.shape[1]
    tokens = torch.cat([prompt.expand(2, -1), answers[:, :-1]], 1)
    logits = model(input_ids=tokens, use_cache=False, logits_to_keep=length).logits
    likelihood = -nn.functional.cross_entropy(logits.float().transpose(1, 2), answers, reduction="none").sum(1)
    return float(likelihood[0] - likelihood[1])


@contextmanager
def keeping(modules: Mapping[Site, nn.Module]) -> Iterator[dict[Site, Tensor]]:
    """What the modules return while this is on, the last of each."""
    kept: dict[Site, Tensor] = {}

    def keep(site: Site) -> Operator:
        def operator(hidden: Tensor) -> Tensor:
            kept[site] = hidden.clone()  # some blocks add to it in place
            return hidden

        return operator

    with operating([(module, keep(site)) for site, module in modules.items()]):
        yield kept


def patched(model: PreTrainedModel, case: Case, positions: str = RESPONSE) -> dict[tuple[str, Site], float]:
    """How far the log-odds go towards those under the other prompt when one site's output is taken from there, in nats.

    "denoising": the run under the second prompt with an output of the first, less that run; "noising": the run under the first
    prompt less itself with an output of the second. At the response's positions, the last token of the prompt among them, or
    at all. Under "total" and the block -1 stands how far the two runs are apart.
    """
    where, odds, kept = sites(model), {}, {}
    runs = {"denoising": (case.against, case.asked), "noising": (case.asked, case.against)}
    for name, (own, _) in runs.items():
        with keeping(where) as kept[name]:
            odds[name] = log_odds(model, own, case.answers)
    found = {("total", (BLOCK, -1)): odds["noising"] - odds["denoising"]}
    other = {"denoising": "noising", "noising": "denoising"}
    for name, (own, _) in runs.items():
        for site, module in where.items():
            values = kept[other[name]][site]
            values = values.reshape(2, -1, values.shape[-1])
            values = values if positions == ALL else values[:, -case.answers.shape[1] :]
            with operating([(module, replace(values))]):
                moved = log_odds(model, own, case.answers) - odds[name]
            found[name, site] = moved if name == "denoising" else -moved
    return found


def ablated(
    model: PreTrainedModel, case: Case, directions: Mapping[int, np.ndarray], layers: Iterable[int]
) -> tuple[float, float]:
    """The difference of the log-odds under the two prompts, in nats, with directions projected out at blocks; and what is left.

    The second number: the length that the last block's direction has in its output at the answers, as a share of the same in
    the untouched run: 0 where it stays away, 1 where later blocks build it again. NaN where the last block is ablated itself.
    """
    where, layers = decoder_blocks(model), set(layers)
    last = len(where) - 1
    operators = [(where[layer], project_out(torch.from_numpy(directions[layer]).float())) for layer in layers]
    lengths, differences = [], []
    for acting in ([], operators):
        odds, seen = [], []
        for prompt in (case.asked, case.against):
            with operating(acting), keeping({(BLOCK, last): where[last]}) as kept:
                odds.append(log_odds(model, prompt, case.answers))
            hidden = kept[BLOCK, last][:, -case.answers.shape[1] :].float().cpu().numpy()
            seen.append(hidden @ directions[last])
        differences.append(odds[0] - odds[1])
        lengths.append(float(np.abs(seen[0] - seen[1]).mean()))
    rebuilt = lengths[1] / lengths[0] if last not in layers and lengths[0] else float("nan")
    return differences[1], rebuilt
