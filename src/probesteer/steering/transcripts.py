"""A model's games as one table of turns, each cell verified against what the study says."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from probesteer.directions import Probe
from probesteer.directions.sites import load_sites
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import FOREIGN, read_cost, write_row_groups
from probesteer.steering.rollouts import Table
from probesteer.steering.sweep import stale_cells
from probesteer.steering.texts import read_cells
from probesteer.study.cells import Cell
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import Site


def game_fingerprints(
    study: Study, model: Model, card: Mapping[str, Any], probes: Mapping[Site, Probe]
) -> list[dict[Cell, str]]:
    """The fingerprint of every cell of a model's games, job by job."""
    table = Table.of(study, model)
    jobs = [(cells, cells[0].layer) for cells in study.game_jobs(model)]
    return [table.fingerprints(cells, card, None if site is None else probes[site]) for cells, site in jobs]


def transcripts_inputs(study: Study, model: Model, fingerprints: Mapping[Cell, str]) -> dict[str, Any]:
    """Everything that determines a table of turns; its digest is the table's fingerprint."""
    cells = [[cell.arm, cell.scenario, cell.layer, cell.alpha, fingerprint] for cell, fingerprint in fingerprints.items()]
    return {"layers": study.steering_layers_of(model), "games": digest(cells)}


def gather_games(study: Study, model: Model) -> None:
    """Verify the games of a model and write every turn of them: `episodes.COLUMNS` after arm, model, layer, game and alpha.

    A row group is a cell, so that nobody needs all of them in memory. Unsteered games have a null layer and alpha 0.
    Raises InputError for a cell that is missing or foreign.
    """
    card, probes, root = read_card(study.paths.card(model.name, model.key)), load_sites(study, model), study.paths.games
    fingerprints = {cell: one for job in game_fingerprints(study, model, card, probes) for cell, one in job.items()}
    if stale := stale_cells(fingerprints, root):
        raise InputError(f"{stale[0].path(root)}: {FOREIGN} ({len(stale)} such cells of {model.name}); delete it and run again")
    blocks = {site: probe.layer for site, probe in probes.items()}
    turns = (_named(read_cells([cell], root, blocks)) for cell in fingerprints)
    costs = [read_cost(cell.path(root)) for cell in fingerprints]
    cost = {name: sum(one[name] for one in costs) for name in ("seconds", "load_seconds")}
    cost["peak_memory_mb"] = max(one["peak_memory_mb"] for one in costs)
    write_row_groups(turns, study.paths.transcripts(model.name), transcripts_inputs(study, model, fingerprints), lambda: cost)


def _named(turns: pa.Table) -> pa.Table:
    """A cell's turns, whose scenario is a game."""
    return turns.rename_columns(["game" if name == "scenario" else name for name in turns.column_names])
