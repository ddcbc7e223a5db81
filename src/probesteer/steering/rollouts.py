"""Games that a model plays under a push: what determines a cell of them, and the missing ones of a job played and written."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from probesteer.concepts.concept import SystemPrompts
from probesteer.concepts.data import study_concept
from probesteer.directions import Probe
from probesteer.directions.sites import load_site
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.locks import only_writer
from probesteer.files.tables import peak_memory_mb, write_table
from probesteer.games import GAMES, identifier
from probesteer.progress import progress
from probesteer.steering.cells import growing
from probesteer.steering.episodes import COLUMNS, Seat
from probesteer.steering.sweep import stale_cells
from probesteer.study.cells import PROMPTED_ARMS, Cell
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import Site
from probesteer.study.sections import Games, Sampling

if TYPE_CHECKING:
    from probesteer.lm.request import Request

NUMERICS = 1  # bump by hand when the same inputs give other episodes


@dataclass(frozen=True)
class Table:
    """The settings that all cells of a study's games share."""

    prompts: SystemPrompts
    games: Games
    sampling: Sampling
    seed: int
    alpha_unit: str
    positions: str

    @classmethod
    def of(cls, study: Study, model: Model) -> "Table":
        """The games of a model in a study that has some."""
        assert study.games is not None
        sampling = study.sampling_of(model).model_copy(update={"max_new_tokens": study.games.max_new_tokens})
        prompts = study_concept(study).system_prompts
        return cls(prompts, study.games, sampling, study.seed, study.alpha_unit, study.positions)

    @property
    def episodes(self) -> int:
        """How many a cell has."""
        return self.games.episodes * len(self.games.variants)

    def inputs(self, cell: Cell, card: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
        """Everything that determines a cell's episodes; its digest is the cell's fingerprint."""
        inputs = {
            "numerics": NUMERICS,
            "model": card["digest"],
            "chat_template": card["chat_template"],
            "system": getattr(self.prompts, PROMPTED_ARMS.get(cell.arm, "neutral")),
            "game": identifier(cell.scenario),
            "seed": self.seed,
            **self.games.model_dump(include={"episodes", "variants", "decides"}),
        }
        if self.games.decides == "answer":
            inputs |= {"sampling": self.sampling.model_dump()}
        if cell.layer is not None and probe is not None:
            inputs |= {
                "layer": probe.layer,
                "push": probe.push(cell.alpha, self.alpha_unit),
                "direction": sha256(probe.of(cell.arm).tobytes()).hexdigest(),
                "positions": self.positions,
            }
        return inputs

    def fingerprints(self, cells: Sequence[Cell], card: Mapping[str, Any], probe: Probe | None) -> dict[Cell, str]:
        """The fingerprint of each cell."""
        return {cell: digest(self.inputs(cell, card, probe)) for cell in cells}

    def seats(self, cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> list[Seat]:
        """The players of a cell's episodes."""
        request = _request(cell, inputs, probe)
        return [
            Seat(cell.scenario, variant, seed, inputs["system"], request, inputs["chat_template"], self.seed)
            for variant in self.games.variants
            for seed in range(self.games.episodes)
        ]


def _request(cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> "Request":
    """The push of a cell's rows."""
    from probesteer.lm.request import Request

    if probe is None or cell.layer is None:
        return Request("")
    return Request("", inputs["layer"], probe.of(cell.arm), inputs["push"], positions=inputs["positions"])


def play_unsteered(study: Study, model: Model) -> None:
    """Play what is missing of a model's unsteered and prompted games. Raises InputError."""
    _fill(study, model, study.game_cells(model.name, None), None, "games")


def play_layer(study: Study, model: Model, site: Site) -> None:
    """Play what is missing of the games of a (model, layer). Raises InputError."""
    cells = study.game_cells(model.name, site, study.alphas_of(model))
    _fill(study, model, cells, load_site(study, model, site), f"games.layer={site}")


def _fill(study: Study, model: Model, cells: Sequence[Cell], probe: Probe | None, job: str) -> None:
    card, root, table = read_card(study.paths.card(model.name, model.key)), study.paths.games, Table.of(study, model)
    with only_writer(study.paths.lock(model.name, job)):
        todo = stale_cells(table.fingerprints(cells, card, probe), root)
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are up to date, {len(todo)} to play", file=sys.stderr)
        if todo:
            play_cells(todo, root, table, card, probe, study.resources.batch_rows)


def play_cells(
    cells: Sequence[Cell], root: Path, table: Table, card: Mapping[str, Any], probe: Probe | None, batch_rows: int
) -> None:
    """Play the episodes of each cell and write it: a row per turn, `episodes.COLUMNS`.

    Cells of one game are played together, as many as have FIRST_CHUNK rows at first and at most `batch_rows`, and written when
    all their episodes are over: a killed job keeps them.
    """
    from probesteer.lm.load import load_card

    started = time.monotonic()
    model, tokenizer = load_card(card)
    load_seconds = time.monotonic() - started
    by_length = sorted(cells, key=lambda cell: (GAMES[cell.scenario].turns, cell.scenario))  # a batch is about as long
    turns = sum(GAMES[cell.scenario].turns for cell in cells) * table.episodes
    where = cells[0]
    what = where.model if where.layer is None else f"{where.model}, layer {where.layer}"
    with progress(turns, f"{what}, games", "turn") as bar:
        for part in growing(by_length, partial(_first, episodes=table.episodes), batch_rows):
            chunk = {cell: table.inputs(cell, card, probe) for cell in part}
            started = time.monotonic()
            played, largest = play_chunk(model, tokenizer, chunk, probe, table, batch_rows, bar.update)
            seconds = time.monotonic() - started
            cost = {"seconds": seconds / len(chunk), "load_seconds": load_seconds / len(cells)}
            cost |= {"peak_memory_mb": peak_memory_mb(), "batch_rows": largest}
            for cell, inputs in chunk.items():
                write_table(played[cell], cell.path(root), inputs, cost)


def play_chunk(
    model: Any,
    tokenizer: Any,
    chunk: Mapping[Cell, Mapping[str, Any]],
    probe: Probe | None,
    table: Table,
    batch_rows: int,
    advance: Callable[[int], object],
) -> tuple[dict[Cell, pa.Table], int]:
    """The turns of cells, by what determines them (`Table.inputs`); and the rows of the largest batch."""
    from probesteer.steering.lockstep import play

    seats = [seat for cell, inputs in chunk.items() for seat in table.seats(cell, inputs, probe)]
    sampling = table.sampling if table.games.decides == "answer" else None
    episodes, largest = play(model, tokenizer, seats, sampling, batch_rows, advance)
    tables = {}
    for number, cell in enumerate(chunk):
        own = episodes[number * table.episodes : (number + 1) * table.episodes]
        tables[cell] = pa.Table.from_pylist([turn for episode in own for turn in episode], COLUMNS)
    return tables, largest


def _first(cells: Sequence[Cell], rows: int, episodes: int) -> Sequence[Cell]:
    """As many of the cells as have `rows` rows together, one at least, of one game."""
    ends = accumulate(episodes for cell in cells if cell.scenario == cells[0].scenario)
    return cells[: max(1, sum(end <= rows for end in ends))]
