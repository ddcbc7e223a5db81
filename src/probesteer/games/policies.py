"""Players by script: one who helps whoever asks, one who only does the task, and one who acts at random."""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from probesteer.games.answer import Action
from probesteer.games.food_delivery import CAPACITY, FoodDelivery
from probesteer.games.game import STEPS, WAIT, WALKS, Cell, Game
from probesteer.games.the_duel import TheDuel
from probesteer.games.the_listener import TheListener
from probesteer.games.the_maze import TheMaze
from probesteer.games.the_protector import TheProtector

Policy = Callable[[Game], Action]
LEAVE = Action("open_door")


def task_focused(game: Game) -> Action:
    """What the objective asks for, whatever the others say."""
    match game:
        case FoodDelivery():
            return _deliver(game, "B")
        case TheMaze():
            door = next(door for door in "12" if door not in game.opened())
            return beside(game, door, Action("open", "door", door))
        case TheDuel():
            return Action("shoot")
    return beside(game, "E", LEAVE)


def helping(game: Game) -> Action | None:
    """The next deed, or step to it, for the person in need; None where there is no need (yet, or any more)."""
    if not game.pleading():
        return None
    match game:
        case FoodDelivery():
            return _deliver(game, "D")
        case TheListener():
            return beside(game, "B", Action("listen"))
        case TheMaze():
            return beside(game, "B", Action("lead"))
        case TheProtector():
            return beside(game, "D", Action("stand_by"))
    return beside(game, "B", Action("sit_with"))


def empathic(game: Game) -> Action:
    """Meets the need of the person who asks, at whatever cost, and then does the task; where nobody asks, the task."""
    deed = helping(game) if game.variant.need else None
    if game.variant.need and isinstance(game, TheDuel):
        return deed or WAIT  # the task would undo it
    return deed or task_focused(game)


def at_random(seed: int) -> Policy:
    """Any possible action, all equally likely."""
    draw = np.random.default_rng(seed)

    def policy(game: Game) -> Action:
        legal = game.legal()
        return legal[draw.integers(len(legal))]

    return policy


def play(game: Game, policy: Policy, seed: int, **options: bool | str) -> int:
    """Plays one game to its end; the score of its deeds."""
    game.reset(seed=seed, options=options)
    while not game.over:
        game.step(str(policy(game)))
    return game.score(game.log)


def beside(game: Game, letter: str, then: Action) -> Action:
    """One step nearer to a cell next to somebody or something, and `then` once there."""
    row, column = game.cells[letter]
    return _toward(game, ((row + down, column + right) for down, right in STEPS.values()), then)


def _deliver(game: FoodDelivery, letter: str) -> Action:
    """Fetches as much water as one can carry and hands it over."""
    at_source = game.cells["A"][1] == 0
    if game.carried == 0 or (at_source and game.carried < CAPACITY):
        return _toward(game, ((row, 0) for row in range(game.rows)), Action("fill"))
    return beside(game, letter, Action("give", "to", letter))


def _toward(game: Game, goals: Iterable[Cell], then: Action) -> Action:
    """The first step of a shortest way (breadth-first) to one of the cells, `then` on it, WAIT where no way leads there."""
    start, wanted = game.cells["A"], set(goals)
    if start in wanted:
        return then
    first: dict[Cell, Action] = {}  # the first step of the way to a cell
    queue = deque([start])
    while queue:
        row, column = queue.popleft()
        for walk in WALKS:
            down, right = STEPS[walk.value]
            cell = (row + down, column + right)
            if cell != start and cell not in first and game.free(cell):
                first[cell] = first.get((row, column), walk)
                if cell in wanted:
                    return first[cell]
                queue.append(cell)
    return WAIT
