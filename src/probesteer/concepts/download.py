"""Pairs from an address: downloaded within limits, and looked at before they take their place."""

import os
import shutil
import tempfile
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path

from probesteer.concepts.pairs import read_pairs
from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.study.sections import PairsFile, PairsSource, levels

TIMEOUT = 60  # seconds without a byte
LONGEST = 600  # seconds of the whole download
LARGEST = 2**28  # bytes; a million pairs of 100 words take about half of them
BLOCK = 2**20
ASIDE = ".download."


def download(given: PairsFile, source: PairsSource) -> None:
    """Download one of a study's files of pairs; it is kept where its SHA-256 is the expected one and it holds pairs.

    Raises InputError, and leaves nothing then.
    """
    path = Path(source.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=ASIDE, dir=path.parent) as folder:
        beside = Path(folder) / path.name
        try:
            _receive(str(source.url), beside)
        except (OSError, ValueError, HTTPException) as error:
            raise InputError(f"{source.url}: cannot be downloaded ({error})") from error
        if (found := file_digest(beside)) != source.sha256:
            raise InputError(f"{source.url}: its SHA-256 is {found}, not {source.sha256}; nothing was kept")
        try:
            columns = {str(field): column for field, column in given.columns.items()}
            read_pairs({beside: source.split}, columns, levels(given.factors))
        except InputError as error:
            raise InputError(f"{source.url}: {str(error).replace(str(beside), path.name)}; nothing was kept") from error
        os.replace(beside, path)


def _receive(url: str, path: Path) -> None:
    started, size = time.monotonic(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
        while block := answer.read1(BLOCK):
            size += file.write(block)
            if size > LARGEST:
                raise ValueError(f"more than {LARGEST} bytes")
            if time.monotonic() - started > LONGEST:
                raise ValueError(f"not there after {LONGEST} seconds")
