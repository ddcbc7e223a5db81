"""A behaviour's texts: system prompts, scenarios, contrastive pairs and word lists, as a folder of files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from probesteer.errors import InputError
from probesteer.study import Name, Options, Study, digest, file_digest, read_mapping

PAIRS_FILE, CONCEPT_FILE, WORDS_FILE = "pairs.jsonl", "concept.yaml", "ablation_words.txt"


class Scenario(Options):
    """A situation in which the behaviour competes with an objective."""

    title: str
    """Name in tables."""
    objective: str
    """What the agent is asked to achieve."""
    pressure: str
    """What stands against the objective."""
    rubric: dict[Literal[0, 1, 2], str]
    """What an answer of each level looks like."""
    prompt: str
    """The user turn; {objective} and {pressure} are filled in."""

    def user_prompt(self) -> str:
        return self.prompt.format(objective=self.objective, pressure=self.pressure).strip()


class SystemPrompts(Options):
    """The system prompts of a concept."""

    positive: str
    """Asks for the behaviour."""
    negative: str
    """Asks for its opposite."""
    neutral: str
    """Leaves it open: the prompt of steered and baseline generations."""


class Concept(Options):
    """A behaviour: what is detected and steered."""

    title: str
    """Name in the report."""
    description: str
    """One sentence: what the positive side does."""
    organisms_only: bool = False
    """True for a concept in the language of the model organisms."""
    system_prompts: SystemPrompts
    """The system prompts."""
    scenarios: dict[Name, Scenario]
    """Scenarios by name."""


class Pair(Options):
    """Two texts on one situation, the positive and the negative side of a behaviour: a line of pairs.jsonl."""

    id: Name
    """Unique name of the pair."""
    scenario: Name
    """Scenario that the texts belong to."""
    split: Literal["train", "test"]
    """Test pairs are scored once."""
    voice: str
    """Who speaks: texts of one voice share style."""
    generator: str | None = None
    """Name of the model that wrote the texts, if a model did."""
    positive: str = Field(min_length=1)
    """The text that shows the behaviour."""
    negative: str = Field(min_length=1)
    """The text that shows its opposite."""


def load_concept(folder: Path) -> Concept:
    """Read concept.yaml of a folder. Raises InputError with file and key."""
    path = folder / CONCEPT_FILE
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in folder.parent.glob("*/concept.yaml"))) or "none"
        raise InputError(f"concept {folder.name}: {path} cannot be read; concepts there: {known}")
    try:
        return Concept.model_validate(read_mapping(path))
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error


def load_scenarios(folder: Path, scenarios: Sequence[str]) -> Concept:
    """Read a concept that has these scenarios. Raises InputError for one that it does not have."""
    concept = load_concept(folder)
    if unknown := [name for name in scenarios if name not in concept.scenarios]:
        raise InputError(f"scenario {unknown[0]}: not in {folder}; it has {', '.join(concept.scenarios)}")
    return concept


def check_study(study: Study) -> str:
    """Check what a study says against its concept; returns the digest of what activations depend on. Raises InputError."""
    concept = load_scenarios(study.concept_folder, study.scenarios)
    pairs = load_pairs(study.concept_folder / PAIRS_FILE)
    if foreign := [pair for pair in pairs if pair.scenario not in concept.scenarios]:
        raise InputError(
            f"{study.concept_folder / PAIRS_FILE}: pair {foreign[0].id}: scenario {foreign[0].scenario} is not in concept.yaml"
        )
    return data_digest(study.concept_folder, study.pooling, study.ablations)


def load_pairs(path: Path) -> list[Pair]:
    """Read contrastive pairs, one JSON object a line. Raises InputError with the line's number.

    Refuses repeated ids, equal sides, a text that occurs twice, and a split without pairs.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    pairs: list[Pair] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        pair = _parse_pair(line, f"{path}, line {number}")
        for value in (pair.id, pair.positive.strip(), pair.negative.strip()):
            if value in seen:
                raise InputError(
                    f"{path}, line {number}: {value[:40]!r} occurs already in line {seen[value]}; ids and texts are unique"
                )
            seen[value] = number
        pairs.append(pair)
    for split in ("train", "test"):
        if sum(pair.split == split for pair in pairs) < 2:
            raise InputError(
                f"{path}: fewer than 2 pairs of split {split!r}; a probe needs training pairs and held-out test pairs"
            )
    return pairs


def _parse_pair(line: str, where: str) -> Pair:
    try:
        pair = Pair.model_validate(json.loads(line))
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not a JSON object ({error.msg})") from error
    except ValidationError as error:
        raise InputError(f"{where}: {_first_problem(error)}") from error
    for side in ("positive", "negative"):
        if not getattr(pair, side).strip():
            raise InputError(f"{where}: {side} is blank")
    return pair


def _first_problem(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = {"extra_forbidden": "unknown key", "missing": "required key is missing"}.get(first["type"], first["msg"])
    return f"{key}: {message}"


def data_files(folder: Path, pooling: str) -> list[Path]:
    """The files that activations depend on: pairs, ablated words where there are some, prompts where a text is a response."""
    words, prompts = folder / WORDS_FILE, folder / CONCEPT_FILE
    return [folder / PAIRS_FILE] + [words] * words.exists() + [prompts] * (pooling == "response")


def data_digest(folder: Path, pooling: str, ablations: int) -> str:
    """SHA-256 of everything in a concept that activations depend on. Raises InputError."""
    try:
        return digest([ablations, *(file_digest(path) for path in data_files(folder, pooling))])
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
