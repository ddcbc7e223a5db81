"""Steering cells: the missing ones of a job generated and written."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from probesteer.concepts.data import study_concept
from probesteer.directions import Probe
from probesteer.directions.sites import load_site
from probesteer.files.cards import read_card
from probesteer.files.locks import only_writer
from probesteer.files.tables import peak_memory_mb, write_table
from probesteer.progress import progress
from probesteer.steering.sweep import JUDGED, Sweep, stale_cells
from probesteer.study.cells import Cell, unsteered_cells
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import Site

if TYPE_CHECKING:
    from probesteer.lm.likelihood import NeutralTexts, Shift
    from probesteer.lm.request import Request

# A CPU is within 5 % of its best speed at 64 rows of a model of 12 blocks (docs/benchmarks.md); a GPU wants more. A chunk that
# took little time may be twice as large the next time: what a killed job loses stays below about a minute where it can.
FIRST_CHUNK = 64  # rows
SHORT_CHUNK = 60.0  # seconds: a chunk that takes less is doubled, since larger batches are faster


def fill_baseline(study: Study, model: Model) -> None:
    """Compute what is missing of a model's unsteered and prompted cells. Raises InputError."""
    _fill(study, model, unsteered_cells(model.name, study.scenario_names()), None, "baseline")


def fill_layer(study: Study, model: Model, site: Site) -> None:
    """Compute what is missing of the cells of a (model, layer). Raises InputError."""
    probe = load_site(study, model, site)
    _fill(study, model, study.cells(model.name, site, study.alphas_of(model)), probe, f"layer={site}")


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
    """Generate the samples of each cell and write it.

    Columns: sample, text, tokens, ended; how likely the unsteered model finds the text, see `_likelihoods`; what the cell's
    push or system prompt does to neutral texts, see `_Neutral`. Cells are computed in chunks of at most `batch_rows` rows and
    written as soon as they are whole, so a killed job keeps them.
    """
    from probesteer.lm.load import load_card

    started = time.monotonic()
    model, tokenizer = load_card(card)
    load_seconds = time.monotonic() - started
    where, tokens = cells[0], sum(map(sweep.samples_of, cells)) * sweep.sampling.max_new_tokens
    what = where.model if where.layer is None else f"{where.model}, layer {where.layer}"
    neutral = _Neutral(model, tokenizer, sweep)
    with progress(tokens, what, "token") as bar:
        for part in growing(cells, partial(_first, sweep=sweep), batch_rows):
            chunk = {cell: sweep.inputs(cell, card, probe) for cell in part}
            started = time.monotonic()
            table, largest = sample_texts(model, tokenizer, chunk, probe, sweep, batch_rows, bar.update)
            shifts = {cell: neutral.columns(cell, inputs, probe) for cell, inputs in chunk.items()}
            seconds = time.monotonic() - started
            cost = {"seconds": seconds / len(chunk), "load_seconds": load_seconds / len(cells)}
            cost |= {"peak_memory_mb": peak_memory_mb(), "batch_rows": largest}
            for cell, inputs in chunk.items():
                own, table = table.slice(0, inputs["samples"]), table.slice(inputs["samples"])
                write_table(_with_columns(own, shifts[cell]), cell.path(root), inputs, cost)


def growing(
    cells: Sequence[Cell], first: Callable[[Sequence[Cell], int], Sequence[Cell]], batch_rows: int
) -> Iterator[Sequence[Cell]]:
    """The cells in chunks: each time the `first` of those that are left, as many as have so many rows.

    A chunk that took little time is followed by one of twice the rows, at most `batch_rows`.
    """
    todo, rows = list(cells), min(FIRST_CHUNK, batch_rows)
    while todo:
        chunk = first(todo, rows)
        started = time.monotonic()
        yield chunk
        quick = time.monotonic() - started < SHORT_CHUNK
        todo, rows = todo[len(chunk) :], min(2 * rows, batch_rows) if quick else rows


def sample_texts(
    model: Any,
    tokenizer: Any,
    chunk: Mapping[Cell, Mapping[str, Any]],
    probe: Probe | None,
    sweep: Sweep,
    batch_rows: int,
    advance: Callable[[int], object] | None = None,
) -> tuple[pa.Table, int]:
    """The texts of cells, by what determines them (`Sweep.inputs`), in order; and the rows of the largest batch."""
    asked = [request for cell, inputs in chunk.items() for request in _requests(tokenizer, cell, inputs, probe)]
    others = [prompt for inputs in chunk.values() for prompt in _elsewhere(tokenizer, inputs)]
    return _generated(model, tokenizer, asked, others, sweep, batch_rows, advance)


def _first(cells: Sequence[Cell], rows: int, sweep: Sweep) -> Sequence[Cell]:
    """As many of the cells as have `rows` rows together, one at least."""
    ends = accumulate(map(sweep.samples_of, cells))
    return cells[: max(1, sum(end <= rows for end in ends))]


