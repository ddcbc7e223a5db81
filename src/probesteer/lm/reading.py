"""Read a direction off texts token by token, or off a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.concepts.neutral import NEUTRAL_TEXTS
from probesteer.directions import Probe
from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks, input_device, require_positions, untuple
from probesteer.lm.hooks import Output, watching
from probesteer.lm.load import FAULTS, reason
from probesteer.study.options import EMBEDDINGS

TEMPLATE = "template"  # the role of tokens that a chat template wrote


@dataclass(frozen=True)
class Token:
    """A token of a text with what the direction reads there."""

    position: int
    id: int
    text: str
    """What it stands for in the text; a special token's own name."""
    role: str
    """Whose turn of a chat it is in; empty for a plain text."""
    content: bool
    """Whether pooling counts it: neither the first position nor a special token."""
    projection: float
    """The residual stream at `resid_post[layer]` along the unit direction."""
    score: float
    """The projection less that of neutral texts, in class separations: 0 is neutral, 1 as far as the pairs' sides lie apart."""


class Monitor:
    """Reads a direction off a model while it runs, a projection per row and token, at the cost of one product a token.

    Generation with SmolLM2-135M on a CPU, one row and four: as fast with it as without, within what is measurable.

        with Monitor(model, load_probe(path, "auto")) as seen:
            model.generate(**inputs)
        seen.projections()  # (rows, tokens): the prompt's and those of all new tokens but the last, which is never read

    Values stay on the device until they are asked for, so that generation does not wait for them. `on_step` is called with
    every step's (rows, tokens) tensor as it is computed, for who wants to act while the model speaks.
    """

    def __init__(self, model: PreTrainedModel, probe: Probe, on_step: Callable[[Tensor], object] | None = None) -> None:
        if probe.layer == EMBEDDINGS:
            raise InputError("a direction of the embeddings cannot be monitored; take a block's")
        self.block: nn.Module = decoder_blocks(model)[probe.layer]
        self.direction = torch.from_numpy(np.asarray(probe.direction, dtype=np.float32))
        self.on_step = on_step
        self.steps: list[Tensor] = []
        """A tensor (rows, tokens) per forward pass."""

    def __enter__(self) -> Monitor:
        self.handle = self.block.register_forward_hook(self._read)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.handle.remove()

    def _read(self, _block: nn.Module, _inputs: object, output: Output) -> None:
        hidden = untuple(output)
        if self.direction.device != hidden.device:
            self.direction = self.direction.to(hidden.device)
        step = hidden.detach().float() @ self.direction
        self.steps.append(step)
        if self.on_step:
            self.on_step(step)

    def projections(self) -> np.ndarray:
        """All steps side by side: float32 (rows, tokens). Raises InputError where their rows differ in number."""
        if len({len(step) for step in self.steps}) > 1:
            raise InputError("the batches that were read differ in rows; read `steps` one by one")
        return torch.cat(self.steps, 1).cpu().numpy() if self.steps else np.empty((0, 0), dtype=np.float32)


def read_ids(model: PreTrainedModel, probe: Probe, ids: Sequence[int]) -> np.ndarray:
    """The projection of each token of one text, float32 (tokens,); nothing above the direction's block is computed."""
    require_positions(model, len(ids), "the text")
    kept: list[Tensor] = []
    direction = torch.from_numpy(np.asarray(probe.direction, dtype=np.float32))

    def keep(_layer: int, output: Output) -> None:
        hidden = untuple(output)[0].float()
        kept.append(hidden @ direction.to(hidden.device))

    with torch.inference_mode(), watching(decoder_blocks(model), [probe.layer], keep):
        model.base_model(input_ids=torch.tensor([list(ids)], device=input_device(model)), use_cache=False)
    return kept[0].cpu().numpy()


def read_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probe: Probe,
    text: str | Sequence[dict[str, str]],
    neutral: float = 0.0,
) -> list[Token]:
    """The tokens of a text, or of a chat (turns with role and content), with what the direction reads at each.

    `neutral` is the projection that counts as 0 (`neutral_projection`). Raises InputError for a text without tokens, or a chat
    that the tokenizer has no template for.
    """
    turns = [] if isinstance(text, str) else list(text)
    whole = text if isinstance(text, str) else rendered(tokenizer, turns)
    encoded = tokenizer(whole, add_special_tokens=not turns, return_offsets_mapping=True)
    ids, spans = encoded["input_ids"], encoded["offset_mapping"]
    if not ids:
        raise InputError("the text has no tokens")
    projections, special = read_ids(model, probe, ids), set(tokenizer.all_special_ids)
    roles = roles_of(whole, turns, spans)
    return [
        Token(
            position,
            token,
            whole[start:end] if end > start else str(tokenizer.convert_ids_to_tokens(token)),
            role,
            bool(position) and token not in special,
            float(projection),
            (float(projection) - neutral) / probe.separation,
        )
        for position, (token, (start, end), role, projection) in enumerate(zip(ids, spans, roles, projections, strict=True))
    ]


def rendered(tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, str]]) -> str:
    """A chat as its model sees it. Raises InputError where there is no template, or it fails."""
    if not tokenizer.chat_template:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; read a plain text")
    try:
        return str(tokenizer.apply_chat_template(list(turns), tokenize=False))
    except (TemplateError, *FAULTS) as error:  # a template is foreign code
        raise InputError(f"{tokenizer.name_or_path}: the chat template fails: {reason(error)}") from error


def roles_of(whole: str, turns: Sequence[dict[str, str]], spans: Iterable[tuple[int, int]]) -> list[str]:
    """Whose turn each token is in: where its content stands in the rendered chat; the template's own are `template`."""
    if not turns:
        return ["" for _ in spans]
    ranges, start = [], 0
    for turn in turns:
        content = turn["content"].strip()
        place = whole.find(content, start)
        if place >= 0:
            start = place + len(content)
            ranges.append((place, start, turn["role"]))
    return [next((role for low, high, role in ranges if low <= begin < end <= high), TEMPLATE) for begin, end in spans]


def neutral_projection(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, probe: Probe) -> float:
    """The mean projection of the content tokens of texts that have nothing to do with any behaviour."""
    means = []
    for text in NEUTRAL_TEXTS:
        tokens = read_text(model, tokenizer, probe, text)
        means.append(np.mean([token.projection for token in tokens if token.content]))
    return float(np.mean(means))
