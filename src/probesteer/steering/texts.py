"""A model's cells as one table of texts, each verified against what the study says."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from probesteer.concepts.concept import Concept
from probesteer.concepts.data import study_concept
from probesteer.directions import Probe
from probesteer.directions.sites import load_sites
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.digests import digest
from probesteer.files.tables import FOREIGN, read_cost, read_table, write_table
from probesteer.steering.sweep import Sweep, stale_cells
from probesteer.study.cells import BASELINE_ARM, Cell
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import Site


def verified_cells(
    study: Study, concept: Concept, model: Model, card: Mapping[str, Any], probes: Mapping[Site, Probe]
) -> dict[Cell, str]:
    """Every cell of a steered model with its fingerprint.

    Raises InputError for a cell that is missing or foreign: what is made of a mixture would be wrong.
    """
    sweep, root = Sweep.of(study, concept, model), study.paths.cells
    fingerprints: dict[Cell, str] = {}
    for cells in study.jobs_cells(model):
        layer = cells[0].layer
        fingerprints |= sweep.fingerprints(cells, card, None if layer is None else probes[layer])
    if stale := stale_cells(fingerprints, root):
        raise InputError(f"{stale[0].path(root)}: {FOREIGN} ({len(stale)} such cells of {model.name}); delete it and run again")
    return fingerprints


def texts_inputs(study: Study, model: Model, fingerprints: Mapping[Cell, str]) -> dict[str, Any]:
    """Everything that determines a table of texts; its digest is the table's fingerprint."""
    cells = [[cell.arm, cell.scenario, cell.layer, cell.alpha, fingerprint] for cell, fingerprint in fingerprints.items()]
    return {"concept": study.concept, "layers": study.steering_layers_of(model), "cells": digest(cells)}


def gather_model(study: Study, model: Model) -> None:
    """Verify the cells of a model and write its table of texts, with what they cost together. Raises InputError."""
    card, probes = read_card(study.paths.card(model.name, model.key)), load_sites(study, model)
    fingerprints = verified_cells(study, study_concept(study), model, card, probes)
    blocks = {site: probe.layer for site, probe in probes.items()}
    table = gather_texts(list(fingerprints), study.paths.cells, blocks, study.concept)
    costs = [read_cost(cell.path(study.paths.cells)) for cell in fingerprints]
    cost = {name: sum(one[name] for one in costs) for name in ("seconds", "load_seconds")}
    cost["peak_memory_mb"] = max(one["peak_memory_mb"] for one in costs)
    write_table(table, study.paths.texts(model.name), texts_inputs(study, model, fingerprints), cost)


def read_cells(cells: Iterable[Cell], root: Path, blocks: Mapping[Site, int] | None = None) -> pa.Table:
    """Read these cells, and no others, with typed axes: arm, model, layer, scenario, alpha.

    `blocks` are those of sites that are none themselves. Unsteered cells have a null layer and alpha 0. Raises InputError for
    a missing or broken cell.
    """
    tables = []
    for cell in cells:
        table = read_table(cell.path(root))
        size = len(table)
        axes = {
            "arm": pa.array([cell.arm] * size, pa.string()),
            "model": pa.array([cell.model] * size, pa.string()),
            "layer": pa.array([_block(cell, blocks or {})] * size, pa.int32()),
            "scenario": pa.array([cell.scenario] * size, pa.string()),
            "alpha": pa.array([cell.alpha] * size, pa.float64()),
        }
        tables.append(pa.table({**axes, **{name: table[name] for name in table.column_names}}))
    return pa.concat_tables(tables)


def _block(cell: Cell, blocks: Mapping[Site, int]) -> Site | None:
    return None if cell.layer is None else blocks.get(cell.layer, cell.layer)


def gather_texts(cells: Sequence[Cell], root: Path, blocks: Mapping[Site, int], concept: str) -> pa.Table:
    """One table of all cells. The baseline stands at each steered layer as alpha 0; prompted cells keep a null layer."""
    table = read_cells(cells, root, blocks)
    baseline = table.filter(pc.equal(table["arm"], BASELINE_ARM))
    others = table.filter(pc.not_equal(table["arm"], BASELINE_ARM))
    position = table.column_names.index("layer")
    copies = [
        baseline.set_column(position, "layer", pa.array([layer] * len(baseline), table["layer"].type))
        for layer in blocks.values()
    ]
    gathered = pa.concat_tables([others, *copies])
    return gathered.append_column("concept", pa.array([concept] * len(gathered), pa.string()))