def _requests(tokenizer: Any, cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> "list[Request]":
    """A request per sample of a cell. Draws that are not judged have random numbers of their own."""
    from probesteer.lm.request import Request

    prompt, pushed = prompt_of(tokenizer, inputs, inputs["user"]), _pushed(cell, inputs, probe)
    draws = [inputs["draws"]] if inputs["draws"] != JUDGED else []
    keys = [(inputs["seed"], *draws, inputs["scenario"], sample) for sample in range(inputs["samples"])]
    return [Request(prompt, seed_key=key, **pushed) for key in keys]


def _elsewhere(tokenizer: Any, inputs: Mapping[str, Any]) -> list[str | None]:
    """Another scenario's prompt for each sample of a cell, where the concept has another."""
    user = inputs["elsewhere"]
    return [None if user is None else prompt_of(tokenizer, inputs, user)] * inputs["samples"]


def prompt_of(tokenizer: Any, inputs: Mapping[str, Any], user: str) -> str:
    """A user turn under the system prompt of a cell."""
    from probesteer.lm.load import render_prompt

    return render_prompt(tokenizer, inputs["system"], user, inputs["chat_template"])


def _pushed(cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
    """What is added, where and how much, as a request has it; nothing in an unsteered cell."""
    if probe is None or cell.layer is None:
        return {}
    return {"direction": probe.of(cell.arm), **{name: inputs[name] for name in ("layer", "push", "positions")}}


def _generated(
    model: Any,
    tokenizer: Any,
    rows: "Sequence[Request]",
    others: Sequence[str | None],
    sweep: Sweep,
    batch_rows: int,
    advance: Callable[[int], object] | None,
) -> tuple[pa.Table, int]:
    """The rows of cells, in order, and the rows of the largest batch that they were generated in."""
    from probesteer.lm.generate import continuations, end_tokens

    answers = continuations(model, tokenizer, rows, **sweep.sampling.model_dump(), batch_rows=batch_rows, advance=advance)
    tokens, ends = [answer.tokens for answer in answers], end_tokens(model, tokenizer)
    columns = {
        "sample": pa.array([int(row.seed_key[-1]) for row in rows], pa.int32()),
        "text": pa.array(tokenizer.batch_decode(tokens, skip_special_tokens=True), pa.string()),
        "tokens": pa.array([len(row) for row in tokens], pa.int32()),
        "ended": pa.array([bool(row) and row[-1] in ends for row in tokens], pa.bool_()),
    }
    likelihoods = _likelihoods(model, tokenizer, [row.prompt for row in rows], others, tokens)
    return _with_columns(pa.table(columns), likelihoods), max(answer.batch_rows for answer in answers)


def _likelihoods(
    model: Any, tokenizer: Any, prompts: Sequence[str], others: Sequence[str | None], tokens: Sequence[Sequence[int]]
) -> dict[str, np.ndarray]:
    """The negative log-likelihood of new tokens under the unsteered model, in nats per token: columns of float64 (texts,).

    nll and nll_std: mean and standard deviation over the tokens of a text after its own prompt. nll_elsewhere: the mean after
    another scenario's prompt, NaN where there is none: a text that answers its prompt is likelier there than elsewhere.
    """
    from probesteer.lm.likelihood import surprisal

    other = {i: prompt for i, prompt in enumerate(others) if prompt is not None}
    found = surprisal(model, tokenizer, [*prompts, *other.values()], [*tokens, *(tokens[i] for i in other)])
    elsewhere = np.full(len(prompts), np.nan)
    elsewhere[list(other)] = found.mean[len(prompts) :]
    return {"nll": found.mean[: len(prompts)], "nll_std": found.spread[: len(prompts)], "nll_elsewhere": elsewhere}


class _Neutral:
    """What pushes and system prompts do to a concept's neutral texts, each computed once in a job."""

    def __init__(self, model: Any, tokenizer: Any, sweep: Sweep) -> None:
        self.model, self.tokenizer, self.sweep = model, tokenizer, sweep
        self.texts: NeutralTexts | None = None
        self.known: dict[tuple[str, float], Shift] = {}

    def columns(self, cell: Cell, inputs: Mapping[str, Any], probe: Probe | None) -> dict[str, np.ndarray]:
        """kl and perplexity of `lm.likelihood.Shift`, the same for every sample: columns of float64 (samples,).

        For pushes and for system prompts alike: over the neutral texts, read as answers to the concept's first scenario,
        against the unsteered model under the neutral system prompt. Neither depends on the scenario or the texts of the cell.
        """
        from probesteer.lm.likelihood import NeutralTexts
        from probesteer.lm.request import Request

        user, at = self.sweep.neutral_user(), (cell.arm, cell.alpha)
        if self.texts is None:
            neutral = {**inputs, "system": self.sweep.concept.system_prompts.neutral}
            prompt = prompt_of(self.tokenizer, neutral, user)
            self.texts = NeutralTexts(self.model, self.tokenizer, prompt, self.sweep.concept.neutral_texts)
        if at not in self.known:
            request = Request(prompt_of(self.tokenizer, inputs, user), **_pushed(cell, inputs, probe))
            self.known[at] = self.texts.shift(request)
        return {name: np.full(inputs["samples"], value) for name, value in self.known[at]._asdict().items()}


def _with_columns(table: pa.Table, columns: Mapping[str, np.ndarray]) -> pa.Table:
    """The table with columns of float64 at its end."""
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.float64()))
    return table
