"""Rows that are asked turn by turn: each turn a prompt, how likely some answers to it are, and an answer."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import positions
from probesteer.lm.engine.batch import pad_rows, token_budget
from probesteer.lm.engine.prefill import Prompted, prefill
from probesteer.lm.engine.regrow import regrow
from probesteer.lm.engine.sampling import row_seed, sample
from probesteer.lm.generate import decode, end_tokens
from probesteer.lm.likelihood import MAX_LOGITS, predicting
from probesteer.lm.request import Request, push_rows

Key = tuple[int | str, ...]


class Turns:
    """A batch of rows, each under its own push, whose prompts change from turn to turn.

    Keys and values of what a prompt shares, at its beginning, with that of the turn before are kept (`engine.regrow`). Rows may
    leave, none may come. A row's numbers do not depend on the others (in float32, up to rounding).
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: Sequence[Request]) -> None:
        self.model, self.tokenizer, self.requests = model, tokenizer, requests
        self.rows: list[int] = []
        self.prompts: list[list[int]] = []
        self.prompted: Prompted | None = None

    def fits(self, prompt: Sequence[int], new: int) -> bool:
        """Whether the model reads a prompt and `new` tokens."""
        limit = positions(self.model)
        return not limit or len(prompt) + new <= limit

    def read(self, rows: Sequence[int], prompts: Sequence[list[int]], new: int) -> None:
        """Take in the prompts (token ids) of these rows, with room for `new` tokens each; the other rows have left."""
        asked = [self.requests[row] for row in rows]
        before, self.prompted = self.prompted, None
        if before is None:
            self.prompted = prefill(self.model, prompts, asked, new)
        else:
            assert before.cache.order is not None
            place = {self.rows[row]: at for at, row in enumerate(before.cache.order.tolist())}
            number = {row: at for at, row in enumerate(self.rows)}
            known = [(place[row], self.prompts[number[row]]) for row in rows]
            width = max(map(len, self.prompts))
            self.prompted = regrow(self.model, before, width, known, prompts, asked, new)
        self.prompted.cache.keep_rows()
        self.rows, self.prompts = list(rows), list(prompts)

    @torch.inference_mode()
    def likelihoods(self, answers: Sequence[Sequence[Sequence[int]]]) -> list[np.ndarray]:
        """log P of each row's answers (token ids) after its prompt, in nats: float64 (answers of the row,).

        What all answers of all rows begin with is computed once a row, and nothing is copied: answers are read one after the
        other over the same keys and values.
        """
        prompted, pushed = self._asked()
        every = [answer for own in answers for answer in own]
        start = _common(every)
        known, begun = self._begun(prompted, pushed, every[0][:start])
        found = [np.zeros(len(own)) for own in answers]
        for number in range(max(map(len, answers))):
            rest = self._log_p(begun, pushed, [own[number][start:] if number < len(own) else [] for own in answers])
            for row, own in enumerate(found):
                own[number : number + 1] = rest[row]
        return [own + first for own, first in zip(found, known, strict=True)]

    def _begun(self, prompted: Prompted, pushed: Sequence[Request], start: Sequence[int]) -> tuple[np.ndarray, Prompted]:
        """log P of the tokens that all answers begin with, (rows,), and the rows after them."""
        if not start:
            return np.zeros(len(pushed)), prompted
        after = Prompted(prompted.cache.part(slice(None)), prompted.logits.clone(), prompted.attention)
        known = []
        for rows, ids, mask in _parts([[*start, 0]] * len(pushed), prompted.logits):
            logits = predicting(self.model, prompted, rows, ids, pushed[rows])  # the last ones predict what follows `start`
            after.logits[rows] = logits[:, -1]
            known.append(_log_likelihood(logits[:, :-1], ids[:, :-1], mask[:, :-1]))
        for block in after.cache.blocks:
            block.length += len(start)
        return np.concatenate(known), after

    def _log_p(self, prompted: Prompted, pushed: Sequence[Request], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """log P of each row's answer, 0 where it has none: float64 (rows,)."""
        found = []
        for rows, ids, mask in _parts(answers, prompted.logits):
            logits = predicting(self.model, prompted, rows, ids, pushed[rows])
            found.append(_log_likelihood(logits, ids, mask))
        return np.concatenate(found)

    def answers(
        self, keys: Sequence[Key], max_new_tokens: int, temperature: float, top_p: float = 1.0, top_k: int = 0
    ) -> list[list[int]]:
        """A sampled answer of each row, as `generate.continuations` draws it by the row's key: its token ids."""
        prompted, pushed = self._asked()
        device = prompted.logits.device
        ends = torch.tensor(sorted(end_tokens(self.model, self.tokenizer)), dtype=torch.long, device=device)
        seeds = torch.tensor([row_seed(key) for key in keys], device=device)

        def draw(logits: Tensor, alive: Tensor, step: int) -> Tensor:
            return sample(logits, seeds[alive], step, temperature, top_p, top_k)

        whole = Prompted(prompted.cache.part(slice(None)), prompted.logits, prompted.attention)
        return decode(self.model, whole, push_rows(self.model, pushed), draw, ends, max_new_tokens, lambda _count: None)

    def _asked(self) -> tuple[Prompted, list[Request]]:
        assert self.prompted is not None, "read comes first"
        return self.prompted, [self.requests[row] for row in self.rows]


def drawn(log_p: np.ndarray, key: Key) -> int:
    """One of several answers, drawn by their likelihoods with the random numbers of a key (Gumbel-max)."""
    return int(np.argmax(log_p + np.random.default_rng(row_seed(key)).gumbel(size=len(log_p))))


def _log_likelihood(logits: Tensor, tokens: Tensor, mask: Tensor) -> np.ndarray:
    """Sum of log P of tokens (rows, tokens) that the mask leaves, given the logits that predict them: float64 (rows,)."""
    loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
    return -(loss.double() * mask).sum(1).cpu().numpy()


def _common(answers: Sequence[Sequence[int]]) -> int:
    """How many tokens all answers begin with, less than all of the shortest."""
    least, largest = min(map(list, answers)), max(map(list, answers))
    same = next((at for at, pair in enumerate(zip(least, largest, strict=False)) if pair[0] != pair[1]), len(least))
    return min(same, min(map(len, answers)) - 1)


def _parts(answers: Sequence[Sequence[int]], logits: Tensor) -> list[tuple[slice, Tensor, Tensor]]:
    """Rows in parts that a forward pass with such logits takes, each with its token ids, padded on the right, and mask."""
    longest = max(1, *map(len, answers))
    step = max(1, min(token_budget(logits.device), MAX_LOGITS // logits.shape[-1]) // longest)
    parts = []
    for rows in (slice(at, at + step) for at in range(0, len(answers), step)):
        ids, mask = pad_rows([answer or [0] for answer in answers[rows]], "right")
        mask *= torch.tensor([bool(answer) for answer in answers[rows]])[:, None]
        parts.append((rows, ids.to(logits.device), mask.to(logits.device)))
    return parts
