"""A behaviour: its system prompts, its scenarios and the words that score it; and the folder of files that holds them."""

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from probesteer.concepts.neutral import NEUTRAL_TEXTS
from probesteer.errors import InputError
from probesteer.study.load import read_mapping
from probesteer.study.options import NAME_PATTERN, Name, Options, first_problem, unique
from probesteer.study.paths import CONCEPTS
from probesteer.study.sections import Factors

CONCEPT_FILE, WORDS_FILE = "concept.yaml", "ablation_words.txt"
UNFILLED = "replace this"  # how every text of the skeleton begins that is to be replaced


def _prompt(text: str) -> str:
    """A prompt in whose braces nothing but what is filled in stands."""
    for _text, field, spec, conversion in Formatter().parse(text):
        if field is not None and (field not in ("objective", "pressure") or spec or conversion):
            raise ValueError(f"{{{field}}} is none of {{objective}} and {{pressure}}; write other braces twice, {{{{ and }}}}")
    return text


Words = Annotated[list[Annotated[str, Field(min_length=1)]], AfterValidator(unique)]


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
    prompt: Annotated[str, AfterValidator(_prompt)]
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
    positive_words: Words = []
    """Words of a text that shows the behaviour, for the scorer lexical; inflections count."""
    negative_words: Words = []
    """Words of a text that shows its opposite."""
    scorers: list[Literal["published", "grammar"]] = []
    """Scorers with word lists or rules of their own that were made for this behaviour."""
    neutral_texts: Words = NEUTRAL_TEXTS
    """Texts that have nothing to do with it, on which pushes and system prompts are compared in nats."""
    system_prompts: SystemPrompts
    """The system prompts."""
    scenarios: dict[Name, Scenario]
    """Scenarios by name."""
    factors: Factors = {}
    """What its pairs are crossed with, each a column of theirs."""

    def scored_by(self, scorer: str) -> bool:
        """Whether a scorer can tell this behaviour: its rubrics can always be asked for."""
        words = bool(self.positive_words and self.negative_words)
        return scorer == "rubric" or scorer in self.scorers or (scorer == "lexical" and words)

    def prompts(self) -> dict[str, str]:
        """The user prompt of every scenario."""
        return {name: scenario.user_prompt() for name, scenario in self.scenarios.items()}

    def elsewhere(self, scenario: str) -> str | None:
        """The user prompt of another scenario, the next one of the concept; None where it has no other."""
        names = list(self.scenarios)
        other = names[(names.index(scenario) + 1) % len(names)]
        return self.scenarios[other].user_prompt() if other != scenario else None


def concept_folder(named: str) -> Path:
    """The folder of a concept that is given by its name, or by its path."""
    folder = Path(named)
    return folder if len(folder.parts) > 1 or (folder / CONCEPT_FILE).is_file() else CONCEPTS / named


def load_concept(folder: Path) -> Concept:
    """Read concept.yaml of a folder. Raises InputError with file and key."""
    path = folder / CONCEPT_FILE
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in folder.parent.glob("*/concept.yaml"))) or "none"
        raise InputError(f"concept {folder.name}: {path} cannot be read; concepts there: {known}")
    given = read_mapping(path)
    require_filled(path, "", given)
    try:
        return Concept.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{path}: {': '.join(first_problem(error, Concept))}") from error


def require_filled(path: Path, where: str, value: Any) -> None:
    """Raise InputError for a text of the skeleton that nobody has replaced yet."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else []
    for key, part in inner:
        require_filled(path, f"{where}.{key}".lstrip("."), part)
    if isinstance(value, str) and value.lower().startswith(UNFILLED):
        raise InputError(f"{path}: {where}: still the text of the skeleton, {value[:60]!r}")


def load_scenarios(folder: Path, scenarios: Sequence[str]) -> Concept:
    """Read a concept that has these scenarios. Raises InputError for one that it does not have."""
    concept = load_concept(folder)
    if unknown := [name for name in scenarios if name not in concept.scenarios]:
        raise InputError(f"scenario {unknown[0]}: not in {folder}; it has {', '.join(concept.scenarios)}")
    return concept


def write_skeleton(name: str) -> Path:
    """Write a commented concept.yaml, example pairs and a word list into a new folder of CONCEPTS. Raises InputError."""
    folder = CONCEPTS / name
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(f"concept {name!r}: a name has letters, digits, dots, dashes and underscores only")
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name")
    folder.mkdir(parents=True)
    for file in resources.files("probesteer.concepts").joinpath("skeleton").iterdir():
        (folder / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return folder
