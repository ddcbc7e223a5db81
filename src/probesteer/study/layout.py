"""A folder to run studies in: the workflow, its profiles, the demo and the concepts, laid out from the installed package."""

import shutil
import tomllib
from pathlib import Path

from probesteer.errors import InputError

PACKAGE = Path(__file__).parents[1]
LAYOUT = "layout"  # in an installed package; a checkout is one itself
IGNORED = "# what Snakemake makes\n.snakemake/\nresults/\n"


def sources() -> list[Path]:
    """What is laid out. Raises InputError where neither a wheel nor a checkout is installed."""
    installed, checkout = PACKAGE / LAYOUT, PACKAGE.parents[1]
    if installed.is_dir():
        return sorted(installed.iterdir())
    try:
        names = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["probesteer"][LAYOUT]
    except (OSError, KeyError) as error:
        raise InputError(f"{installed} is missing: install probesteer from its wheel, or work in a checkout") from error
    return [checkout / name for name in names]


def lay_out(folder: Path) -> None:
    """Write everything that a study needs into a new or empty folder. Raises InputError for one that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources():
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy2(source, folder / source.name)
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
