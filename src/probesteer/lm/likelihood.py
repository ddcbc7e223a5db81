"""How likely a model finds texts, and how far an intervention moves what it predicts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import decoder_blocks, input_device
from probesteer.lm.engine.batch import pad_rows, run_batches, token_budget
from probesteer.lm.engine.cache import cache_tokens
from probesteer.lm.engine.prefill import Prompted, prefill
from probesteer.lm.hooks import steering
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request, push_rows

MAX_LOGITS = 2**28  # elements of the logits of a forward pass: 1 GiB in float32
WORST = 0.05  # share of the tokens of `worst`

Visit = Callable[[list[int], Tensor, Tensor, Tensor], None]
"""Told of (rows, logits (rows, tokens, vocabulary), token ids (rows, tokens), mask (rows, tokens)) of each batch."""


class Surprisal(NamedTuple):
    """Negative log-likelihood of the tokens of each text, in nats at temperature 1: float64 (texts,); NaN for an empty one."""

    mean: np.ndarray
    spread: np.ndarray
    """Standard deviation over the tokens."""


class Shift(NamedTuple):
    """What an intervention does to the predictions on neutral texts."""

    kl: float
    """Mean over tokens of KL(unmoved || moved) between the next-token distributions, in nats per token."""
    perplexity: float
    """exp of the mean negative log-likelihood of the tokens under the moved model."""


def surprisal(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
) -> Surprisal:
    """How surprised the unsteered model is by token ids after their prompts.

    A prompt that texts share is computed once a batch.
    """
    result = Surprisal(*np.full((2, len(prompts)), np.nan))

    def visit(rows: list[int], logits: Tensor, tokens: Tensor, mask: Tensor) -> None:
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
        loss = loss.view_as(tokens).double()
        count = mask.sum(1)
        mean = (loss * mask).sum(1) / count
        result.mean[rows] = mean.cpu().numpy()
        result.spread[rows] = (((loss - mean[:, None]) ** 2 * mask).sum(1) / count).sqrt().cpu().numpy()

    _visit_logits(model, tokenizer, [Request(prompt) for prompt in prompts], continuations, visit)
    return result


class NeutralTexts:
    """Neutral texts as answers to one prompt: the corpus on which pushes and system prompts are compared."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, texts: Sequence[str]) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        self.unmoved = self._log_probabilities(Request(prompt))

    def shift(self, request: Request) -> Shift:
        """What another prompt, or a push, does to the predictions of these texts' tokens."""
        moved = self._log_probabilities(request)
        kl = self._divergences(moved)
        tokens = torch.tensor([token for text in self.tokens for token in text], device=moved.device)
        nll = -moved.gather(1, tokens[:, None])
        return Shift(float(kl.mean()), float(nll.double().mean().exp()))

    def worst(self, request: Request) -> float:
        """KL(unmoved || moved) in nats, mean over the WORST share of the tokens: where a push breaks text first."""
        kl = self._divergences(self._log_probabilities(request))
        return float(kl.topk(max(1, round(WORST * len(kl)))).values.mean())

    def _divergences(self, moved: Tensor) -> Tensor:
        """KL(unmoved || moved) of each token's distribution, in nats: float64 (positions,)."""
        return torch.nn.functional.kl_div(moved, self.unmoved, reduction="none", log_target=True).sum(-1).double()

    def _log_probabilities(self, request: Request) -> Tensor:
        """Of every token in every position of the texts, in their order: float32 (positions, vocabulary)."""
        found: dict[int, Tensor] = {}

        def visit(rows: list[int], logits: Tensor, _tokens: Tensor, mask: Tensor) -> None:
            for row, own, length in zip(rows, logits, mask.sum(1).tolist(), strict=True):
                found[row] = own[:length].float().log_softmax(-1)

        _visit_logits(self.model, self.tokenizer, [request] * len(self.tokens), self.tokens, visit)
        return torch.cat([found[row] for row in sorted(found)])


@torch.inference_mode()
def _visit_logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    continuations: Sequence[Sequence[int]],
    visit: Visit,
) -> None:
    """Let `visit` see the logits that predict each token of the continuations that are not empty.

    Prompts are computed once for all rows that fit into memory; their continuations then in parts of the size that forward
    passes on this device have.
    """
    device = input_device(model)
    encoded = [encode_prompt(tokenizer, request.prompt) for request in requests]
    scored = [i for i, new in enumerate(continuations) if new]
    budget = min(token_budget(device), MAX_LOGITS // model.config.get_text_config().vocab_size)

    def run(batch: list[int]) -> None:
        rows = [scored[i] for i in batch]
        asked = [requests[i] for i in rows]
        tokens, mask = (part.to(device) for part in pad_rows([continuations[i] for i in rows], "right"))
        prompted = prefill(model, [encoded[i] for i in rows], asked, tokens.shape[1])
        step = max(1, budget // tokens.shape[1])
        for part in (slice(at, at + step) for at in range(0, len(rows), step)):
            visit(rows[part], predicting(model, prompted, part, tokens[part], asked[part]), tokens[part], mask[part])

    if scored:
        lengths = [len(encoded[i]) + len(continuations[i]) for i in scored]
        run_batches(run, lengths, cache_tokens(model, device))


def predicting(model: PreTrainedModel, prompted: Prompted, rows: slice, tokens: Tensor, requests: Sequence[Request]) -> Tensor:
    """The logits that predict the tokens (rows, tokens) of some of the prompted rows, which have room for them."""
    logits = prompted.logits[rows, None]
    if tokens.shape[1] == 1:
        return logits
    attention = prompted.attention[rows, : prompted.width + tokens.shape[1] - 1]
    with steering(decoder_blocks(model), push_rows(model, requests)):
        rest = model(
            input_ids=tokens[:, :-1],
            attention_mask=attention,
            position_ids=(attention.cumsum(-1) - 1)[:, prompted.width :],
            past_key_values=prompted.cache.part(rows),
            use_cache=True,
        ).logits
    return torch.cat([logits, rest], 1)
