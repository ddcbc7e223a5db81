"""Contrastive pairs by language models behind an API: asked for under a concept's two system prompts, kept, balanced, split."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.concept import Concept, load_concept
from probesteer.concepts.duplicates import near_duplicate_clusters
from probesteer.concepts.pairs import SIDES, TEST_SHARE, Pair
from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.seal import is_whole
from probesteer.files.tables import read_table, write_table
from probesteer.files.whole import write_text
from probesteer.patience import AgainError, patiently, redacted
from probesteer.progress import progress
from probesteer.study.experiment import Study
from probesteer.study.options import GENERATOR_PATTERN

WORKERS, CLIENT_RETRIES, TRIES, TIMEOUT = 4, 8, 4, 120.0
MAX_TOKENS = 700  # temperature is left at the providers' default, 1
LENGTH_RATIO = 1.15  # of the longer side to the shorter one, in words
MARKUP = re.compile(r"[*_#`>|\[\]{}]+|^\s*(?:[-•]|\d+[.)])\s+", re.MULTILINE)
COLUMNS = dict.fromkeys(("generator", "scenario", "side", "prompt_digest", "time", "text"), "text")


@dataclass(frozen=True)
class Generator:
    """A model that writes texts."""

    provider: str
    model: str
    base_url: str | None

    @classmethod
    def parse(cls, text: str) -> "Generator":
        """From `openai:MODEL` or `anthropic:MODEL`, with `@URL` for another endpoint of that protocol. Raises ValueError."""
        found = re.match(GENERATOR_PATTERN, text)
        if not found:
            raise ValueError(text)
        return cls(*found.groups())


@dataclass(frozen=True)
class Request:
    """One text to be written."""

    generator: Generator
    scenario: str
    index: int
    side: str
    system: str
    user: str

    @property
    def key(self) -> str:
        """Names the request: its file, and the idempotency key by which a provider bills a repeated request once."""
        return digest([self.generator.provider, self.generator.model, self.system, self.user, self.index, self.side])


Ask = Callable[[Request], str]


def requests(concept: Concept, generators: Sequence[Generator], pairs: int) -> list[Request]:
    """Both sides of `pairs` pairs, spread over the scenarios; generators take turns, and one writes both sides of a pair."""
    scenarios = list(concept.scenarios.items())
    found = []
    for index in range(pairs):
        name, scenario = scenarios[index % len(scenarios)]
        generator = generators[(index // len(scenarios)) % len(generators)]
        for side in SIDES:
            found.append(Request(generator, name, index, side, getattr(concept.system_prompts, side), scenario.user_prompt()))
    return found


def writer(generator: Generator) -> Callable[[Request], str]:
    """Asks a generator by its provider's own client, which waits and asks again after 429, 5xx and time-outs.

    Keys come from the environment as the clients read them (OPENAI_API_KEY, ANTHROPIC_API_KEY). Raises InputError where the
    client is not installed or finds no key.
    """
    options: dict[str, Any] = {"base_url": generator.base_url, "max_retries": CLIENT_RETRIES, "timeout": TIMEOUT}
    try:
        ask, client_error = PROVIDERS[generator.provider](generator.model, options)
    except ImportError as error:
        raise InputError(f"{generator.provider}: its client is not installed; pip install 'probesteer[write]'") from error
    except Exception as error:  # what a client raises without a key is its own
        raise InputError(f"{generator.provider}: {_problem(error)}") from None

    def write(request: Request) -> str:
        who = f"{request.generator.model}, scenario {request.scenario}"
        return patiently(lambda: _text(ask, request, client_error, who), who, TRIES)

    return write


def _text(ask: Ask, request: Request, client_error: type[Exception], who: str) -> str:
    """One answer's text. Raises AgainError where it is worth asking again under the same key, else InputError."""
    try:
        text = redacted(ask(request)).strip()
    except client_error as error:
        final = getattr(error, "status_code", 500) < 500
        raise InputError(f"{who}: {_problem(error)}") if final else AgainError(_problem(error)) from None
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise AgainError(f"an answer that cannot be read ({type(error).__name__})") from error
    if not text:
        raise AgainError("an answer without text")
    return text


def _problem(error: Exception) -> str:
    """The first line of what a client says, without the key that a provider may have sent back."""
    return redacted((str(error).splitlines() or [type(error).__name__])[0])


def _openai(model: str, options: Mapping[str, Any]) -> tuple[Ask, type[Exception]]:
    from openai import DefaultHttpxClient, OpenAI, OpenAIError

    client = OpenAI(**options, http_client=DefaultHttpxClient(follow_redirects=False))  # the key stays with its host

    def ask(request: Request) -> str:
        turns = [{"role": "system", "content": request.system}, {"role": "user", "content": request.user}]
        answer = client.chat.completions.create(
            model=model,
            messages=turns,  # type: ignore[arg-type]
            max_completion_tokens=MAX_TOKENS,
            extra_headers={"Idempotency-Key": request.key},
        )
        return str(answer.choices[0].message.content or "")

    return ask, OpenAIError


