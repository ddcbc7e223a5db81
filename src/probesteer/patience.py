"""Asking a remote model again, where the problem may be gone by then; and what is asked with is never shown."""

import os
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from probesteer.errors import InputError

Answer = TypeVar("Answer")
KEY_VARIABLES = ["PROBESTEER_JUDGE_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"]
KEY_VARIABLES += ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
SHORTEST_KEY = 4  # a shorter one is none, and would blot out words


class AgainError(Exception):
    """An answer that is worth asking for again: the message says what was wrong with it."""


def redacted(text: str) -> str:
    """The text without the keys that the environment holds: a provider may send them back."""
    keys = [os.environ.get(variable, "").strip() for variable in KEY_VARIABLES]
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "***")
    return text


def patiently(ask: Callable[[], Answer], who: str, tries: int, first_wait: float = 0) -> Answer:
    """Ask until there is an answer, at most `tries` times; the wait (seconds) doubles. Raises InputError that names `who`."""
    again = Retrying(
        retry=retry_if_exception_type(AgainError),
        stop=stop_after_attempt(tries),
        wait=wait_exponential(first_wait),
        reraise=True,
    )
    try:
        return again(ask)
    except AgainError as error:
        raise InputError(f"{who}: {error}") from error
