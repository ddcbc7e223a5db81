"""A model's twin: the same architecture and tokenizer, weights drawn at random. What it does too, training does not explain."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probesteer.lm.blocks import input_device
from probesteer.lm.load import load_card


def load_twin(card: Mapping[str, Any], seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The twin of the model that a card names, in float32, initialised as its architecture is before training."""
    model, tokenizer = load_card(card)
    device, kind, config = input_device(model), type(model), model.config
    del model
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = kind._from_config(config, dtype=torch.float32)
    return twin.to(device).eval(), tokenizer
