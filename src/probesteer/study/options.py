"""What every section of a study file has in common: its base, its types, and how the first problem with it is said."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

EMBEDDINGS = -1  # the layer index of the input to block 0
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
GENERATOR_PATTERN = r"^(openai|anthropic):([^@]+)(?:@(https?://.+))?$"

T = TypeVar("T")


class Options(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True, use_attribute_docstrings=True, strict=False)


def alpha_label(alpha: float) -> str:
    """The one spelling of an alpha in paths and tables: the shortest that reads back; -0 is 0, 3.0 is 3."""
    text = repr(float(alpha) + 0.0)
    return text.removesuffix(".0")


def unique(items: list[T]) -> list[T]:
    if repeated := {item for item in items if items.count(item) > 1}:
        raise ValueError(f"{sorted(repeated, key=str)[0]} is given twice")
    return items


def _alpha_grid(alphas: list[float]) -> list[float]:
    if bad := [alpha for alpha in alphas if not math.isfinite(alpha)]:
        raise ValueError(f"alpha {bad[0]} is not finite")
    labels = [alpha_label(alpha) for alpha in alphas]
    if "0" not in labels:
        raise ValueError("the grid lacks 0, the unsteered baseline every effect is measured against; add 0")
    return [float(label) for label in unique(labels)]


def _depth(value: float) -> float:
    """A block's index as int, or a share of the depth as float."""
    if value >= EMBEDDINGS and value == int(value):
        return int(value)
    if not 0 < value < 1:
        raise ValueError("a block counted from 0, or a share of the depth between 0 and 1, is expected")
    return value


def _block(value: float) -> float:
    if value == EMBEDDINGS:
        raise ValueError("the embeddings cannot be steered; a block counted from 0 is expected")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Scorer = Literal["published", "lexical", "grammar", "rubric"]  # the names of scoring.SCORERS, and the judge's
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Depth = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_depth)]
Alphas = Annotated[list[float], Field(min_length=1), AfterValidator(_alpha_grid)]
Layers = Annotated[list[Depth], AfterValidator(unique)]
Blocks = Annotated[list[Annotated[Depth, AfterValidator(_block)]], AfterValidator(unique)]


def first_problem(error: ValidationError, thing: str = "key") -> tuple[str, str]:
    """Where the first problem with a mapping is, and what it is, with (and how many more) where there are some."""
    problems = error.errors()
    first: Any = problems[0]
    message = {"extra_forbidden": f"unknown {thing}", "missing": f"required {thing} is missing"}.get(first["type"], "")
    if not message:
        message = first["msg"].removeprefix("Value error, ")
        if not isinstance(first["input"], Mapping | BaseModel):
            message += f" (got {str(first['input'])[:60]!r})"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ".".join(str(part) for part in first["loc"]), message + more
