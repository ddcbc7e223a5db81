"""A behaviour: its system prompts and scenarios, and the folder of files that holds them, its pairs and its word list."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from probesteer.errors import InputError
from probesteer.pairs import Pair, first_problem, load_pairs
from probesteer.study import CONCEPTS, NAME_PATTERN, PAIRS_FILE, Name, Options, Study, digest, file_digest, read_mapping

CONCEPT_FILE, WORDS_FILE = "concept.yaml", "ablation_words.txt"


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


def load_concept(folder: Path) -> Concept:
    """Read concept.yaml of a folder. Raises InputError with file and key."""
    path = folder / CONCEPT_FILE
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in folder.parent.glob("*/concept.yaml"))) or "none"
        raise InputError(f"concept {folder.name}: {path} cannot be read; concepts there: {known}")
    try:
        return Concept.model_validate(read_mapping(path))
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error


def load_scenarios(folder: Path, scenarios: Sequence[str]) -> Concept:
    """Read a concept that has these scenarios. Raises InputError for one that it does not have."""
    concept = load_concept(folder)
    if unknown := [name for name in scenarios if name not in concept.scenarios]:
        raise InputError(f"scenario {unknown[0]}: not in {folder}; it has {', '.join(concept.scenarios)}")
    return concept


def write_skeleton(name: str) -> Path:
    """Write a commented concept.yaml, two example pairs and a word list into a new folder of CONCEPTS. Raises InputError."""
    folder = CONCEPTS / name
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"concept {name!r}: a name has letters, digits, dots, dashes and underscores only")
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name")
    folder.mkdir(parents=True)
    for file in resources.files("probesteer").joinpath("templates/concept").iterdir():
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def check_study(study: Study) -> str:
    """Check what a study says against its concept; returns the digest of what activations depend on. Raises InputError.

    Pairs of the user's own may have other scenarios than the concept, unless they are read as answers to them.
    """
    concept = load_scenarios(study.concept_folder, study.scenarios)
    if study.pairs and study.pairs.url and not study.pairs_path.exists():
        return study_digest(study)  # checked when they are there
    pairs = load_pairs(study.pairs_path, study.pairs_columns)
    if study.pairs is None or study.pooling == "response":
        check_pairs(study.pairs_path, pairs, concept)
    return study_digest(study)


def check_pairs(path: Path, pairs: Sequence[Pair], concept: Concept) -> None:
    """Raise InputError for a pair whose scenario the concept does not have."""
    if foreign := [pair for pair in pairs if pair.scenario not in concept.scenarios]:
        raise InputError(f"{path}: pair {foreign[0].id}: scenario {foreign[0].scenario} is not in concept.yaml")


def study_digest(study: Study) -> str:
    """`data_digest` of what a study says."""
    known = study.pairs.sha256 if study.pairs else None
    return data_digest(study.concept_folder, study.pooling, study.ablations, study.pairs_path, study.pairs_columns, known)


def control_digest(study: Study) -> str:
    """`data_digest` of the control concept's own pairs, which are not ablated; checks them. Raises InputError."""
    folder = CONCEPTS / str(study.control_concept)
    concept = load_concept(folder)
    check_pairs(folder / PAIRS_FILE, load_pairs(folder / PAIRS_FILE), concept)
    return data_digest(folder, study.pooling, 0, folder / PAIRS_FILE, None)


def data_files(folder: Path, pooling: str, pairs: Path) -> list[Path]:
    """The files that activations depend on: pairs, ablated words where there are some, prompts where a text is a response."""
    words, prompts = folder / WORDS_FILE, folder / CONCEPT_FILE
    return [pairs] + [words] * words.exists() + [prompts] * (pooling == "response")


def data_digest(
    folder: Path, pooling: str, ablations: int, pairs: Path, columns: Mapping[str, str] | None, pairs_sha256: str | None = None
) -> str:
    """SHA-256 of all that activations depend on beside the model; the pairs' own may be known. Raises InputError."""
    _, *others = data_files(folder, pooling, pairs)
    try:
        return digest([ablations, columns, pairs_sha256 or file_digest(pairs), *map(file_digest, others)])
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
