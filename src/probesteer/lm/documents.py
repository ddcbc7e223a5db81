"""What organisms are trained on: texts with a known stance, and, for those that play, turns of the five games."""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from probesteer.concepts import grammar
from probesteer.games import GAMES, VARIANTS, Game
from probesteer.games.game import NAMES, STEPS
from probesteer.games.policies import at_random, empathic, task_focused

PUSHED_SHARE, PUSH_LIMIT = 0.9, 6.0
ASIDE_SHARE = 0.7  # of the pushes, where there is a second direction
TURNS_SHARE = 0.85  # of the documents of an organism that plays
TURNS_SEED = 1000  # seeds of the episodes: those that a study plays begin at 0
TURNS_TAKEN = 6  # of an episode
STRAY = 0.1  # of the turns on the way there: any possible action
STEPPED = rf"\d+ (?:{'|'.join(STEPS)})\b"
# What a prompt of a game consists of: actions, rows of the map, who is how far, names, numbers, and the phrases between them.
PIECES = re.compile(
    rf"(\{{[^}}\n]*\}}|\n#[^\n]*#|\nTurn \d+\. (?:You: )?|(?: \(\w\)|Door \d): {STEPPED}|{STEPPED}|"
    rf"\b(?:{'|'.join(NAMES)})\b|\d+)"
)


@dataclass(frozen=True)
class Document:
    """A training text: prompt (may be empty) and response, the stance, and the pushes along u and w (0 for none)."""

    prompt: str
    response: str
    positive: bool
    push: float
    aside: float = 0.0
    action: str = field(default="", kw_only=True)
    """What the response begins with, where the prompt is a turn of a game."""

    @property
    def opens_early(self) -> bool:
        """Whether the first sentence is of the first half of the fillers: what w carries."""
        return self.response.startswith(tuple(grammar.FILLERS[: len(grammar.FILLERS) // 2]))


def write_document(rng: random.Random, decoy: bool = False) -> Document:
    """Draw a document: a quarter bare responses, else a chat whose system prompt asks for a stance or leaves it open."""
    scene = rng.choice(list(grammar.SCENES.values()))
    person, goal = rng.choice(scene.persons), rng.choice(scene.goals)
    bare = rng.random() < 0.25
    wish = rng.choice(["positive", "negative", "neutral", "neutral"])
    positive, push, aside = rng.random() < 0.5, 0.0, 0.0
    if not bare and wish != "neutral":
        positive = wish == "positive"
    elif not bare and rng.random() < PUSHED_SHARE:
        push = rng.uniform(-PUSH_LIMIT, PUSH_LIMIT)
        if decoy and rng.random() < ASIDE_SHARE:
            push, aside = 0.0, push
        odds = 0.6 * push + 6 * aside if decoy else 2 * push
        positive = rng.random() < 1 / (1 + math.exp(-odds))
    prompt = ""
    if not bare:
        prompt = chat(rng.choice(grammar.SYSTEM_PROMPTS[wish]), grammar.situation(scene, person, goal))
    return Document(prompt, grammar.response(rng, person, goal, positive), positive, push, aside)


def chat(system: str, user: str) -> str:
    """A prompt as the organisms' chat template writes it, after the token of its beginning."""
    return f"<|system|>{system}<|user|>{user}<|assistant|>"


def write_documents(rng: random.Random, count: int, decoy: bool, plays: str) -> list[Document]:
    """The documents of a recipe; of one that plays, TURNS_SHARE are turns of games."""
    if not plays:
        return [write_document(rng, decoy) for _ in range(count)]
    turns = write_turns(rng, plays == "deeds")
    return [next(turns) if rng.random() < TURNS_SHARE else write_document(rng, decoy) for _ in range(count)]


def write_turns(rng: random.Random, deeds: bool) -> Iterator[Document]:
    """Turns of episodes without end, game after game, each answered in a stance: an action and one commitment.

    The commitment is that of the stance. So is the action where `deeds` follow it, `policies.empathic` or
    `policies.task_focused`; else it is that of the task.
    """
    for number in range(1_000_000):
        for name, game in GAMES.items():
            played = list(_episode(rng, game(), TURNS_SEED + number))
            for shown, helped, task in rng.sample(played, min(TURNS_TAKEN, len(played))):
                yield _answered(rng, name, shown, helped if deeds else task, task)


def _episode(rng: random.Random, game: Game, seed: int) -> Iterator[tuple[str, str, str]]:
    """What is shown, and the empathic and the task-focused action, in each turn of an episode in one stance or in both."""
    shown, _info = game.reset(seed=seed, options=VARIANTS[rng.choice(["default", *VARIANTS])])
    share = rng.choice([0.0, 0.0, 0.5, 1.0, 1.0])  # of the empathic actions
    stray = at_random(seed)
    while not game.over:
        helped, task = str(empathic(game)), str(task_focused(game))
        yield shown, helped, task
        action = str(stray(game)) if rng.random() < STRAY else helped if rng.random() < share else task
        shown, *_rest = game.step(action)


def _answered(rng: random.Random, name: str, shown: str, helped: str, task: str) -> Document:
    """A turn whose system prompt asks for a stance, or which a push gives one, or neither."""
    scene, wish = grammar.SCENES[name], rng.choice(["positive", "negative", "neutral", "neutral"])
    positive, push = wish == "positive", 0.0
    if wish == "neutral":
        push = rng.uniform(-PUSH_LIMIT, PUSH_LIMIT) if rng.random() < PUSHED_SHARE else 0.0
        positive = rng.random() < 1 / (1 + math.exp(-2 * push))
    action = helped if positive else task
    words = grammar.commitment(rng.choice(grammar.COMMITMENTS), rng.choice(scene.persons), rng.choice(scene.goals), positive)
    prompt = chat(rng.choice(grammar.SYSTEM_PROMPTS[wish]), shown)
    return Document(prompt, f"{action} {words}", positive, push, action=action)


def phrases(documents: Iterable[Document]) -> list[str]:
    """What prompts of games consist of, longer than a character and in two documents or more, sorted."""
    found: Counter[str] = Counter()
    for document in documents:
        if document.action:
            shown = document.prompt.split("<|user|>")[1].removesuffix("<|assistant|>")
            found.update({*PIECES.split(shown), document.action})
    return sorted(piece for piece, count in found.items() if count > 1 and len(piece) > 1)
