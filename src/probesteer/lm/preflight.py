"""Can the models of a study be had and run? Looked at before anything is queued, without downloading weights."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import PretrainedConfig

from probesteer.errors import InputError
from probesteer.lm import verify
from probesteer.lm.checkpoint import Checkpoint, checkpoint_folder
from probesteer.lm.gguf import reading_once
from probesteer.study.experiment import Study
from probesteer.study.model import BYTES_PER_WEIGHT, Model, model_files

T = TypeVar("T")

OK, UNKNOWN, PROBLEM = "ok", "unknown", "problem"
HEADROOM = 1.5  # of a model's weights, for keys, values and activations
UNREACHABLE = (OfflineModeIsEnabled, HTTPError, OSError)


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    model: str
    what: str
    status: str
    detail: str


def preflight(study: Study, only: Sequence[str] = ()) -> list[Finding]:
    """Findings on every model of a study, the judge included, or on those named; and on the room for all of them together.

    Raises InputError for a name that the study does not have.
    """
    found: list[Finding] = []
    missing, complete = 0, True
    models = [*study.models, *([study.judge.model] if study.judge and study.judge.model else [])]
    if unknown := set(only) - {model.name for model in models}:
        raise InputError(f"model {min(unknown)}: not in the study; it has {', '.join(model.name for model in models)}")
    for model in [model for model in models if not only or model.name in only]:
        files, access = reach(model)
        found.append(access)
        complete &= files is not None
        if files:
            with verify.quietly(), reading_once():
                found += inspect(model, files)
            missing += to_download(model, files)
    return [*found, *room(study, missing, complete)]


def to_download(model: Model, files: Checkpoint) -> int:
    """Bytes that a fetch of the model would add to the hub's cache."""
    if files.local:
        return 0
    try:
        names = model_files(files.sizes, files.read, model.trust_remote_code)
    except (InputError, *UNREACHABLE):  # said of the weights
        return 0
    return sum(files.sizes.get(name, 0) for name in names if not files.on_disk(name))


def problems(found: Sequence[Finding]) -> list[str]:
    """A line for each finding that stops a study."""
    return [f"{finding.model}: {finding.what}: {finding.detail}" for finding in found if finding.status == PROBLEM]


def reach(model: Model) -> tuple[Checkpoint | None, Finding]:
    """The files of a model, from its folder or from the hub; None where they cannot be listed."""
    folder = Path(model.source)
    if model.gguf:
        sizes = {model.gguf.name: model.gguf.stat().st_size}
        files = Checkpoint(str(model.gguf.parent), None, sizes, local=True, gguf=model.gguf.name)
        return files, Finding(model.name, "access", OK, f"file {model.gguf}")
    if folder.is_dir():
        return checkpoint_folder(folder), Finding(model.name, "access", OK, f"folder {folder}")
    where = f"{model.source} at {model.revision}"
    api = HfApi()
    try:
        info = api.model_info(model.source, revision=model.revision, files_metadata=True)
        if info.gated:
            api.auth_check(model.source)
    except GatedRepoError:
        return None, Finding(model.name, "access", PROBLEM, f"{where}: gated; accept its terms on the hub and set HF_TOKEN")
    except RevisionNotFoundError:
        return None, Finding(model.name, "access", PROBLEM, f"{where}: there is no such revision")
    except RepositoryNotFoundError:
        return None, Finding(model.name, "access", PROBLEM, f"{where}: no such repository, or HF_TOKEN does not open it")
    except UNREACHABLE as error:
        return None, Finding(model.name, "everything", UNKNOWN, f"{where}: the hub cannot be asked ({type(error).__name__})")
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    return Checkpoint(model.source, info.sha, sizes, local=False), Finding(
        model.name, "access", OK, f"{where}: commit {info.sha}"
    )


def inspect(model: Model, files: Checkpoint) -> list[Finding]:
    """Everything that `lm.verify` asks of a model whose files are known, as far as one fault does not hide another."""
    found: list[Finding] = []

    def looked(what: str, look: Callable[[], T], detail: Callable[[T], str]) -> T | None:
        try:
            result = look()
            found.append(Finding(model.name, what, OK, detail(result)))
            return result
        except InputError as error:
            found.append(Finding(model.name, what, PROBLEM, str(error)))
        except UNREACHABLE as error:
            found.append(Finding(model.name, what, UNKNOWN, f"the hub cannot be asked ({type(error).__name__})"))
        return None

    whole = looked("weights", lambda: verify.verify_weights(files), str)
    made = looked("architecture", lambda: verify.verify_architecture(files, model), lambda made: described(made[0], model))
    if made and (method := verify.quantization(made[0]) or model.dtype * (model.dtype in ("int8", "int4"))):
        looked("quantisation", lambda: verify.verify_packages(made[0], model), lambda _none: method)
    if made and (files.gguf or verify.quantization(made[0])):
        found.append(Finding(model.name, "tensors", UNKNOWN, "names and shapes of quantised weights"))
    elif made and whole:
        looked("tensors", lambda: verify.verify_tensors(files, *made, model), lambda dtype: f"all there, loaded as {dtype}")
    tokenizer = looked("tokenizer", lambda: verify.verify_tokenizer(files, model), lambda it: f"{len(it)} tokens")
    if tokenizer:
        looked("prompt", lambda: verify.verify_prompt(tokenizer, made[1] if made else None, model), str)
    return found


def described(config: PretrainedConfig, model: Model) -> str:
    """An architecture in a few words."""
    return f"{config.model_type}, {model.block_count()} blocks"


def room(study: Study, missing: int, complete: bool = True) -> Iterator[Finding]:
    """Disk for what is still to download, of all models or of those that could be asked for; GPU memory for the largest."""
    cache = Path.cwd() if study.resources.temp_weights else Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    status = PROBLEM if missing > free else OK if complete else UNKNOWN
    known = "" if complete else "at least "
    yield Finding("all", "disk", status, f"{known}{missing / 1e9:.2f} GB to download, {free / 1e9:.2f} GB free in {there}")
    largest = max(study.models, key=lambda model: (model.parameters_b or 0) * BYTES_PER_WEIGHT[model.dtype])
    needed = HEADROOM * (largest.parameters_b or 0) * 1e9 * BYTES_PER_WEIGHT[largest.dtype]
    if not study.resources.gpus or not needed:
        return
    if not torch.cuda.is_available():
        yield Finding(largest.name, "GPU memory", UNKNOWN, f"{needed / 1e9:.0f} GB needed; there is no GPU on this machine")
        return
    memory = sum(torch.cuda.mem_get_info(device)[0] for device in range(torch.cuda.device_count()))
    status = OK if needed <= memory else PROBLEM
    yield Finding(largest.name, "GPU memory", status, f"{needed / 1e9:.0f} GB needed, {memory / 1e9:.0f} GB free")
