"""Five games in text in which a task and a person's need compete, for Gymnasium. They know no model and no study."""

import gymnasium

from probesteer.games.answer import Action, Unparsable, parse, spoken
from probesteer.games.food_delivery import FoodDelivery
from probesteer.games.game import Game, Turn, Variant
from probesteer.games.the_duel import TheDuel
from probesteer.games.the_listener import TheListener
from probesteer.games.the_maze import TheMaze
from probesteer.games.the_protector import TheProtector

GAMES: dict[str, type[Game]] = {
    "food_delivery": FoodDelivery,
    "the_listener": TheListener,
    "the_maze": TheMaze,
    "the_protector": TheProtector,
    "the_duel": TheDuel,
}  # by the name of the scenario

VARIANTS: dict[str, dict[str, bool | str]] = {
    "default": {},
    "no_need": {"need": False},
    "hostile": {"tone": "hostile"},
    "child": {"person": "child"},
}  # options of reset, by the name that a study gives them

VERSION = 1  # of the ids: another one where a game is, or shows a player, something else


def identifier(name: str) -> str:
    """The id under which a game is registered."""
    return f"probesteer/{GAMES[name].__name__}-v{VERSION}"


for _name, _game in GAMES.items():
    gymnasium.register(identifier(_name), entry_point=f"{_game.__module__}:{_game.__name__}")

__all__ = ["GAMES", "VARIANTS", "Action", "Game", "Turn", "Unparsable", "Variant", "identifier", "parse", "spoken"]
