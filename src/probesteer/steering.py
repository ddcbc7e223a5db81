"""Steering cells: what determines a cell, which cells are missing, and computing them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from probesteer.concepts import Concept
from probesteer.directions import Probe
from probesteer.study import BASELINE_ARM, PROMPTED_ARMS, Cell, Sampling
from probesteer.tables import is_fresh, peak_memory_mb, read_cells, write_table

NUMERICS = 2  # bump by hand when the same inputs give other texts


@dataclass(frozen=True)
class Sweep:
    """The settings that all cells of a sweep share."""

    concept: Concept
    sampling: Sampling
    samples: int
    seed: int
    alpha_unit: str
    positions: Literal["all", "response"]
    engine: str

    def inputs(self, cell: Cell, card: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
        """Everything that determines a cell's texts; its digest is the cell's fingerprint."""
        system = self.concept.system_prompts
        inputs = {
            "numerics": NUMERICS,
            "model": card["digest"],
            "chat_template": card["chat_template"],
            "system": getattr(system, PROMPTED_ARMS.get(cell.arm, "neutral")),
            "user": self.concept.scenarios[cell.scenario].user_prompt(),
            "scenario": cell.scenario,
            "samples": self.samples,
            "seed": self.seed,
            "sampling": self.sampling.model_dump(),
            "engine": self.engine,
        }
        if cell.layer is not None and probe is not None:
            direction = sha256(probe.of(cell.arm).tobytes()).hexdigest()
            inputs |= {
                "layer": cell.layer,
                "push": probe.push(cell.alpha, self.alpha_unit),
                "direction": direction,
                "positions": self.positions,
            }
        return inputs


def stale_cells(cells: Sequence[Cell], root: Path, sweep: Sweep, card: Mapping[str, Any], probe: Probe | None) -> list[Cell]:
    """The cells that are missing, broken, or made from other inputs."""
    return [cell for cell in cells if not is_fresh(cell.path(root), sweep.inputs(cell, card, probe))]


def compute_cells(
    cells: Sequence[Cell], root: Path, sweep: Sweep, card: Mapping[str, Any], probe: Probe | None, batch_rows: int
) -> None:
    """Generate the samples of each cell and write it: columns sample, text, tokens, ended, nll.

    nll is the mean negative log-likelihood of the new tokens under the unsteered model, in nats per token. Cells are
    computed in chunks of about `batch_rows` rows and written as soon as they are whole, so a killed job keeps them.
    """
    from probesteer.lm.generate import ENGINES, Request, end_tokens
    from probesteer.lm.likelihood import mean_nll
    from probesteer.lm.load import load_card, render_prompt

    started = time.monotonic()
    model, tokenizer = load_card(card)
    load_seconds = time.monotonic() - started
    ends = end_tokens(model, tokenizer)

    def requests(cell: Cell, inputs: Mapping[str, Any]) -> list[Request]:
        direction = None if probe is None else probe.of(cell.arm)
        prompt = render_prompt(tokenizer, inputs["system"], inputs["user"], inputs["chat_template"])
        keys = [(inputs["seed"], inputs["scenario"], sample) for sample in range(inputs["samples"])]
        return [Request(prompt, inputs.get("layer"), direction, inputs.get("push", 0.0), key, sweep.positions) for key in keys]

    per_chunk = max(1, batch_rows // sweep.samples)
    for first in range(0, len(cells), per_chunk):
        chunk = {cell: sweep.inputs(cell, card, probe) for cell in cells[first : first + per_chunk]}
        started = time.monotonic()
        rows = [request for cell, inputs in chunk.items() for request in requests(cell, inputs)]
        answers = ENGINES[sweep.engine](model, tokenizer, rows, **sweep.sampling.model_dump(), batch_rows=batch_rows)
        tokens = [answer.tokens for answer in answers]
        table = pa.table(
            {
                "sample": pa.array([*range(sweep.samples)] * len(chunk), pa.int32()),
                "text": pa.array(tokenizer.batch_decode(tokens, skip_special_tokens=True), pa.string()),
                "tokens": pa.array([len(row) for row in tokens], pa.int32()),
                "ended": pa.array([bool(row) and row[-1] in ends for row in tokens], pa.bool_()),
                "nll": pa.array(mean_nll(model, tokenizer, [row.prompt for row in rows], tokens), pa.float64()),
            }
        )
        cost = {
            "seconds": (time.monotonic() - started) / len(chunk),
            "load_seconds": load_seconds / len(cells),
            "peak_memory_mb": peak_memory_mb(),
            "batch_rows": max(answer.batch_rows for answer in answers),
        }
        for position, (cell, inputs) in enumerate(chunk.items()):
            write_table(table.slice(position * sweep.samples, sweep.samples), cell.path(root), inputs, cost)


def gather_texts(cells: Sequence[Cell], root: Path, layers: Sequence[int], concept: str) -> pa.Table:
    """One table of all cells. The baseline stands at each steered layer as alpha 0; prompted cells keep a null layer."""
    table = read_cells([cell.path(root) for cell in cells])
    baseline = table.filter(pc.equal(table["arm"], BASELINE_ARM))
    others = table.filter(pc.not_equal(table["arm"], BASELINE_ARM))
    position = table.column_names.index("layer")
    copies = [
        baseline.set_column(position, "layer", pa.array([layer] * len(baseline), table["layer"].type)) for layer in layers
    ]
    gathered = pa.concat_tables([others, *copies])
    return gathered.append_column("concept", pa.array([concept] * len(gathered), pa.string()))
