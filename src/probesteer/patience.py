"""Asking a remote model again, where the problem may be gone by then."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from probesteer.errors import InputError

Answer = TypeVar("Answer")


class AgainError(Exception):
    """An answer that is worth asking for again: the message says what was wrong with it."""


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
