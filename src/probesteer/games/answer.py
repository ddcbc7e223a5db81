"""What a model answers, read as one action or as none. The answer is untrusted text: nothing in it is guessed or repaired."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

LONGEST = 10_000  # characters of an answer that is read; one action takes some fifty
BRACKETS = 200  # opening brackets and braces of an answer that is read: what nests deeper depends on the caller's stack
FREE = "message"  # the one argument that takes any text


@dataclass(frozen=True)
class Action:
    """One action with its argument, if it takes one: `Action("walk", "direction", "up")`."""

    name: str
    key: str = ""
    value: str = ""

    @cached_property
    def json(self) -> str:
        """What a player answers, on one line and in ASCII."""
        return json.dumps({"action": self.name} | ({self.key: self.value} if self.key else {}))

    def __str__(self) -> str:
        return self.json


@dataclass(frozen=True)
class Unparsable:
    """An answer that is no action, with one of the reasons that `docs/games.md` lists."""

    reason: str


class _UnusableError(ValueError):
    """Why a JSON object is no action."""


def parse(answer: object, declared: Collection[Action]) -> Action | Unparsable:
    """The one declared action that `answer` names, whether or not it is possible in this turn; else why there is none.

    The text must hold exactly one JSON object with the key "action" (repeated word for word it counts once); prose, code
    fences and objects without that key may stand around it. Every opening brace must start a whole object, so an action that
    stands inside broken JSON or inside a message is never taken for one.
    """
    if not isinstance(answer, str):
        return Unparsable("not text")
    if len(answer) > LONGEST or answer.count("{") + answer.count("[") > BRACKETS:
        return Unparsable("too long")
    try:
        found = {json.dumps(item, sort_keys=True): item for item in _objects(answer) if "action" in item}
        if len(found) != 1:
            return Unparsable("several actions" if found else "no action")
        return _declared(next(iter(found.values())), declared)
    except _UnusableError as problem:
        return Unparsable(str(problem))
    except ValueError:  # not JSON, or a number too long to read
        return Unparsable("broken JSON")


def spoken(answer: str) -> str:
    """What an answer says: its prose and the messages of `say`.

    Objects are left out, so that the names of actions are no words; and all that follows a brace that opens none.
    """
    if len(answer) > LONGEST or answer.count("{") + answer.count("[") > BRACKETS:
        return ""
    decoder, parts, at = json.JSONDecoder(), [], 0
    while (brace := answer.find("{", at)) >= 0:
        parts.append(answer[at:brace])
        try:
            item, at = decoder.raw_decode(answer, brace)
        except ValueError:
            return " ".join(parts).strip()
        if item.get("action") == "say" and isinstance(item.get(FREE), str):
            parts.append(item[FREE])
    return " ".join([*parts, answer[at:]]).strip()


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text that stand in no other object, first to last. Raises ValueError at a brace that opens none."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    start = text.find("{")
    while start >= 0:
        item, end = decoder.raw_decode(text, start)
        yield item
        start = text.find("{", end)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _UnusableError("repeated key")
    return dict(pairs)


def _declared(item: dict[str, Any], declared: Collection[Action]) -> Action:
    """The declared action that a JSON object names; keys that the action does not take are passed over."""
    known = [action for action in declared if action.name == item["action"]]
    if not known:
        raise _UnusableError("unknown action")
    action = known[0]
    if not action.key:
        return action
    value = item.get(action.key)
    if action.key == FREE and isinstance(value, str) and value.strip():
        return Action(action.name, FREE, value.encode("utf-8", "replace").decode())  # half a surrogate pair is no text
    if type(value) is int:
        value = str(value)
    for action in known:
        if action.value == value and action.key != FREE:
            return action
    raise _UnusableError("unknown argument")
