"""Can the models of a study be had and run? Looked at before anything is queued, without downloading weights."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch
from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoConfig

from probesteer.errors import InputError
from probesteer.lm.fetch import PATTERNS, truncation
from probesteer.study.experiment import Study
from probesteer.study.model import BYTES_PER_WEIGHT, Model

OK, UNKNOWN, PROBLEM = "ok", "unknown", "problem"
HEADROOM = 1.5  # of a model's weights, for keys, values and activations
TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    model: str
    what: str
    status: str
    detail: str


@dataclass(frozen=True)
class Files:
    """What a checkpoint consists of."""

    sizes: dict[str, int]
    folder: Path | None
    """Where it lies, for a local one."""
    revision: str | None


def preflight(study: Study, only: Sequence[str] = ()) -> list[Finding]:
    """Findings on every model of a study, the judge included, or on those named; and on the room for all of them together.

    Raises InputError for a name that the study does not have.
    """
    found: list[Finding] = []
    missing = 0
    models = [*study.models, *([study.judge.model] if study.judge and study.judge.model else [])]
    if unknown := set(only) - {model.name for model in models}:
        raise InputError(f"model {min(unknown)}: not in the study; it has {', '.join(model.name for model in models)}")
    for model in [model for model in models if not only or model.name in only]:
        files, access = reach(model)
        found.append(access)
        if files:
            found += inspect(model, files)
            to_fetch = [] if files.folder else [name for name in files.sizes if fetched(name) and not cached(model, name)]
            missing += sum(files.sizes[name] for name in to_fetch)
    return [*found, *room(study, missing)]


def problems(found: Sequence[Finding]) -> list[str]:
    """A line for each finding that stops a study."""
    return [f"{finding.model}: {finding.what}: {finding.detail}" for finding in found if finding.status == PROBLEM]


def reach(model: Model) -> tuple[Files | None, Finding]:
    """The files of a model, from its folder or from the hub; None where they cannot be listed."""
    folder = Path(model.source)
    if folder.is_dir():
        sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
        return Files(sizes, folder, None), Finding(model.name, "access", OK, f"folder {folder}")
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
    except (OfflineModeIsEnabled, HTTPError, OSError) as error:
        return None, Finding(model.name, "access", UNKNOWN, f"{where}: the hub cannot be asked ({type(error).__name__})")
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    return Files(sizes, None, info.sha), Finding(model.name, "access", OK, f"{where}: commit {info.sha}")


def inspect(model: Model, files: Files) -> Iterator[Finding]:
    """Weights, architecture, blocks and chat template of a model whose files are known."""

    def finding(what: str, good: bool, detail: str) -> Finding:
        return Finding(model.name, what, OK if good else PROBLEM, detail)

    weights = {name: size for name, size in files.sizes.items() if name.endswith(".safetensors")}
    if not weights:
        yield finding("weights", False, "no .safetensors files; pickles are not loaded, convert them")
    else:
        problem = next(filter(None, (weight_problem(model, files, name) for name in weights)), "")
        yield finding("weights", not problem, problem or f"{sum(weights.values()) / 1e9:.2f} GB")
    try:
        source = str(files.folder) if files.folder else model.source
        config = AutoConfig.from_pretrained(source, revision=files.revision, trust_remote_code=model.trust_remote_code)
        blocks = config.get_text_config().num_hidden_layers
        detail = f"{config.model_type}, {blocks} blocks"
        same = model.blocks in (None, blocks)
        yield finding("architecture", same, detail if same else f"{detail}; the study says {model.blocks}")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        yield finding("architecture", False, str(error).strip().splitlines()[0])
    if model.chat_template:
        known = has_template(model, files)
        yield finding("chat template", known, "there is one" if known else "there is none; set chat_template: false")


def weight_problem(model: Model, files: Files, name: str) -> str:
    """What is wrong with a weight file, as far as it can be seen without downloading it, or nothing."""
    if files.sizes[name] == 0:
        return f"{name} is empty"
    there = files.folder / name if files.folder else cached(model, name)
    if there and (cut := truncation(there)):
        return f"{name} is damaged: {cut}; delete {there} and {'copy' if files.folder else 'fetch'} it again"
    return ""


def has_template(model: Model, files: Files) -> bool:
    """Whether a tokenizer brings a chat template."""
    if any(name in files.sizes for name in TEMPLATES):
        return True
    name = "tokenizer_config.json"
    if name not in files.sizes:
        return False
    path = files.folder / name if files.folder else Path(hf_hub_download(model.source, name, revision=files.revision))
    return bool(json.loads(path.read_text(encoding="utf-8")).get("chat_template"))


def fetched(name: str) -> bool:
    """Whether a file is among those that a fetch takes."""
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def cached(model: Model, name: str) -> Path | None:
    """Where a file of a hub model lies in the cache, if it does already."""
    found = try_to_load_from_cache(model.source, name, revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def room(study: Study, missing: int) -> Iterator[Finding]:
    """Disk for what is still to download, and GPU memory for the largest model."""
    cache = Path.cwd() if study.resources.temp_weights else Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    status = OK if missing <= free else PROBLEM
    yield Finding("all", "disk", status, f"{missing / 1e9:.2f} GB to download, {free / 1e9:.2f} GB free in {there}")
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
