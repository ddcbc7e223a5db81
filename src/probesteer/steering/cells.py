"""Steering cells: the missing ones of a job generated and written."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from probesteer.concepts.data import study_concept
from probesteer.directions import Probe, load_probe
from probesteer.files.cards import read_card
from probesteer.files.locks import only_writer
from probesteer.files.tables import peak_memory_mb, write_table
from probesteer.progress import progress
from probesteer.steering.sweep import Sweep, stale_cells
from probesteer.study.cells import Cell, unsteered_cells
from probesteer.study.experiment import Study
from probesteer.study.model import Model

if TYPE_CHECKING:
    from probesteer.lm.request import Request

# A CPU is within 5 % of its best speed at 64 rows of a model of 12 blocks (docs/benchmarks.md); a GPU wants more. A chunk that
# took little time may be twice as large the next time: what a killed job loses stays below about a minute where it can.
FIRST_CHUNK = 64  # rows
SHORT_CHUNK = 20.0  # seconds


def fill_baseline(study: Study, model: Model) -> None:
    """Compute what is missing of a model's unsteered and prompted cells. Raises InputError."""
    _fill(study, model, unsteered_cells(model.name, study.scenario_names()), None, "baseline")


def fill_layer(study: Study, model: Model, layer: int) -> None:
    """Compute what is missing of the cells of a (model, layer). Raises InputError."""
    probe = load_probe(study.paths.probe(model.name, layer), layer)
    _fill(study, model, study.cells(model.name, layer, study.alphas_of(model)), probe, f"layer={layer}")


def _fill(study: Study, model: Model, cells: Sequence[Cell], probe: Probe | None, job: str) -> None:
    card, root = read_card(study.paths.card(model.name, model.key)), study.paths.cells
    sweep = Sweep.of(study, study_concept(study), model)
    with only_writer(study.paths.lock(model.name, job)):
        todo = stale_cells(sweep.fingerprints(cells, card, probe), root)
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are up to date, {len(todo)} to compute", file=sys.stderr)
        if todo:
            compute_cells(todo, root, sweep, card, probe, study.resources.batch_rows)


def compute_cells(
    cells: Sequence[Cell], root: Path, sweep: Sweep, card: Mapping[str, Any], probe: Probe | None, batch_rows: int
) -> None:
    """Generate the samples of each cell and write it: columns sample, text, tokens, ended, nll.

    nll is the mean negative log-likelihood of the new tokens under the unsteered model, in nats per token. Cells are
    computed in chunks of at most `batch_rows` rows and written as soon as they are whole, so a killed job keeps them.
    """
    from probesteer.lm.load import load_card

    started = time.monotonic()
    model, tokenizer = load_card(card)
    load_seconds = time.monotonic() - started
    todo, rows, where = list(cells), min(FIRST_CHUNK, batch_rows), cells[0]
    tokens = len(cells) * sweep.samples * sweep.sampling.max_new_tokens
    what = where.model if where.layer is None else f"{where.model}, layer {where.layer}"
    with progress(tokens, what, "token") as bar:
        while todo:
            count = max(1, rows // sweep.samples)
            chunk = {cell: sweep.inputs(cell, card, probe) for cell in todo[:count]}
            started = time.monotonic()
            asked = [request for cell, inputs in chunk.items() for request in _requests(tokenizer, cell, inputs, probe)]
            table, largest = _generated(model, tokenizer, asked, sweep, batch_rows, bar.update)
            seconds = time.monotonic() - started
            cost = {"seconds": seconds / len(chunk), "load_seconds": load_seconds / len(cells)}
            cost |= {"peak_memory_mb": peak_memory_mb(), "batch_rows": largest}
            for position, (cell, inputs) in enumerate(chunk.items()):
                write_table(table.slice(position * sweep.samples, sweep.samples), cell.path(root), inputs, cost)
            todo, rows = todo[count:], min(2 * rows, batch_rows) if seconds < SHORT_CHUNK else rows


def _requests(tokenizer: Any, cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> "list[Request]":
    """A request per sample of a cell."""
    from probesteer.lm.load import render_prompt
    from probesteer.lm.request import Request

    direction = None if probe is None else probe.of(cell.arm)
    prompt = render_prompt(tokenizer, inputs["system"], inputs["user"], inputs["chat_template"])
    layer, push, positions = inputs.get("layer"), inputs.get("push", 0.0), inputs.get("positions", "all")
    keys = [(inputs["seed"], inputs["scenario"], sample) for sample in range(inputs["samples"])]
    return [Request(prompt, layer, direction, push, key, positions) for key in keys]


def _generated(
    model: Any,
    tokenizer: Any,
    rows: "Sequence[Request]",
    sweep: Sweep,
    batch_rows: int,
    advance: Callable[[int], object],
) -> tuple[pa.Table, int]:
    """The rows of cells, in order, and the rows of the largest batch that they were generated in."""
    from probesteer.lm.generate import continuations, end_tokens
    from probesteer.lm.likelihood import mean_nll

    answers = continuations(model, tokenizer, rows, **sweep.sampling.model_dump(), batch_rows=batch_rows, advance=advance)
    tokens, ends = [answer.tokens for answer in answers], end_tokens(model, tokenizer)
    columns = {
        "sample": pa.array([index % sweep.samples for index in range(len(rows))], pa.int32()),
        "text": pa.array(tokenizer.batch_decode(tokens, skip_special_tokens=True), pa.string()),
        "tokens": pa.array([len(row) for row in tokens], pa.int32()),
        "ended": pa.array([bool(row) and row[-1] in ends for row in tokens], pa.bool_()),
        "nll": pa.array(mean_nll(model, tokenizer, [row.prompt for row in rows], tokens), pa.float64()),
    }
    return pa.table(columns), max(answer.batch_rows for answer in answers)
