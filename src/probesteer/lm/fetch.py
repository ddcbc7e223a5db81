"""Download a checkpoint into the hub's cache, and verify what was downloaded."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.lm.checkpoint import Checkpoint, checkpoint_folder, truncation
from probesteer.lm.load import reason
from probesteer.study.model import model_files

WORKERS = 2  # a kill loses the files under way, so they are few


def fetch(source: str, revision: str, trust_remote_code: bool = False, folder: Path | None = None) -> dict[str, Any]:
    """Download weights, configuration and tokenizer of a hub model, into a folder or the hub's cache; what is there is kept.

    Of weights only what is loaded: one file, or the shards that the index names. Code only where it is trusted.
    Returns the receipt: the commit, and size and SHA-256 of every file. Each weight file is compared with the hub's own
    SHA-256; a wrong one is removed. Where the hub cannot be asked, what the cache holds is taken if it is whole.
    Raises InputError.
    """
    wanted: list[str] = []
    expected: dict[str, str] = {}
    try:
        try:
            info = HfApi().model_info(source, revision=revision, files_metadata=True)
            expected = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs}
            commit = str(info.sha)
            names = dict.fromkeys((file.rfilename for file in info.siblings or []), 0)
            wanted = model_files(names, Checkpoint(source, commit, names, local=False).read, trust_remote_code)
            options: dict[str, Any] = {"allow_patterns": wanted, "local_dir": folder}
            folder = Path(snapshot_download(source, revision=commit, max_workers=WORKERS, **options))
        except HfHubHTTPError:  # the hub's answer
            raise
        except (OfflineModeIsEnabled, HTTPError, ConnectionError):
            cache = Path(snapshot_download(source, revision=revision, local_files_only=True))
            commit = cache.name  # a snapshot's folder is named by its commit
            wanted = model_files([path.name for path in cache.iterdir()], checkpoint_folder(cache).read, trust_remote_code)
            folder = cache if folder is None else shutil.copytree(cache, folder, dirs_exist_ok=True)
    except LocalEntryNotFoundError as error:
        raise InputError(f"{source} at {revision}: the hub cannot be reached and its cache does not hold the model") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{source} at {revision}: {reason(error)}") from error
    return {"source": source, "revision": commit, "files": receipt(source, folder, wanted, expected)}


def receipt(source: str, folder: Path, wanted: Collection[str], expected: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each wanted file of a folder; one that is not as `expected` is removed. Raises InputError."""
    files = {}
    for name in wanted:
        path = folder / name
        if not path.is_file():
            raise InputError(f"{source}: {name} is not among its fetched files; run again where the hub can be reached")
        digest = file_digest(path)
        wrong = truncation(path) if path.suffix == ".safetensors" else ""
        if wrong or expected.get(name, digest) != digest:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise InputError(f"{source}: {name} is not the hub's file ({wrong or 'another SHA-256'}); removed, run again")
        files[name] = {"size": path.stat().st_size, "sha256": digest}
    return files
