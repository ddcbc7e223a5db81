"""Asking a remote model again, where the problem may be gone by then; and what is asked with is never shown."""

import os
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from probesteer.errors import InputError

Answer = TypeVar("Answer")
KEY_VARIABLES = ["PROBESTEER_JUDGE_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"]
KEY_VARIABLES += ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
SHORTEST_KEY = 4  # a shorter one is none, and would blot out words
LONGEST_WAIT = 60.0  # seconds, whatever a server asks for


class AgainError(Exception):
    """An answer that is worth asking for again: the message says what was wrong with it."""

    def __init__(self, message: str, after: float = 0) -> None:
        super().__init__(message)
        self.after = after
        """Seconds that the server asked to wait."""


def redacted(text: str) -> str:
    """The text without the keys that the environment holds: a provider may send them back."""
    keys = [os.environ.get(variable, "").strip() for variable in KEY_VARIABLES]
    for key in sorted(keys, key=len, reverse=True):
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "***")
    return text


def patiently(ask: Callable[[], Answer], who: str, tries: int, first_wait: float = 0) -> Answer:
    """Ask until there is an answer, at most `tries` times; the wait (seconds) doubles, and is what the server asked for if that

    is longer, up to LONGEST_WAIT. Raises InputError that names `who`.
    """
    doubled = wait_exponential(first_wait)

    def wait(state: RetryCallState) -> float:
        problem = state.outcome.exception() if state.outcome else None
        return max(doubled(state), min(LONGEST_WAIT, getattr(problem, "after", 0.0)))

    again = Retrying(retry=retry_if_exception_type(AgainError), stop=stop_after_attempt(tries), wait=wait, reraise=True)
    try:
        return again(ask)
    except AgainError as error:
        raise InputError(f"{who}: {error}") from error
