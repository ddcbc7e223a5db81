"""What is asked of the engine: one continuation of one prompt under one push."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from probesteer.lm.blocks import input_device


@dataclass(frozen=True)
class Request:
    """One continuation: h' = h + push * direction at the output of block `layer`.

    `direction` is a unit vector (hidden,), float, or None for an unsteered row; `push` is the length added along it.
    `seed_key` names the random numbers: requests with one key share them. `positions` "response" leaves the prompt as it is:
    the push begins at the first new token.
    """

    prompt: str
    layer: int | None = None
    direction: np.ndarray | None = None
    push: float = 0.0
    seed_key: tuple[int | str, ...] = (0,)
    positions: Literal["all", "response"] = "all"

    @property
    def pushed(self) -> tuple[int, np.ndarray, float] | None:
        """(layer, direction, push), or None where nothing is added."""
        if self.layer is None or self.direction is None or self.push == 0:
            return None
        return self.layer, self.direction, self.push

    def on_prompt(self) -> "Request":
        """The request as it acts on its prompt."""
        return self if self.pushed and self.positions == "all" else Request(self.prompt)


def push_rows(model: PreTrainedModel, requests: Sequence[Request]) -> dict[int, Tensor]:
    """What each steered block adds to each row: (rows, hidden), zeros for rows steered elsewhere or not at all."""
    pushes: dict[int, Tensor] = {}
    shape = len(requests), model.config.get_text_config().hidden_size
    for row, request in enumerate(requests):
        if request.pushed:
            layer, direction, push = request.pushed
            pushes.setdefault(layer, torch.zeros(shape))[row] = push * torch.as_tensor(direction)
    return {layer: push.to(input_device(model), model.dtype) for layer, push in pushes.items()}
