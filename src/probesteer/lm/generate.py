"""Sample continuations under steering: requests of any prompt, layer, direction and push are rows of one batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks, input_device, require_positions
from probesteer.lm.engine.batch import run_batches
from probesteer.lm.engine.cache import RowCache, cache_tokens
from probesteer.lm.engine.prefill import Prompted, prefill
from probesteer.lm.engine.sampling import row_seed, sample
from probesteer.lm.hooks import steering
from probesteer.lm.load import encode_prompt
from probesteer.lm.request import Request, push_rows
from probesteer.progress import progress


@dataclass(frozen=True)
class Continuation:
    """The answer to a request."""

    tokens: list[int]
    """New token ids, the end-of-sequence token included where it was reached."""
    batch_rows: int
    """Rows of its batch: rounding, and so ties and all of bfloat16, may depend on it."""


def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_rows: int = 512,
    advance: Callable[[int], object] | None = None,
) -> list[Continuation]:
    """Answer each request, in order, in batches of at most `batch_rows` rows and of what memory allows.

    `advance` is told of tokens as they are done, `max_new_tokens` a request in all; without it a bar of its own shows them.
    Sampling is Gumbel-max with keyed noise: a request's text does not depend on the rest of its batch (in float32, up to
    ties within rounding). `temperature` 0 is greedy. A row that ends leaves the batch.
    Raises InputError where prompt and new tokens exceed the model's positions.
    """
    device = input_device(model)
    prompts = _encoded(model, tokenizer, requests, max_new_tokens)
    ends = torch.tensor(sorted(end_tokens(model, tokenizer)), dtype=torch.long, device=device)
    answers: dict[int, Continuation] = {}

    def run(batch: list[int]) -> None:
        rows = [requests[i] for i in batch]
        seeds = torch.tensor([row_seed(request.seed_key) for request in rows], device=device)

        def draw(logits: Tensor, alive: Tensor, step: int) -> Tensor:
            return sample(logits, seeds[alive], step, temperature, top_p, top_k)

        prompted = prefill(model, [prompts[i] for i in batch], rows, max_new_tokens)
        with counting(tell) as count:
            texts = decode(model, prompted, push_rows(model, rows), draw, ends, max_new_tokens, count)
        answers.update({i: Continuation(text, len(batch)) for i, text in zip(batch, texts, strict=True)})

    with _told(advance, len(requests) * max_new_tokens) as tell:
        run_batches(run, [len(prompt) + max_new_tokens for prompt in prompts], cache_tokens(model, device), batch_rows)
    return [answers[i] for i in range(len(requests))]


def _encoded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: Sequence[Request], new: int
) -> list[list[int]]:
    """The token ids of each prompt. Raises InputError where one leaves no room for `new` tokens."""
    prompts = [encode_prompt(tokenizer, request.prompt) for request in requests]
    longest = max(map(len, prompts), default=0)
    require_positions(model, longest + new, f"the longest prompt and {new} new tokens")
    return prompts


@contextmanager
def _told(advance: Callable[[int], object] | None, total: int) -> Iterator[Callable[[int], object]]:
    """Who is told of tokens: `advance`, or a bar where there is none."""
    if advance:
        yield advance
    else:
        with progress(total, "generate", "token") as bar:
            yield bar.update


@contextmanager
def counting(tell: Callable[[int], object]) -> Iterator[Callable[[int], None]]:
    """Hand counts on to `tell`, and take them back where the block fails: a batch that is too large is run again in halves."""
    told = 0

    def count(more: int) -> None:
        nonlocal told
        told += more
        tell(more)

    try:
        yield count
    except BaseException:
        tell(-told)
        raise


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompted: Prompted,
    pushes: dict[int, Tensor],
    draw: Callable[[Tensor, Tensor, int], Tensor],
    ends: Tensor,
    new: int,
    count: Callable[[int], object],
) -> list[list[int]]:
    """Let each row `draw(logits, row numbers, step)` a token a step until an end token; the row then gives its place away."""
    cache, logits, attention, width = prompted.cache, prompted.logits, prompted.attention, prompted.width
    padded = not attention.all()
    tokens = torch.full((len(logits), new), -1, device=logits.device)
    alive = torch.arange(len(logits), device=logits.device)
    positions = attention[:, :width].sum(1)
    overflowed = torch.zeros((), dtype=torch.bool, device=logits.device)
    with steering(decoder_blocks(model), pushes):
        for step in range(new):
            overflowed |= logits[:, 0].isnan().any()
            chosen = draw(logits, alive, step)
            tokens[alive, step] = chosen
            ended = torch.isin(chosen, ends)
            left = len(alive) - int(ended.sum())  # the one wait for the device
            count(len(alive) + (len(alive) - left) * (new - step - 1))
            if not left or step + 1 == new:
                break
            if left < len(alive):
                rows = alive, chosen, positions, attention
                alive, chosen, positions, attention = _close_gaps(cache, ended, left, rows, pushes.values())
            logits = model(
                input_ids=chosen[:, None],
                attention_mask=attention[:, : width + step + 1] if padded else None,
                position_ids=positions[:, None] + step,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    if overflowed:  # a hidden state that is not finite makes every logit NaN
        raise InputError(f"logits are not finite in {model.dtype}: the model, or a push of this size, needs a wider dtype")
    return [[token for token in row if token >= 0] for row in tokens.tolist()]


def _close_gaps(
    cache: RowCache, ended: Tensor, left: int, rows: Sequence[Tensor], pushes: Iterable[Tensor]
) -> Iterator[Tensor]:
    """Move the last rows that go on into the places of those that ended, in all of these tensors; `left` rows are left."""
    gaps, last = ended[:left].nonzero()[:, 0], (~ended[left:]).nonzero()[:, 0] + left
    for part in (*rows, *pushes):
        part[gaps] = part[last]
    cache.move(last, gaps)
    return (part[:left] for part in rows)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a text: the generation config's and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return {token for token in [*configured, tokenizer.eos_token_id] if token is not None}


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_rows: int = 512,
) -> list[str]:
    """The text of each request's continuation: only new tokens are decoded, special tokens left out. Arguments as above."""
    answers = continuations(model, tokenizer, requests, max_new_tokens, temperature, top_p, top_k, batch_rows)
    return tokenizer.batch_decode([answer.tokens for answer in answers], skip_special_tokens=True)
