"""Where the decoder blocks of a model are, and what they return."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from probesteer.errors import InputError

BLOCK_PATHS = [
    "model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.decoder.layers",
    "transformer.blocks",
    "biogpt.layers",
]
BLOCK_PATHS += ["model.language_model.layers", "model.text_model.layers"]  # inside multimodal wrappers


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks in order; index L is the site `resid_post[L]`.

    Raises InputError for an architecture whose blocks are at none of BLOCK_PATHS.
    """
    for path in BLOCK_PATHS:
        try:
            blocks = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise InputError(f"{type(model).__name__}: no decoder blocks at {', '.join(BLOCK_PATHS)}; such a model does not run here")


def untuple(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states of a block: most blocks return a tensor, a few a tuple that starts with it."""
    return output[0] if isinstance(output, tuple) else output


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens the model reads at once, by its configuration; None where nothing bounds it."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def require_positions(model: PreTrainedModel, tokens: int, what: str) -> None:
    """Raise InputError where the model reads fewer tokens than `what` has."""
    limit = positions(model)
    if limit and tokens > limit:
        raise InputError(f"{what}: {tokens} tokens; the model takes {limit}")


def input_device(model: nn.Module) -> torch.device:
    """Where the model takes its input: the device of its embeddings."""
    return model.get_input_embeddings().weight.device  # type: ignore[operator]
