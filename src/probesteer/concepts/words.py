"""Words with their inflections, and lists of them in files."""

import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from probesteer.errors import InputError

# What a word ends in: how much of it falls away, and what may stand for that or be added. The first rule that fits counts.
INFLECTIONS = [
    (r"ie$", "ie", "ie|ies|ied|ying"),
    (r"e$", "e", "e|es|ed|e?ing"),
    (r"[^aeiou]y$", "y", "y|ies|ied|ying"),
    (r"(?:s|x|z|ch|sh|[^aeiou]o)$", "", "|e?s|ed|ing"),
]
DOUBLED = re.compile(r"(?:[^aeiou]|qu)[aeiou][^\Waeiouwxy]$")  # hug, stop, refer: the last letter may be written twice


@cache
def word_pattern(word: str) -> re.Pattern[str]:
    """A word, or a phrase any word of which may be inflected, with its regular inflections, as it stands in lower-case text."""
    words = [rf"{stem}(?:{endings})" for stem, endings in map(_inflected, word.lower().split())]
    return re.compile(r"(?<!\w)" + r"\s+".join(words) + r"(?!\w)")


def _inflected(word: str) -> tuple[str, str]:
    """The pattern of what all forms of a word begin with, and that of what they end in."""
    for ending, dropped, endings in INFLECTIONS:
        if re.search(ending, word):
            return re.escape(word.removesuffix(dropped)), endings
    return re.escape(word), f"|s|{re.escape(word[-1])}?(?:ed|ing)" if DOUBLED.search(word) else "|s|ed|ing"


def load_words(path: Path) -> list[str]:
    """The words of a file, one a line, # for comments; none where the file does not exist. Raises InputError."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text") from error
    words = [line.strip().lower() for line in lines if line.strip() and not line.startswith("#")]
    if repeated := [word for word in words if words.count(word) > 1]:
        raise InputError(f"{path}: {repeated[0]!r} is given twice")
    return words


def ablate(text: str, words: Sequence[str], seed: str) -> tuple[str, int]:
    """The text with every listed word, and its inflections, replaced by a random word of the list; and how many were."""
    rng = random.Random(f"{seed}\n{text}")
    longest = sorted(words, key=len, reverse=True)  # "reach out" before "reach"
    pattern = re.compile("|".join(word_pattern(word).pattern for word in longest), re.IGNORECASE)

    def other(match: re.Match[str]) -> str:
        word = rng.choice(words)
        return word.capitalize() if match[0][0].isupper() else word

    return pattern.subn(other, text)
