"""A model of a study, and the files that decide what it computes."""

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.study.gguf import gguf_file, read_gguf
from probesteer.study.options import Alphas, Blocks, Count, Layers, Name, Options

TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")  # configuration, tokenizer, chat template
CODE_FILES = ("*.py",)  # only where a study trusts it
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
ORGANISM_FILES = ("recipe.json", "planted.safetensors")
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2, "int8": 1, "int4": 0.5}
# What configurations call the number of decoder blocks; a wrapper's text model has a configuration of its own.
BLOCK_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")


class Model(Options):
    """One model of the study. Options left out fall back to the study's."""

    name: Name
    """The model's name in paths and tables."""
    source: Annotated[str, Field(min_length=1)]
    """A local folder, a GGUF file, or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; required for a hub id, so that a result names its weights."""
    blocks: Count | None = None
    """Number of decoder blocks; required for a hub id (a local folder's config.json and a GGUF file are read)."""
    parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions of parameters, for the resources that a job asks for; required for a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = "auto"
    """Weight type; auto is the checkpoint's own, int8 and int4 need bitsandbytes."""
    chat_template: bool = True
    """Render prompts with the tokenizer's chat template; set false for base models."""
    chat_template_args: dict[Annotated[str, Field(pattern="^[A-Za-z_]+$")], bool | int | float | str | None] = {}
    """What the chat template is told beside the turns, such as enable_thinking: false."""
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
        prompted = self.chat_template and self.chat_template_args
        return digest([self.source, self.revision, self.dtype, self.chat_template, prompted, self.trust_remote_code])[:12]

    @property
    def local(self) -> bool:
        """Whether the source is a folder or a file on this machine."""
        return Path(self.source).is_dir() or self.gguf is not None

    @property
    def gguf(self) -> Path | None:
        """The GGUF file that the model is in, if it is in one."""
        return gguf_file(self.source)

    @property
    def organism(self) -> bool:
        """Whether the folder is one of this project's model organisms."""
        return (Path(self.source) / "recipe.json").is_file()

    @property
    def training_step(self) -> int | None:
        """After how many steps of training an organism is what it is; None of any other model."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # a recipe of somebody else's
            made = json.loads((Path(self.source) / "recipe.json").read_text(encoding="utf-8"))
            return int(made.get("training_step") or made["documents"] // made["batch_size"])
        return None

    def files(self) -> list[Path]:
        """The files on this machine that determine the model; none for a hub id."""
        if self.gguf:
            return [self.gguf]
        folder = Path(self.source)
        names = [path.name for path in folder.iterdir() if path.name not in ORGANISM_FILES] if self.local else []
        with suppress(InputError):  # which the model's check says
            names = model_files(names, lambda name: (folder / name).read_text(encoding="utf-8"), self.trust_remote_code)
        return sorted(folder / name for name in names if (folder / name).is_file())

    def planted(self) -> list[Path]:
        """The file of a planted direction, where there is one."""
        path = Path(self.source) / "planted.safetensors"
        return [path] if path.is_file() else []

    def parameters(self) -> float:
        """Number of parameters: as the study says, as a GGUF file does, or from the size of a local folder's weights."""
        if self.parameters_b:
            return self.parameters_b * 1e9
        if self.gguf:
            return read_gguf(self.gguf).parameters
        weights = [path for path in self.files() if path.suffix == ".safetensors"]
        return sum(path.stat().st_size for path in weights) / BYTES_PER_WEIGHT[self.dtype]

    @model_validator(mode="after")
    def _known_size(self) -> "Model":
        if self.local:
            return self
        if self.source.startswith(("/", "./", "../", "~")) or self.source.count("/") != 1 or self.source.endswith(".gguf"):
            raise ValueError(
                f"source {self.source!r} is neither a folder or GGUF file seen from {Path.cwd()} nor a hub id (owner/name)"
            )
        for option in ("revision", "blocks", "parameters_b"):
            if getattr(self, option) is None:
                raise ValueError(f"{self.name}: a hub model needs {option}")
        return self

    def block_count(self) -> int:
        """Number of decoder blocks, from the stanza, the GGUF file or the folder's config.json. Raises InputError."""
        if self.blocks is not None:
            return self.blocks
        if self.gguf:
            if not (blocks := read_gguf(self.gguf).blocks):
                raise InputError(f"model {self.name}: {self.gguf} names no block_count; give blocks in the study")
            return blocks
        path = Path(self.source) / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            text: dict[str, Any] = next((config[name] for name in TEXT_CONFIGS if name in config), config)
            return int(next(text[name] for name in BLOCK_COUNTS if name in text))
        except FileNotFoundError as error:
            message = f"model {self.name}: {path} is not there; source is a folder with a checkpoint, a GGUF file, or a hub id"
            raise InputError(message) from error
        except (OSError, ValueError, StopIteration, TypeError, AttributeError) as error:
            names = ", ".join(BLOCK_COUNTS)
            raise InputError(f"model {self.name}: {path} names no {names}; give blocks in the study") from error


def weight_files(names: Collection[str], read: Callable[[str], str]) -> list[str]:
    """The weight files that are loaded of those in a checkpoint: the one, or the shards of the index, present or not.

    `read` gives the text of a file. Raises InputError for a broken index.
    """
    if WEIGHTS in names or WEIGHTS_INDEX not in names:
        return [WEIGHTS] if WEIGHTS in names else []
    try:
        return sorted({str(shard) for shard in json.loads(read(WEIGHTS_INDEX))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{WEIGHTS_INDEX}: not an index of weights; copy or fetch it again") from error


def model_files(names: Collection[str], read: Callable[[str], str], code: bool = False) -> list[str]:
    """The files at the top of a checkpoint that determine what it computes; `code`: its Python files too."""
    patterns = TEXT_FILES + CODE_FILES * code
    texts = [name for name in names if any(Path(name).match(pattern) for pattern in patterns) and "/" not in name]
    return sorted({*texts, *weight_files(names, read)})
