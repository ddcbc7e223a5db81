"""What every section of a study file has in common: its base, its types, and how the first problem with it is said."""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

EMBEDDINGS = -1  # the layer index of the input to block 0
AUTO = "auto"  # in the place of a value: found by a job before the sweep
Unit = Literal["absolute", "separation", "residual", "kl", "coherence"]
KL, COHERENCE = "kl", "coherence"
DOSED = (KL, COHERENCE)  # units that a job finds
AUTO_ALPHAS = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]  # up to where text breaks
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
URL_PATTERN = r"^https?://[^\s/@]+(?:/\S*)?$"  # without credentials: a study is written into results
GENERATOR_PATTERN = rf"^(openai|anthropic):([^@]+)(?:@({URL_PATTERN.strip('^$')}))?$"

MOST_ALPHAS, MOST_LISTED = 20_000, 10_000  # more is a slip of the pen; a grid is planned cell by cell

T = TypeVar("T", bound=Hashable)

EXPECTED = {  # by the type of a problem, where pydantic's own words are those of Python
    "list_type": "a list is expected, in brackets",
    "dict_type": "a mapping is expected",
    "model_type": "a mapping of options is expected",
    "int_parsing": "a whole number is expected",
    "int_type": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_parsing": "a number is expected",
    "float_type": "a number is expected",
    "bool_parsing": "true or false is expected",
    "bool_type": "true or false is expected",
    "string_too_short": "text is expected, and there is none",
    "string_type": "text is expected; put a number in quotes",
}


class Options(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, strict=False)


def alpha_label(alpha: float) -> str:
    """The one spelling of an alpha in paths and tables: the shortest that reads back; -0 is 0, 3.0 is 3."""
    text = repr(float(alpha) + 0.0)
    return text.removesuffix(".0")


def unique(items: list[T]) -> list[T]:
    if repeated := [item for item, count in Counter(items).items() if count > 1]:
        raise ValueError(f"{sorted(repeated, key=str)[0]} is given twice")
    return items


def _alpha_grid(alphas: list[float]) -> list[float]:
    labels = [alpha_label(alpha) for alpha in alphas]
    if "0" not in labels:
        raise ValueError("the grid lacks 0, the unsteered baseline every effect is measured against; add 0")
    return [float(label) for label in unique(labels)]


def _spelled_out(alphas: object) -> object:
    if isinstance(alphas, str) and alphas != AUTO:
        raise ValueError("a list of doses, or auto, is expected")
    return list(AUTO_ALPHAS) if alphas == AUTO else alphas


def _listed(layers: object) -> object:
    if isinstance(layers, str) and layers != AUTO:
        raise ValueError("a list of blocks or of shares of the depth, or auto, is expected")
    return [AUTO] if layers == AUTO else layers


def _alone(layers: list[Any]) -> list[Any]:
    if AUTO in layers and len(layers) > 1:
        raise ValueError("auto stands alone: it is the block that the training pairs favour")
    return layers


def _depth(value: float) -> float:
    """A block's index as int, or a share of the depth as float."""
    if value >= EMBEDDINGS and value == int(value):
        return int(value)
    if not 0 < value < 1:
        raise ValueError("a block counted from 0, or a share of the depth between 0 and 1, is expected")
    return value


def _site(value: float | str) -> float | str:
    if value == AUTO:
        return value
    try:  # --config hands numbers of a list on as text
        number = int(value) if str(value).lstrip("-").isdigit() else float(value)
    except ValueError as error:
        raise ValueError("a block counted from 0, a share of the depth between 0 and 1, or auto is expected") from error
    if number == EMBEDDINGS:
        raise ValueError("the embeddings cannot be steered; a block counted from 0 is expected")
    return _depth(number)


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Scorer = Literal["published", "lexical", "grammar", "rubric"]  # the names of scoring.SCORERS, and the judge's
GameName = Literal["food_delivery", "the_listener", "the_maze", "the_protector", "the_duel"]  # the names of games.GAMES
VariantName = Literal["default", "no_need", "hostile", "child"]  # those of games.VARIANTS
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Depth = Annotated[float, AfterValidator(_depth)]
Auto = Literal["auto"]
Site = int | str
"""Where a push acts: a block, or the one that `forecast` chooses. It names paths."""
_Grid = Annotated[list[float], Field(min_length=1, max_length=MOST_ALPHAS)]
Alphas = Annotated[
    _Grid,
    BeforeValidator(_spelled_out, json_schema_input_type=Auto | _Grid),
    AfterValidator(_alpha_grid),
]
Layers = Annotated[list[Depth], Field(max_length=MOST_LISTED), AfterValidator(unique)]
Blocks = Annotated[
    list[Annotated[int | float | str, AfterValidator(_site)]],
    Field(max_length=MOST_LISTED),
    BeforeValidator(_listed, json_schema_input_type=Auto | Layers),
    AfterValidator(unique),
    AfterValidator(_alone),
]


def first_problem(error: ValidationError, model: type[BaseModel], thing: str = "key") -> tuple[str, str]:
    """Where the first problem with the mapping of a `model` is, and what it is, with (and how many more) if there are some.

    A name that is not known comes before one that is missing: it is mostly that one, misspelt.
    """
    problems = error.errors()
    first: Any = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    own = {"extra_forbidden": f"unknown {thing}", "missing": f"required {thing} is missing"}
    message = own.get(first["type"], "")
    if first["type"] == "extra_forbidden":
        *within, key = map(str, first["loc"])
        known = [name for section in _sections(model, within) for name in section.model_fields]
        if near := get_close_matches(key, known, 1):
            message += f"; did you mean {near[0]}?"
    if not message:
        message = EXPECTED.get(first["type"], first["msg"].removeprefix("Value error, "))
        if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == NAME_PATTERN:
            message = "letters, digits, '.', '_' and '-' are expected, a letter or a digit first"
        if first["type"] == "literal_error":
            near = get_close_matches(str(first["input"]), re.findall("'([^']*)'", first["ctx"]["expected"]), 1)
            message += f"; did you mean {near[0]}?" if near else ""
        if not isinstance(first["input"], Mapping | BaseModel):
            shown = re.sub(r"//[^\s/@]*@", "//***@", str(first["input"]))  # credentials of an address
            message += f" (got {shown[:60]!r})"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ".".join(str(part) for part in first["loc"]), message + more


def _sections(annotation: Any, within: Sequence[str]) -> Iterator[type[BaseModel]]:
    """The sections that stand at a place below a section, given the keys and indices that lead there."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not within:
            yield annotation
        elif within[0] in annotation.model_fields:
            yield from _sections(annotation.model_fields[within[0]].annotation, within[1:])
        return
    for part in get_args(annotation):  # of a list or a mapping, whose index or key is used up; of an optional section
        yield from _sections(part, within[1:] if _has_items(annotation) else within)


def _has_items(annotation: Any) -> bool:
    """Whether an annotation is that of a list or a mapping."""
    return get_origin(annotation) in (list, dict)
