"""The manifest of a report: the digest of every file that it was made from and that it consists of.

report:   path below the report's folder: SHA-256, of what was written
results:  path from the folder that the study ran in: SHA-256, of what was read, and of what that was made from
kept:     content of small files of text, so that what is changed in one can be named
marks:    checksums of the rows and columns of tables that only a model can make again, to find a changed value's place
made:     by which code, on which Python and libraries: others may write or round otherwise
"""

import json
import platform
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

from probesteer.errors import InputError
from probesteer.files.cards import read_card, write_card
from probesteer.files.digests import digest, file_digest
from probesteer.files.tables import read_cost, read_table
from probesteer.report.implied import Result, Shared, implied, implied_pairs
from probesteer.study.experiment import Study
from probesteer.study.paths import MANIFEST, RESULTS

PARTS = ("made", "report", "results", "kept", "costs", "marks")
ACTIVATIONS = RESULTS / "activations"
MARKED = ("detection", "forecasts", "doses", "readings", "compare")  # folders of a study
LARGEST_KEPT = 16 * 2**10  # bytes
TEXTS = (".json", ".jsonl", ".tsv", ".yaml", ".txt")
SOURCES = (".py", ".j2", ".js", ".css", ".yaml")
LIBRARIES = ("matplotlib", "numpy", "pandas", "probesteer", "pyarrow", "scikit-learn", "scipy")


def write_manifest(study: Study, folder: Path, more: Sequence[Path] = ()) -> None:
    """Write the manifest of the report in `folder`, of the study's results and of `more` files."""
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    read = sorted({*rested_on(study), *more})
    small = [path for path in read if path.suffix in TEXTS and path.stat().st_size <= LARGEST_KEPT]
    manifest = {
        "made": environment(),
        "report": {path.relative_to(folder).as_posix(): file_digest(path) for path in written},
        "results": {path.as_posix(): file_digest(path) for path in read},
        "kept": {path.as_posix(): path.read_text(encoding="utf-8") for path in small},
        "costs": {path.as_posix(): read_cost(path) for path in read if path.is_relative_to(ACTIVATIONS)},
        "marks": {path.as_posix(): marks(path) for path in read if path.parts[2:3] and path.parts[2] in MARKED},
    }
    write_card(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a report. Raises InputError, also for one that leads out of the results."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = {name: dict(manifest[name]) for name in PARTS}
        texts = [*found["report"].items(), *found["results"].items(), *found["kept"].items()]
        inside = [Path(name) for name in (*found["results"], *found["costs"]) if Path(name).is_relative_to(RESULTS)]
        if any(type(one) is not str for pair in texts for one in pair) or any(".." in path.parts for path in inside):
            raise ValueError
        if not all(Path(name).is_relative_to(ACTIVATIONS) for name in found["costs"]):
            raise ValueError
        return found
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; name the folder of a finished study, or of its report") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not a manifest, or damaged; `snakemake` writes the report again") from error


def marks(path: Path) -> dict[str, Any]:
    """CRC-32 of the values of every row and of every column of a table; no columns of vectors. Raises InputError."""
    table = read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    rows = [crc32(repr(row).encode()) for row in zip(*columns.values(), strict=True)]
    return {"rows": rows, "columns": {name: crc32(repr(values).encode()) for name, values in columns.items()}}


def environment() -> dict[str, str]:
    """What the numbers of a report may depend on beside its inputs."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "code": code()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # probesteer itself, where it is run from its source
            found[name] = ""
    return found


@cache
def code() -> str:
    """Digest of the package: of its modules, templates and words."""
    root = Path(__file__).parents[1]
    sources = sorted(path for path in root.rglob("*") if path.suffix in SOURCES)
    return digest({path.relative_to(root).as_posix(): file_digest(path) for path in sources})[:12]


def rested_on(study: Study) -> Iterator[Path]:
    """Every file that is there of those that the study's report rests on, at any remove; of a model its card stands for it."""
    shared = Shared(study)
    yield study.paths.saved
    for path in chain.from_iterable(map(_files, all_results(study, shared))):
        if path.is_file():
            yield path


def all_results(study: Study, shared: Shared) -> Iterator[Result]:
    """Every result of a study after the cards of its models. Raises InputError."""
    yield from implied_pairs(shared)
    for model in study.models:
        yield from implied(shared, model, read_card(study.paths.card(model.name, model.key)))


def _files(result: Result) -> Iterator[Path]:
    yield from (result.path, *result.inputs, *result.beside)
