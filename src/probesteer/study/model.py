"""A model of a study, and the files that decide what it computes."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.study.options import Alphas, Blocks, Count, Layers, Name, Options

MODEL_FILES, ORGANISM_FILES = ("*.safetensors", "*.json", "*.jinja"), ("recipe.json", "planted.safetensors")
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2, "int8": 1, "int4": 0.5}


class Model(Options):
    """One model of the study. Options left out fall back to the study's."""

    name: Name
    """The model's name in paths and tables."""
    source: Annotated[str, Field(min_length=1)]
    """A local folder, or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; required for a hub id, so that a result names its weights."""
    blocks: Count | None = None
    """Number of decoder blocks; required for a hub id (a local folder's config.json is read)."""
    parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions of parameters, for the resources that a job asks for; required for a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = "auto"
    """Weight type; auto is the checkpoint's own, int8 and int4 need bitsandbytes."""
    chat_template: bool = True
    """Render prompts with the tokenizer's chat template; set false for base models."""
    trust_remote_code: bool = False
    """Run code that the hub repository ships."""
    layers: Layers | None = None
    """Detection layers of this model."""
    steering_layers: Blocks | None = None
    """Steering layers of this model."""
    alphas: Alphas | None = None
    """Alpha grid of this model."""
    max_new_tokens: Count | None = None
    """Token limit of a generation of this model."""

    @property
    def key(self) -> str:
        """Names the checkpoint and how it is loaded and prompted, for paths that studies share."""
        return digest([self.source, self.revision, self.dtype, self.chat_template, self.trust_remote_code])[:12]

    @property
    def local(self) -> bool:
        """Whether the source is a folder on this machine."""
        return Path(self.source).is_dir()

    @property
    def organism(self) -> bool:
        """Whether the folder is one of this project's model organisms."""
        return (Path(self.source) / "recipe.json").is_file()

    def files(self) -> list[Path]:
        """The files of a local folder that determine the model; none for a hub id."""
        return model_files(Path(self.source))

    def planted(self) -> list[Path]:
        """The file of a planted direction, where there is one."""
        path = Path(self.source) / "planted.safetensors"
        return [path] if path.is_file() else []

    def parameters(self) -> float:
        """Number of parameters: as the study says, or from the size of a local folder's weights."""
        if self.parameters_b:
            return self.parameters_b * 1e9
        return sum(path.stat().st_size for path in Path(self.source).glob("*.safetensors")) / BYTES_PER_WEIGHT[self.dtype]

    @model_validator(mode="after")
    def _known_size(self) -> "Model":
        if self.local:
            return self
        if self.source.startswith(("/", "./", "../", "~")) or self.source.count("/") != 1:
            raise ValueError(f"source {self.source!r} is neither a folder nor a hub id (owner/name)")
        for option in ("revision", "blocks", "parameters_b"):
            if getattr(self, option) is None:
                raise ValueError(f"{self.name}: a hub model needs {option}")
        return self

    def block_count(self) -> int:
        """Number of decoder blocks, from the stanza or the folder's config.json."""
        if self.blocks is not None:
            return self.blocks
        path = Path(self.source) / "config.json"
        try:
            config = json.loads(path.read_text())
            return int(config["num_hidden_layers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"model {self.name}: cannot read num_hidden_layers from {path}; give blocks in the study"
            ) from error


def model_files(folder: Path) -> list[Path]:
    """The files of a checkpoint's folder that determine what it computes."""
    return sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.name not in ORGANISM_FILES)
