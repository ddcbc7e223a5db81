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

for _game in GAMES.values():
    gymnasium.register(f"probesteer/{_game.__name__}-v0", entry_point=f"{_game.__module__}:{_game.__name__}")

__all__ = ["GAMES", "VARIANTS", "Action", "Game", "Turn", "Unparsable", "Variant", "parse", "spoken"]
