"""Words with their inflections, and lists of them in files."""

import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from probesteer.errors import InputError


@cache
def word_pattern(word: str) -> re.Pattern[str]:
    """A lower-case word with its regular inflections, between word boundaries."""
    if word.endswith("e"):
        stem, endings = word[:-1], "e|es|ed|ing"
    elif re.search("[^aeiou]y$", word):
        stem, endings = word[:-1], "y|ies|ied|ying"
    else:
        stem, endings = word, f"|s|ed|{re.escape(word[-1])}?ing"
    return re.compile(rf"\b{re.escape(stem)}(?:{endings})\b")


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
    pattern = re.compile("|".join(word_pattern(word).pattern for word in words), re.IGNORECASE)

    def other(match: re.Match[str]) -> str:
        word = rng.choice(words)
        return word.capitalize() if match[0][0].isupper() else word

    return pattern.subn(other, text)
