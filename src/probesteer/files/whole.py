"""Files are there whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from probesteer.errors import InputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes otherwise.

    What a killed writer of the same file left is removed. Raises InputError for a path that cannot be written, or is no file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: {'Is a directory' if path.is_dir() else 'not a regular file'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if beside.name not in str(error):
            raise
        raise InputError(f"{path}: {os.strerror(error.errno) if error.errno else 'cannot be written'}") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that replaces it when the block ends well, and vanishes otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        beside = Path(aside) / folder.name
        beside.mkdir()
        yield beside
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(beside, folder)


def refuse_overwrite(output: Path, *inputs: Path) -> None:
    """Raise InputError where what is to be written would take the place of what is read."""
    if output.resolve() in [path.resolve() for path in inputs]:
        raise InputError(f"{output}: the output is the input; name another file")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")
