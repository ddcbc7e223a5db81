"""Models in GGUF files: looked at by their header, and dequantised once into a folder of safetensors, by transformers."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoConfig

from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.files.whole import whole_folder, write_json
from probesteer.lm.load import FAULTS, auto_class, incomplete, load_tokenizer, reason
from probesteer.study.gguf import Header, read_gguf
from probesteer.study.model import Model

RECEIPT = "converted.json"  # in the folder: the SHA-256 of the file that its weights come from


def quantisation(path: Path) -> str:
    """The types of a file's tensors with their counts, the commonest first. Raises InputError."""
    counts = Counter(gguf.GGMLQuantizationType(tensor.kind).name for tensor in read_gguf(path).tensors)
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def verify_gguf(path: Path) -> str:
    """A whole file of one model that transformers reads, with its tokenizer; returns size and types. Raises InputError."""
    header = read_gguf(path)
    if int(header.values.get("split.count", 1)) > 1:
        raise InputError(f"one of {header.values['split.count']} parts; join them with `llama-gguf-split --merge`")
    if not header.values.get("tokenizer.ggml.tokens"):
        raise InputError("it holds no tokenizer; use the model's safetensors, or convert it again with its vocabulary")
    known = {kind.value for kind in gguf.GGMLQuantizationType}
    if unknown := next((tensor.kind for tensor in header.tensors if tensor.kind not in known), None):
        raise InputError(f"tensors of type {unknown}, which the gguf package does not know")
    size, whole = path.stat().st_size, _whole(header)
    if size < whole:
        raise InputError(f"damaged: {size} of {whole} bytes; copy or download it again")
    return f"{size / 1e9:.2f} GB, {quantisation(path)}"


def _whole(header: Header) -> int:
    """Bytes of a file that holds all that its header names."""
    ends = [0]
    for tensor in header.tensors:
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
        ends.append(tensor.offset + tensor.elements // block * size)
    return header.data + max(ends)


@contextmanager
def reading_once() -> Iterator[None]:
    """Let transformers parse a file once: it asks for configuration, weights and tokenizer each time anew, seconds apiece."""
    reader = gguf.GGUFReader
    vars(gguf)["GGUFReader"] = lru_cache(maxsize=1)(reader)
    try:
        yield
    finally:
        vars(gguf)["GGUFReader"] = reader


def convert(model: Model, path: Path, folder: Path) -> None:
    """Write a GGUF file's weights, dequantised, its configuration and tokenizer into a folder, whole or not at all.

    The weights are float32, unless the study names another type. Raises InputError.
    """
    dtype = torch.float32 if model.dtype in ("auto", "int8", "int4") else getattr(torch, model.dtype)
    with whole_folder(folder) as aside, reading_once():
        try:
            verify_gguf(path)
            place, options = str(path.parent), dict[str, Any](gguf_file=path.name)
            config = AutoConfig.from_pretrained(place, **options)
            loaded, report = auto_class(config).from_pretrained(place, dtype=dtype, output_loading_info=True, **options)
            if fault := incomplete(report):
                raise InputError(fault)
            plain = auto_class(config).from_config(config, dtype=dtype)  # the loaded one does not save: it counts as quantised
            plain.load_state_dict(loaded.state_dict())
            plain.save_pretrained(aside)
            load_tokenizer(place, **options).save_pretrained(aside)
        except (InputError, *FAULTS) as error:
            raise InputError(f"model {model.name}: {path}: {reason(error)}") from error
        write_json(aside / RECEIPT, {"sha256": file_digest(path)})


def converted_from(folder: Path, path: Path) -> bool:
    """Whether a folder holds the weights of this very file."""
    try:
        return bool(json.loads((folder / RECEIPT).read_text())["sha256"] == file_digest(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False
