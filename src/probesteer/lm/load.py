"""Load a checkpoint whole or not at all, and render its prompts."""

import importlib.util
import json
import os
import re
import signal
import threading

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.peft_utils import find_adapter_config_file

from probesteer.errors import InputError

FAULTS = (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, ImportError, RuntimeError)
"""What is raised in foreign code where a checkpoint is not as it expects."""
# Causal masks and rotary frequencies, which older releases of transformers saved beside the weights; an attention has no bias
# of its own, its projections have.
SAVED_BUFFER = re.compile(r"\.(attn|attention)\.(bias|masked_bias)$|\.attn\.causal_mask$|rotary_emb\.inv_freq$")
TODAY = datetime(2024, 7, 26)  # to a chat template, on every day: the date that Llama 3's template falls back to
DATE_CODES = "aAbBdejmyYHIMSp"
RENDERING = 10  # seconds for a chat template, which is a program and may loop; real ones take milliseconds
ADAPTER = "adapter_config.json"
NO_ADAPTER = f"{ADAPTER}: adapters are not applied; merge it into the weights, or take the file away"


class Rendered(str):
    """A prompt that a chat template wrote, with all the special tokens that belong there."""

    __slots__ = ()


def load_model(
    name_or_path: str,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    chat_template_args: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal LM in evaluation mode and its left-padding tokenizer, from a local folder or the hub.

    Weights are safetensors only; int8 and int4 quantise them as they load, by bitsandbytes. `device` defaults to the GPUs
    (spread by accelerate) where there are any, else the CPU.
    Raises InputError where the checkpoint cannot be loaded, lacks a weight or has one too many, or brings an adapter.
    """
    placement = {"": device} if device else "auto" if torch.cuda.is_available() else {"": "cpu"}
    common = {"revision": revision, "trust_remote_code": trust_remote_code, "local_files_only": local_files_only}
    weights = quantized(dtype) if dtype in ("int8", "int4") else {"dtype": dtype}
    weights |= {"ignore_mismatched_sizes": True, "output_loading_info": True}  # the report says more than the error would
    where = f"model {name_or_path} (revision {revision})"
    try:
        # which transformers applies where peft is installed
        if find_adapter_config_file(name_or_path, revision=revision, local_files_only=local_files_only):
            raise InputError(f"{where}: {NO_ADAPTER}")
        kind = auto_class(AutoConfig.from_pretrained(name_or_path, **common))
        model, report = kind.from_pretrained(name_or_path, device_map=placement, use_safetensors=True, **weights, **common)
        tokenizer = load_tokenizer(name_or_path, chat_template_args, **common)
    except FAULTS as error:
        raise InputError(f"{where} cannot be loaded: {reason(error)}") from error
    if fault := incomplete(report):
        raise InputError(f"{where}: {fault}")
    return model.eval(), tokenizer


def auto_class(config: PretrainedConfig) -> Any:
    """The class that loads a configuration's language model, which may stand inside a multimodal wrapper."""
    wrapped = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if wrapped else AutoModelForCausalLM


def load_tokenizer(place: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> PreTrainedTokenizerBase:
    """A left-padding tokenizer, its chat template settled: `arguments` are given to it, and its date is pinned."""
    tokenizer = AutoTokenizer.from_pretrained(place, **options)
    tokenizer.padding_side = "left"
    if tokenizer.chat_template:
        tokenizer.chat_template = settled(tokenizer.get_chat_template(), arguments or {})
    return tokenizer


def settled(template: str, arguments: Mapping[str, Any]) -> str:
    """A chat template, Jinja, that writes the same on every day: what it would be told from outside stands before it."""
    literals = {name: "none" if value is None else json.dumps(value) for name, value in arguments.items()}
    given = "".join(f"{{%- set {name} = {value} -%}}" for name, value in literals.items())
    if "strftime_now" in template:
        codes = "".join(f'|replace("%{code}", "{TODAY.strftime("%" + code)}")' for code in DATE_CODES)
        given += f"{{%- macro strftime_now(format) -%}}{{{{ format{codes} }}}}{{%- endmacro -%}}"
    return given + template


def incomplete(report: Mapping[str, Any]) -> str:
    """What a loader's report says is wrong with the weights, or nothing."""
    kinds = {"missing_keys": "missing", "unexpected_keys": "unexpected", "mismatched_keys": "misshapen"}
    faults = {what: sorted(key if isinstance(key, str) else key[0] for key in report[kind]) for kind, what in kinds.items()}
    faults["unexpected"] = [key for key in faults["unexpected"] if not SAVED_BUFFER.search(key)]
    parts = [f"{len(keys)} {what}, the first {keys[0]}" for what, keys in faults.items() if keys]
    parts += [reason(error) for error in list(report["error_msgs"])[:1]]
    return f"the weights are not this model's; tensors {'; '.join(parts)}" if parts else ""


def reason(error: object) -> str:
    """An error of another library in one line."""
    line = " ".join(str(error).split())
    return line if len(line) <= 300 else f"{line[:300]} ..."


def quantized(dtype: str) -> dict[str, Any]:
    """What loads weights as int8 or int4. Raises InputError where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"dtype {dtype} needs bitsandbytes; install it, or choose another dtype")
    return {"quantization_config": BitsAndBytesConfig(load_in_8bit=dtype == "int8", load_in_4bit=dtype == "int4")}


def load_card(card: Mapping[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model that a card names; a hub model from the cache, where it was fetched to: jobs may run offline."""
    place = card.get("folder") or card["source"]
    options = {"trust_remote_code": card["trust_remote_code"], "local_files_only": not Path(place).is_dir()}
    return load_model(place, card["revision"], card["dtype"], chat_template_args=card.get("chat_template_args"), **options)


def render_prompt(tokenizer: PreTrainedTokenizerBase, system: str, user: str, chat_template: bool = True) -> str:
    """The text a model continues: the chat template over a system and a user turn, or both as plain paragraphs.

    A template that refuses or drops the system turn gets its text at the head of the user turn.
    Raises InputError where a chat template is asked for and the tokenizer has none, or one that fails or drops the user turn.
    """
    if not chat_template:
        return f"{system}\n\n{user}\n\n"
    if not tokenizer.chat_template:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has no chat template; set chat_template: false in the study")
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    merged = [{"role": "user", "content": f"{system}\n\n{user}"}]
    fault = "drops the text of a turn"
    for conversation in (turns, merged):
        try:
            text = _rendered(tokenizer, conversation)
        except TimeoutError:
            fault = f"is not done after {RENDERING} seconds"
            break
        except (TemplateError, MemoryError, *FAULTS) as error:  # a template is foreign code
            fault = f"fails: {reason(error) or type(error).__name__}"
            continue
        if all(_plain(part) in _plain(text) for part in (system, user)):
            return Rendered(text)
        fault = "drops the text of a turn"
    raise InputError(f"{tokenizer.name_or_path}: the chat template {fault}; mend it, or set chat_template: false in the study")


def _rendered(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> str:
    """What the chat template makes of a conversation. Raises TimeoutError where it loops."""
    with _at_most(RENDERING):
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer; in the main thread alone, which is the one that gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _plain(text: str) -> str:
    """A text without what templates may change of it: white space."""
    return "".join(text.split())


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of a prompt.

    What a chat template wrote is taken as it stands, as its model knows it: a template without a beginning-of-sequence token
    gets none. Any other text gets the tokenizer's special tokens, unless it begins with the first of them, but no
    end-of-sequence token at its end: the model is to go on.
    """
    if isinstance(prompt, Rendered) or (tokenizer.bos_token and prompt.startswith(tokenizer.bos_token)):
        return tokenizer(prompt, add_special_tokens=False)["input_ids"]
    own, ids = len(tokenizer(prompt, add_special_tokens=False)["input_ids"]), tokenizer(prompt)["input_ids"]
    while len(ids) > own and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids
