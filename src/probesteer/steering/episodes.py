"""An episode of a game, turn by turn: what a player is shown, what it may do, and what became of its answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from probesteer.games import GAMES, VARIANTS
from probesteer.games.game import SAY
from probesteer.games.policies import helping, task_focused

if TYPE_CHECKING:
    from probesteer.lm.request import Request

COLUMNS = pa.schema(
    [
        ("variant", pa.string()),
        ("seed", pa.int32()),
        ("turn", pa.int32()),
        ("observation", pa.string()),  # what the player was shown
        ("answer", pa.string()),  # what it wrote; the action that was drawn where the likelihoods decide
        ("outcome", pa.string()),  # done, impossible or unparsable
        ("action", pa.string()),  # as JSON; empty where there is none
        ("reason", pa.string()),  # why it is unparsable
        ("reward", pa.float64()),
        ("score", pa.int32()),  # of the deeds up to here, 0 to 2
        ("reached", pa.bool_()),  # whether the task's objective is
        ("legal", pa.list_(pa.string())),  # the possible actions
        ("log_p", pa.list_(pa.float64())),  # of each as the answer, in nats
        ("needed", pa.string()),  # the action that the person in need calls for; null where nobody does
        ("task", pa.string()),  # the action that the task calls for
        ("log_odds", pa.float64()),  # of needed against task, in nats; null where they are the same
        ("cut", pa.bool_()),  # whether the episode ends here because the model reads no longer prompt
    ]
)


@dataclass(frozen=True)
class Seat:
    """Who plays an episode, and which."""

    game: str
    variant: str
    seed: int
    """Of the episode."""
    system: str
    request: "Request"
    """The push; its prompt is that of each turn."""
    chat_template: bool
    study_seed: int


def continuation(action: str) -> str:
    """What is scored of an action: all of it, and of `say`, whose message is free, what stands before the message."""
    say = str(SAY)
    return say.removesuffix('..."}') if action == say else action


class Episode:
    """A game under way, with its log."""

    def __init__(self, seat: Seat) -> None:
        self.seat, self.game = seat, GAMES[seat.game]()
        self.shown, _info = self.game.reset(seed=seat.seed, options=VARIANTS[seat.variant])
        self.turns: list[dict[str, Any]] = []

    @property
    def key(self) -> tuple[int | str, ...]:
        """Names the random numbers of the turn: the same at every dose and in every direction."""
        return self.seat.study_seed, "game", self.seat.game, self.seat.variant, self.seat.seed, self.game.turn

    def legal(self) -> list[str]:
        """The possible actions, as JSON."""
        return self.game.legal_actions()

    def step(self, answer: str, log_p: np.ndarray) -> None:
        """Play an answer, and log the turn with what the model thought of each possible action: (actions,), in nats."""
        legal, person, task = self.legal(), helping(self.game), str(task_focused(self.game))
        turn: dict[str, Any] = {"variant": self.seat.variant, "seed": self.seat.seed, "turn": self.game.turn}
        turn |= {"observation": self.shown, "answer": answer, "legal": legal, "log_p": log_p.tolist(), "task": task}
        turn |= {"needed": None if person is None else str(person), "cut": False}
        apart = person is not None and str(person) != task and {str(person), task} <= {*legal}
        turn["log_odds"] = float(log_p[legal.index(str(person))] - log_p[legal.index(task)]) if apart else None
        self.shown, reward, _ended, _out, info = self.game.step(answer)
        turn |= {name: info[name] for name in ("outcome", "action", "reason", "score", "reached")}
        self.turns.append({**turn, "reward": reward})

    def cut(self) -> None:
        """End the episode here: the score stands."""
        self.turns[-1]["cut"] = True
        self.game.over = True