def _anthropic(model: str, options: Mapping[str, Any]) -> tuple[Ask, type[Exception]]:
    from anthropic import Anthropic, AnthropicError, DefaultHttpxClient

    client = Anthropic(**options, http_client=DefaultHttpxClient(follow_redirects=False))

    def ask(request: Request) -> str:
        answer = client.messages.create(
            model=model,
            system=request.system,
            messages=[{"role": "user", "content": request.user}],
            max_tokens=MAX_TOKENS,
            extra_headers={"Idempotency-Key": request.key},
        )
        return "".join(block.text for block in answer.content if block.type == "text")

    return ask, AnthropicError


# A provider's client for (model, options): what asks it, and the base of its errors.
PROVIDERS: dict[str, Callable[[str, Mapping[str, Any]], tuple[Ask, type[Exception]]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
}


def write_responses(asked: Iterable[Request], folder: Path) -> list[Path]:
    """Ask for every response that `folder` does not hold yet; each is a Parquet file as soon as it is there."""
    paths = {request: folder / f"{request.key}.parquet" for request in asked}
    missing = [request for request, path in paths.items() if not is_whole(path)]
    writers = {generator: writer(generator) for generator in {request.generator for request in missing}}

    def keep(request: Request) -> None:
        row = {
            "generator": request.generator.model,
            "scenario": request.scenario,
            "side": request.side,
            "prompt_digest": digest([request.system, request.user]),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "text": writers[request.generator](request),
        }
        write_table(pa.Table.from_pylist([row]), paths[request])

    with ThreadPoolExecutor(WORKERS) as pool, progress(len(missing), "write", "text") as bar:
        for _ in pool.map(keep, missing):
            bar.update()
    return list(paths.values())


def balanced(positive: str, negative: str) -> tuple[str, str] | None:
    """Both texts without markup, the longer one cut at a sentence's end to the length of the other; None where that fails."""
    texts = [" ".join(MARKUP.sub(" ", text).split()) for text in (positive, negative)]
    limit = LENGTH_RATIO * min(len(text.split()) for text in texts)
    cut = []
    for text in texts:
        while len(text.split()) > limit and (shorter := re.sub(r"(?<=[.!?])\s[^.!?]*[.!?]*$", "", text)) != text:
            text = shorter
        cut.append(text)
    words = sorted(len(text.split()) for text in cut)
    return (cut[0], cut[1]) if 0 < words[1] <= LENGTH_RATIO * words[0] else None


def assemble(concept: Concept, asked: Sequence[Request], folder: Path) -> list[Pair]:
    """The balanced pairs of the responses in `folder`; 30 % of a scenario, whole clusters of near-duplicates, is held out."""
    texts = {r: read_table(folder / f"{r.key}.parquet", needs=COLUMNS)["text"][0].as_py() for r in asked}
    both: list[tuple[Request, str, str]] = []
    for positive, negative in zip(asked[::2], asked[1::2], strict=True):
        if (sides := balanced(texts[positive], texts[negative])) and sides[0] != sides[1]:
            both.append((positive, *sides))
    clusters = near_duplicate_clusters([sides for _, *sides in both])  # type: ignore[misc]
    held_out = set(_held_out([request.scenario for request, *_ in both], clusters))
    return [
        Pair(
            id=f"{request.scenario}-{request.index}",
            scenario=request.scenario,
            split="test" if cluster in held_out else "train",
            voice=request.generator.model,
            generator=request.generator.model,
            positive=positive,
            negative=negative,
        )
        for (request, positive, negative), cluster in zip(both, clusters, strict=True)
    ]


def _held_out(scenarios: Sequence[str], clusters: np.ndarray) -> Iterator[int]:
    """Clusters that make up TEST_SHARE of each scenario; a cluster goes with the scenario of its first pair."""
    home: dict[int, str] = {}
    for scenario, cluster in zip(scenarios, clusters, strict=True):
        home.setdefault(int(cluster), scenario)
    for scenario in dict.fromkeys(scenarios):
        own = [cluster for cluster in home if home[cluster] == scenario]
        yield from sorted(own, key=lambda cluster: digest(cluster))[: round(TEST_SHARE * len(own))]


def to_jsonl(pairs: Sequence[Pair]) -> str:
    """Pairs as the lines of pairs.jsonl."""
    return "".join(pair.model_dump_json(exclude={"factors"}, exclude_none=True) + "\n" for pair in pairs)


def write_pairs(study: Study) -> tuple[int, list[Pair]]:
    """Write the pairs that a study's `writing:` asks for; returns how many were asked for, and those that are balanced.

    Raises InputError.
    """
    if study.writing is None:
        raise InputError(f"study {study.study}: it has no `writing:`, which says who writes pairs and how many")
    concept, written = load_concept(study.concept_folder), study.paths.written
    asked = requests(concept, [Generator.parse(one) for one in study.writing.generators], study.writing.pairs)
    write_responses(asked, written / "responses")
    pairs = assemble(concept, asked, written / "responses")
    write_text(written / "pairs.jsonl", to_jsonl(pairs))
    return study.writing.pairs, pairs
