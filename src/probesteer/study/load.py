"""Study files: read, merged as Snakemake merges them, and checked."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError

from probesteer.errors import InputError
from probesteer.study.experiment import Study
from probesteer.study.options import first_problem
from probesteer.study.paths import DEMO

LARGEST, MOST_VALUES, DEEPEST = 3 * 2**20, 200_000, 100  # bytes, values and levels of a file: a study is written by hand


def parse_study(config: Mapping[str, Any], files: Sequence[Path]) -> Study:
    """Check a config that was merged from `files`, the last one winning.

    The first problem becomes one InputError line that names its file and key; a key that stands in no file was given on
    the command line.
    """
    for path in filter(Path.exists, files):
        read_mapping(path)  # a key that is given twice is lost in what was merged
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        key, message = first_problem(error, Study, "option")
        if "did you mean" not in message:
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
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST // 2**20} MB, which no study and no concept is")
        text = path.read_text(encoding="utf-8")
        _check_depth(text)
        loaded = yaml.load(text, _Loader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    except ValueError as error:  # of a date or a number
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: a mapping of options is expected")
    return loaded


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses what YAML lets pass and no file of ours means."""

    def construct_document(self, node: yaml.Node) -> Any:
        _count(node, {})
        return super().construct_document(node)


def _check_depth(text: str) -> None:
    """Raise ConstructorError where brackets stand in brackets so deep that building them would exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST and event.start_mark:
            raise ConstructorError(problem=f"more than {DEEPEST} levels at line {event.start_mark.line + 1}")


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node stands for, its aliases spelled out; `known` are those seen, 0 for those that hold this one.

    Raises ConstructorError for a key that is given twice, an alias within what it names, and more than MOST_VALUES.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if known.get(node) == 0:
        raise ConstructorError(problem="an alias stands within what it names", problem_mark=node.start_mark)
    if node not in known:
        known[node] = 0
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key in (key for key, _value in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in keys:
                    raise ConstructorError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
                keys.add(key.value)
        children = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[node] = 1 + sum(_count(child, known) for child in children)
        if known[node] > MOST_VALUES:
            raise ConstructorError(problem=f"more than {MOST_VALUES:,} values", problem_mark=node.start_mark)
    return known[node]
