"""Is a checkpoint what its files say? Asked of the files and of the model without weights, before any job loads it."""

import importlib.util
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.checkpoint import DTYPES, Checkpoint
from probesteer.lm.engine.cache import require_key_values
from probesteer.lm.gguf import verify_gguf
from probesteer.lm.load import (
    ADAPTER,
    FAULTS,
    NO_ADAPTER,
    auto_class,
    encode_prompt,
    incomplete,
    load_tokenizer,
    quantized,
    reason,
    render_prompt,
)
from probesteer.study.model import Model

# Packages without which transformers cannot read quantised weights, by the method that the configuration names.
PACKAGES = {"gptq": "gptqmodel", "awq": "gptqmodel", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed_tensors"}
SYSTEM, USER = "Answer in one short sentence.", "What is the capital of France?"


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings and bars of transformers: what is verified is said in one line."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def verify_weights(files: Checkpoint) -> str:
    """Weight files are there, whole, and all there is to the model; returns their size. Raises InputError."""
    if files.gguf:
        return verify_gguf(Path(files.place) / files.gguf)
    if ADAPTER in files.sizes:
        raise InputError(NO_ADAPTER)
    names = files.weights()
    size = sum(files.sizes.get(name, 0) for name in names)
    return f"{size / 1e9:.2f} GB in {len(names)} file{'s' * (len(names) > 1)}"


def verify_architecture(files: Checkpoint, model: Model) -> tuple[PretrainedConfig, PreTrainedModel]:
    """The configuration and the model on the meta device: a decoder with blocks and caches of a known kind.

    Raises InputError.
    """
    options = {"trust_remote_code": model.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(files.place, **files.options(model.trust_remote_code))
        if getattr(config, "is_encoder_decoder", False):
            raise InputError(f"{config.model_type} is an encoder-decoder; only decoders work")
        with init_empty_weights():
            built = auto_class(config).from_config(config, **options)
        built.tie_weights()
        blocks = len(decoder_blocks(built))
        require_key_values(config)
        if pictures := getattr(config.get_text_config(), "cross_attention_layers", None):  # Mllama skips them on text alone
            raise InputError(f"block {pictures[0]} of {config.model_type} reads pictures and does not run on text alone")
        if "past_key_values" not in inspect.signature(built.forward).parameters:
            raise InputError(f"{config.model_type} keeps no keys and values; only key-value caches work")
    except FAULTS as error:
        raise InputError(f"not a causal LM that loads: {reason(error)}") from error
    if blocks != model.block_count():
        raise InputError(f"{config.model_type}, {blocks} blocks; the study says {model.block_count()} blocks")
    return config, built


def quantization(config: PretrainedConfig) -> str:
    """How a checkpoint's weights are quantised; empty where they are not."""
    given: Any = getattr(config, "quantization_config", None) or {}
    method = given.get("quant_method", "") if isinstance(given, dict) else getattr(given, "quant_method", "")
    return str(getattr(method, "value", method)) or ("an unnamed method" if given else "")


def verify_packages(config: PretrainedConfig, model: Model) -> None:
    """Raise InputError where a package is missing that reads the weights as the study or the checkpoint wants."""
    if model.dtype in ("int8", "int4"):
        quantized(model.dtype)
    method = quantization(config)
    package = PACKAGES.get(method)
    if package and importlib.util.find_spec(package) is None:
        raise InputError(f"weights quantised by {method} need {package}; install it, or choose another checkpoint")


def verify_tensors(files: Checkpoint, config: PretrainedConfig, built: PreTrainedModel, model: Model) -> str:
    """Let transformers load the tensors that the headers name, without data; returns the type that they get (bfloat16 ...).

    So its renamed, merged and tied weights are told from missing ones. Raises InputError with the count and the first name
    of those that are missing, unexpected or of another shape.
    """
    headers = files.tensors()
    states = {
        name: torch.empty(header.shape, dtype=DTYPES.get(header.dtype, torch.uint8), device="meta")
        for name, header in headers.items()
    }
    dtype = "auto" if model.dtype in ("int8", "int4") else model.dtype
    kind: Any = type(built)
    options = {"dtype": dtype, "device_map": {"": "meta"}, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        loaded, report = kind.from_pretrained(None, config=config, state_dict=states, **options)
    except FAULTS as error:
        raise InputError(f"the weights do not load: {reason(error)}") from error
    if fault := incomplete(report):
        raise InputError(fault)
    return str(loaded.dtype).removeprefix("torch.")


def verify_tokenizer(files: Checkpoint, model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer, which gives tokens for text. Raises InputError."""
    try:
        tokenizer = load_tokenizer(files.place, model.chat_template_args, **files.options(model.trust_remote_code))
        tokens = tokenizer(USER)["input_ids"]
    except FAULTS as error:
        raise InputError(f"the tokenizer does not load: {reason(error)}") from error
    if not tokens:
        raise InputError("the tokenizer finds no token in a sentence: its files are missing or another model's")
    return tokenizer


def verify_prompt(tokenizer: PreTrainedTokenizerBase, built: PreTrainedModel | None, model: Model) -> str:
    """A system and a user turn are rendered whole, to tokens that the model has. Returns what was found. Raises InputError."""
    ids = encode_prompt(tokenizer, render_prompt(tokenizer, SYSTEM, USER, model.chat_template))
    embeddings: Any = built.get_input_embeddings() if built else None
    known = len(embeddings.weight) if built else None
    if known and max(ids) >= known:
        raise InputError(f"token {max(ids)} of a prompt is outside the vocabulary of {known}: the tokenizer is another model's")
    return f"{'chat template' if model.chat_template else 'plain paragraphs'}, {len(ids)} tokens for two turns"


def verify_values(files: Checkpoint) -> None:
    """Raise InputError where a weight is NaN or infinite."""
    if where := files.unsound():
        raise InputError(f"the weights hold NaN or infinity: {where}; copy or fetch the checkpoint again")
