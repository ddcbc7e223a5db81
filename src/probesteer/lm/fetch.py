"""Download a checkpoint into the hub's cache, and verify what was downloaded."""

import json
import shutil
import struct
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

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
CODE = ["*.py"]  # only where a study trusts it
WORKERS = 2  # a kill loses the files under way, so they are few


def fetch(source: str, revision: str, trust_remote_code: bool = False, folder: Path | None = None) -> dict[str, Any]:
    """Download weights, configuration and tokenizer of a hub model, into a folder or the hub's cache; what is there is kept.

    Returns the receipt: the commit, and size and SHA-256 of every file. Each weight file is compared with the hub's own
    SHA-256; a wrong one is removed. Where the hub cannot be asked, what the cache holds is taken if it is whole.
    Raises InputError.
    """
    options: dict[str, Any] = {"allow_patterns": PATTERNS + CODE * trust_remote_code, "local_dir": folder}
    expected: dict[str, str] = {}
    try:
        try:
            info = HfApi().model_info(source, revision=revision, files_metadata=True)
            expected = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs}
            commit = str(info.sha)
            folder = Path(snapshot_download(source, revision=commit, max_workers=WORKERS, **options))
        except HfHubHTTPError:  # the hub's answer
            raise
        except (OfflineModeIsEnabled, HTTPError, ConnectionError):
            cache = Path(snapshot_download(source, revision=revision, local_files_only=True, **{**options, "local_dir": None}))
            commit = cache.name  # a snapshot's folder is named by its commit
            folder = cache if folder is None else shutil.copytree(cache, folder, dirs_exist_ok=True)
    except LocalEntryNotFoundError as error:
        raise InputError(f"{source} at {revision}: the hub cannot be reached and its cache does not hold the model") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(f"{source} at {revision}: {str(error).strip().splitlines()[0]}") from error
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if name.startswith(".cache"):  # the client's own notes
            continue
        digest = file_digest(path)
        wrong = truncation(path) if path.suffix == ".safetensors" else ""
        if wrong or expected.get(name, digest) != digest:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise InputError(f"{source}: {name} is not the hub's file ({wrong or 'another SHA-256'}); removed, run again")
        files[name] = {"size": path.stat().st_size, "sha256": digest}
    return {"source": source, "revision": commit, "files": files}


def truncation(path: Path) -> str:
    """What is missing from a safetensors file by its own header, or nothing."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
        data = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return "not a safetensors file"
    whole = 8 + length + data
    return f"{size} of {whole} bytes" if size < whole else ""
