"""The files of a checkpoint, in a folder or on the hub, and the tensors that its weight files name in their headers."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import SafetensorsParsingError
from safetensors import safe_open

from probesteer.errors import InputError
from probesteer.study.model import WEIGHTS, weight_files

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
BLOCK = 2**24  # elements looked at together


class TensorHeader(NamedTuple):
    """What a weight file says of a tensor."""

    dtype: str
    """As safetensors spells it: F32, BF16 ..."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint."""

    place: str
    """The folder, or the hub id."""
    revision: str | None
    sizes: Mapping[str, int]
    """Bytes of each file."""
    local: bool
    """Whether `place` is a folder."""
    gguf: str | None = None
    """The GGUF file of the folder that all is in, if it is in one."""

    def options(self, trust_remote_code: bool) -> dict[str, Any]:
        """What transformers is told to read this checkpoint and no other."""
        options = {"revision": self.revision, "trust_remote_code": trust_remote_code}
        return options | ({"gguf_file": self.gguf} if self.gguf else {})

    def read(self, name: str) -> str:
        """The text of a small file; one of the hub's is downloaded into its cache."""
        path = Path(self.place) / name if self.local else hf_hub_download(self.place, name, revision=self.revision)
        return Path(path).read_text(encoding="utf-8")

    def on_disk(self, name: str) -> Path | None:
        """Where a file lies on this machine, if it does."""
        if self.local:
            return Path(self.place) / name
        found = try_to_load_from_cache(self.place, name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def weights(self) -> list[str]:
        """The names of the weight files that are loaded. Raises InputError where there are none, or one is not whole."""
        names = weight_files(self.sizes, self.read)
        if not names:
            raise InputError(f"there is no {WEIGHTS} and no index; pickles are not loaded, convert them")
        for name in names:
            there = self.on_disk(name)
            if name not in self.sizes and not (self.local and there and there.is_file()):
                raise InputError(f"{name} is missing, which the index names")
            if self.sizes.get(name) == 0:
                raise InputError(f"{name} is empty")
            if there and (cut := truncation(there)):
                again = "copy" if self.local else "fetch"
                raise InputError(f"{name} is damaged: {cut}; delete {there} and {again} it again")
        return names

    def tensors(self) -> dict[str, TensorHeader]:
        """Every tensor of the weight files, from their headers: those of the hub are asked for by range. Raises InputError."""
        found: dict[str, TensorHeader] = {}
        for name in self.weights():
            there = self.on_disk(name)
            if there:
                header = {key: (entry["dtype"], entry["shape"]) for key, entry in read_header(there)[0].items()}
            else:
                try:
                    known = HfApi().parse_safetensors_file_metadata(self.place, name, revision=self.revision).tensors
                except SafetensorsParsingError as error:
                    raise InputError(f"{name} is not a safetensors file") from error
                header = {key: (entry.dtype, entry.shape) for key, entry in known.items()}
            found |= {key: TensorHeader(dtype, tuple(shape)) for key, (dtype, shape) in header.items()}
        return found

    def unsound(self) -> str:
        """The first tensor of weight files on this machine that holds NaN or infinity, or nothing."""
        for name in self.weights():
            with safe_open(self.on_disk(name), framework="pt") as file:
                for key in file.keys():  # noqa: SIM118
                    values = file.get_tensor(key)
                    if values.is_floating_point() and not all(
                        part.float().isfinite().all() for part in values.flatten().split(BLOCK)
                    ):
                        return f"{key} in {name}"
        return ""


def checkpoint_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return Checkpoint(str(folder), None, sizes, local=True)


def read_header(path: Path) -> tuple[dict[str, dict], int]:
    """The tensors that a safetensors file names, and where their data begins. Raises InputError."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        header.pop("__metadata__", None)
        if not all({"dtype", "shape", "data_offsets"} <= entry.keys() for entry in header.values()):
            raise ValueError("an entry without dtype, shape or offsets")
    except (OSError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise InputError(f"{path} is not a safetensors file") from error
    return header, 8 + length


def truncation(path: Path) -> str:
    """What is missing from a safetensors file by its own header, or nothing."""
    try:
        header, start = read_header(path)
        whole = start + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (InputError, ValueError, TypeError, IndexError):
        return "not a safetensors file"
    size = path.stat().st_size
    return f"{size} of {whole} bytes" if size < whole else ""
