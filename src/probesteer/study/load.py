"""Study files: read, merged as Snakemake merges them, and checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from probesteer.errors import InputError
from probesteer.study.experiment import Study
from probesteer.study.options import first_problem
from probesteer.study.paths import DEMO


def parse_study(config: Mapping[str, Any], files: Sequence[Path]) -> Study:
    """Check a config that was merged from `files`, the last one winning.

    The first problem becomes one InputError line that names its file and key; a key that stands in no file was given on
    the command line.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        key, message = first_problem(error, "option")
        message = message.replace("unknown option", "unknown option; config/README.md lists them all")
        where = _where(key.partition(".")[0], config, files) if key else ", ".join(map(str, files))
        raise InputError(f"{where}: {key}{': ' if key else ''}{message}") from None


def _where(option: str, config: Mapping[str, Any], files: Sequence[Path]) -> str:
    """The last file that sets an option to what the config holds, or --config where none does."""
    for path in reversed(files):
        given = read_mapping(path)
        if option in given and (isinstance(given[option], Mapping) or given[option] == config[option]):
            return str(path)
    return "--config" if option in config or not files else str(files[-1])


def merge(base: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Layer one config over another as Snakemake does: mappings merge, all else is replaced."""
    merged = dict(base)
    for key, value in update.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(dict(merged[key]), value) if both else value
    return merged


def load_study(*paths: Path) -> Study:
    """Read study files, each layered over the one before it; the demo where none is named. Raises InputError."""
    config: dict[str, Any] = {}
    for path in paths or [DEMO]:
        config = merge(config, read_mapping(path))
    return parse_study(config, paths or [DEMO])


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping. Raises InputError."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: a mapping of options is expected")
    return loaded
