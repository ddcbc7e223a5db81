"""Many episodes in one batch, a turn of all of them at a time."""

from collections.abc import Callable, Sequence
from typing import Any

from probesteer.errors import InputError
from probesteer.lm.blocks import input_device, positions, require_positions
from probesteer.lm.engine.batch import run_batches
from probesteer.lm.engine.cache import cache_tokens
from probesteer.lm.generate import counting
from probesteer.lm.load import encode_prompt, render_prompt
from probesteer.lm.turns import Turns, drawn
from probesteer.steering.episodes import Episode, Seat, continuation
from probesteer.study.sections import Sampling

GROWTH = 40  # tokens that a prompt grows by in a turn, about: what memory is planned for


class Players:
    """The model that plays, with how its answers are drawn; without `sampling` it plays by the likelihoods alone."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Sampling | None) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.known: dict[str, list[int]] = {}
        self.new = sampling.max_new_tokens if sampling else 1

    def tokens(self, action: str) -> list[int]:
        """Token ids of what is scored of an action."""
        if action not in self.known:
            self.known[action] = self.tokenizer(continuation(action), add_special_tokens=False)["input_ids"]
        return self.known[action]

    def prompt(self, episode: Episode) -> list[int]:
        """Token ids of what a player is shown."""
        seat = episode.seat
        return encode_prompt(self.tokenizer, render_prompt(self.tokenizer, seat.system, episode.shown, seat.chat_template))

    def room(self, episode: Episode) -> int:
        """Tokens after a prompt that an answer, or an action that is scored, takes."""
        return max(self.new, *(len(self.tokens(action)) for action in episode.legal()))

    def turn(self, turns: Turns, at: Sequence[int], episodes: Sequence[Episode], prompts: Sequence[list[int]]) -> None:
        """Play a turn of episodes, which are the rows `at` of the batch."""
        legal = [[self.tokens(action) for action in episode.legal()] for episode in episodes]
        turns.read(at, prompts, max(map(self.room, episodes)))
        log_p, keys = turns.likelihoods(legal), [episode.key for episode in episodes]
        if self.sampling:
            answers = self.tokenizer.batch_decode(turns.answers(keys, **self.sampling.model_dump()), skip_special_tokens=True)
        else:
            answers = [one.legal()[drawn(own, key)] for one, own, key in zip(episodes, log_p, keys, strict=True)]
        for episode, answer, own in zip(episodes, answers, log_p, strict=True):
            episode.step(answer, own)


def play(
    model: Any,
    tokenizer: Any,
    seats: Sequence[Seat],
    sampling: Sampling | None,
    batch_rows: int,
    advance: Callable[[int], object] = lambda _turns: None,
) -> tuple[list[list[dict[str, Any]]], int]:
    """The turns of each seat's episode, in order, and the rows of the largest batch.

    Episodes are played in batches of at most `batch_rows` rows and of what memory allows. `advance` is told of turns as they
    are over, in all of as many as the games have. An episode whose prompt outgrows the model ends there.
    Raises InputError where the model does not read the first prompt of a game.
    """
    players = Players(model, tokenizer, sampling)
    lengths = [_length(players, Episode(seat)) for seat in seats]
    found: dict[int, list[dict[str, Any]]] = {}
    largest = 0

    def run(batch: list[int]) -> None:
        nonlocal largest
        with counting(advance) as count:
            episodes = _played(players, [seats[i] for i in batch], count)
        largest = max(largest, len(batch))
        found.update(zip(batch, (episode.turns for episode in episodes), strict=True))

    run_batches(run, lengths, cache_tokens(model, input_device(model)), batch_rows)
    return [found[i] for i in range(len(seats))], largest


def _played(players: Players, seats: Sequence[Seat], count: Callable[[int], None]) -> list[Episode]:
    """One batch of episodes from their first turn to their last."""
    episodes = [Episode(seat) for seat in seats]
    turns = Turns(players.model, players.tokenizer, [seat.request for seat in seats])
    alive = list(range(len(seats)))
    while alive:
        prompts = {row: players.prompt(episodes[row]) for row in alive}
        for row in alive:
            if not turns.fits(prompts[row], players.room(episodes[row])):
                episodes[row].cut()
        playing = [row for row in alive if not episodes[row].game.over]
        if playing:
            players.turn(turns, playing, [episodes[row] for row in playing], [prompts[row] for row in playing])
        over = [row for row in alive if episodes[row].game.over]
        count(len(playing) + sum(episodes[row].game.turns - len(episodes[row].turns) for row in over))
        alive = [row for row in playing if row not in over]
    return episodes


def _length(players: Players, episode: Episode) -> int:
    """About how many tokens the last prompt and its answer have. Raises InputError where the first ones are too many."""
    first, new = len(players.prompt(episode)), players.room(episode)
    try:
        require_positions(players.model, first + new, f"the first prompt of {episode.game.title} and {new} new tokens")
    except InputError as error:
        raise InputError(f"games: {error}; leave this game out, or take a model that reads more") from None
    most = first + GROWTH * episode.game.turns + new
    return min(most, positions(players.model) or most)
