"""Load a checkpoint and render its prompts."""

import importlib.util
import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from jinja2 import TemplateError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from probesteer.errors import InputError
from probesteer.files.digests import digest, file_digest
from probesteer.lm.blocks import decoder_blocks
from probesteer.study.model import Model


def load_model(
    name_or_path: str,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal LM in evaluation mode and its left-padding tokenizer, from a local folder or the hub.

    Weights are safetensors only; int8 and int4 quantise them as they load, by bitsandbytes. `device` defaults to the GPUs
    (spread by accelerate) where there are any, else the CPU.
    Raises InputError where the checkpoint cannot be loaded.
    """
    placement = {"": device} if device else "auto" if torch.cuda.is_available() else {"": "cpu"}
    common = {"revision": revision, "trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
    weights = quantized(dtype) if dtype in ("int8", "int4") else {"dtype": dtype}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name_or_path, device_map=placement, use_safetensors=True, **weights, **common
        )
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, **common)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"model {name_or_path} (revision {revision}) cannot be loaded: {reason}") from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def quantized(dtype: str) -> dict[str, Any]:
    """What loads weights as int8 or int4. Raises InputError where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"dtype {dtype} needs bitsandbytes; install it, or choose another dtype")
    return {"quantization_config": BitsAndBytesConfig(load_in_8bit=dtype == "int8", load_in_4bit=dtype == "int4")}


def model_card(model: Model, name: str, revision: str | None = None, fetched_to: Path | None = None) -> dict[str, Any]:
    """What later jobs need to know of a model of a study, without loading its weights.

    `digest` names the weights: of the files of a local folder, or of hub id and revision. Parameters are counted on the
    meta device. Raises InputError where the model is not what the study says.
    """
    config, built = _on_meta_device(model, name, revision, fetched_to)
    blocks, expected = len(decoder_blocks(built)), model.block_count()
    if blocks != expected:
        raise InputError(f"model {name}: the study says {expected} blocks, {model.source} has {blocks}; correct blocks")
    revision = getattr(config, "_commit_hash", None) or revision  # a branch name becomes the commit it is at
    weights: Any = [model.source, revision]
    if model.local:
        weights = {file.name: file_digest(file) for file in model.files()}
        if not any(file.endswith(".safetensors") for file in weights):
            raise InputError(f"model {name}: no .safetensors weights in {model.source}; pickles are not loaded, convert them")
    text = config.get_text_config()
    return {
        "name": name,
        "source": model.source,
        "folder": str(fetched_to or ""),
        "revision": revision,
        "digest": digest([weights, model.dtype]),
        "dtype": model.dtype,
        "chat_template": model.chat_template,
        "trust_remote_code": model.trust_remote_code,
        "architecture": type(built).__name__,
        "blocks": blocks,
        "hidden_size": text.hidden_size,
        "vocabulary": text.vocab_size,
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
    }


def _on_meta_device(
    model: Model, name: str, revision: str | None, fetched_to: Path | None
) -> tuple[PretrainedConfig, PreTrainedModel]:
    """A model's configuration, and the model without weights. Raises InputError."""
    options = {"trust_remote_code": model.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(fetched_to or model.source, revision=revision, **options)
        with init_empty_weights():
            return config, AutoModelForCausalLM.from_config(config, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        where = f"{model.source} (revision {revision})"
        raise InputError(f"model {name}: {where} is not a causal LM that loads: {reason}") from error


def load_card(card: Mapping[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model that a card names; a hub model from the cache, where it was fetched to: jobs may run offline."""
    place = card.get("folder") or card["source"]
    options = {"trust_remote_code": card["trust_remote_code"], "local_files_only": not Path(place).is_dir()}
    return load_model(place, card["revision"], card["dtype"], **options)


def render_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str, chat_template: bool = True) -> str:
    """The text a model continues: the chat template over a system and a user turn, or both as plain paragraphs.

    A template that knows no system role gets the system text at the head of the user turn.
    Raises InputError where a chat template is asked for and the tokenizer has none.
    """
    if not chat_template:
        return f"{system}\n\n{user}\n\n"
    if not tokenizer.chat_template:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; set chat_template: false in the study")
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    merged = [{"role": "user", "content": f"{system}\n\n{user}"}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        return str(tokenizer.apply_chat_template(merged, tokenize=False, add_generation_prompt=True))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a rendered prompt; special tokens are added unless the template wrote the first one itself."""
    templated = bool(tokenizer.bos_token) and prompt.startswith(tokenizer.bos_token)
    return tokenizer(prompt, add_special_tokens=not templated)["input_ids"]
