"""What a study will cost before it runs: jobs, hours, disk and money, from model sizes and from what earlier cells cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from probesteer.concepts.data import activations_path, pair_sets
from probesteer.files.tables import read_cost
from probesteer.study.cells import Cell
from probesteer.study.experiment import Study
from probesteer.study.model import BYTES_PER_WEIGHT, Model

# Assumptions, where no earlier cell of the model says more: a card with 1 TB/s of memory and 100 TFLOP/s that is reached.
BANDWIDTH, FLOPS = 1e12, 1e14
STEP_OVERHEAD = 0.015  # seconds of a decoding step beside reading weights
LOAD_RATE = 1e9  # bytes per second from disk to device
TEXT_TOKENS = 150
CELL_BYTES = 20_000
MEASURED, ASSUMED = "earlier cells", "model size"


@dataclass(frozen=True)
class Plan:
    """What a model of a study takes."""

    model: str
    jobs: int
    """Jobs that load the model: activations, baseline, one per steered layer."""
    light_jobs: int
    cells: int
    missing: int
    """Cells that are not there yet; what is there is assumed to be up to date."""
    seconds: float
    """Of the jobs that load the model, for what is missing."""
    disk: float
    """Bytes of activations and cells, and of the weights of a hub model."""
    source: str
    """Where the seconds come from."""


def plan_model(study: Study, model: Model, texts: int, captures: int) -> Plan:
    """The plan of one model; `texts` is how many texts are captured, in `captures` jobs that have not run yet."""
    layers = study.steering_layers_of(model)
    groups = study.jobs_cells(model)
    there = [[cell for cell in group if cell.path(study.paths.cells).exists()] for group in groups]
    cells, done = sum(map(len, groups)), [cell for group in there for cell in group]
    missing = cells - len(done)
    per_cell, source = cell_seconds(study, model, cells, done)
    parameters, judged = model.parameters(), "rubric" in study.scorers and bool(layers)
    loads = captures + sum(len(found) < len(group) for found, group in zip(there, groups, strict=True))
    capture = texts * TEXT_TOKENS * 2 * parameters / FLOPS if captures else 0.0
    load = BYTES_PER_WEIGHT[model.dtype] * parameters / LOAD_RATE * loads
    hidden = (parameters / (12 * model.block_count())) ** 0.5  # a block has about 12 hidden^2 parameters
    disk = texts * (model.block_count() + 1) * hidden * 4 + missing * CELL_BYTES
    disk += 0 if model.local else BYTES_PER_WEIGHT[model.dtype] * parameters
    light = 2 + (not model.local)  # card and detection; a hub model is fetched
    light += len(layers) + 2 + len(study.scorers) - judged if layers else 0  # probes, texts and effects, scores
    return Plan(model.name, loads + judged, light, cells, missing, per_cell * missing + capture + load, disk, source)


def cell_seconds(study: Study, model: Model, cells: int, done: Sequence[Cell]) -> tuple[float, str]:
    """Seconds of each of `cells` cells: the median of what those that are done took, or an estimate from the model's size."""
    costs = [read_cost(cell.path(study.paths.cells)) for cell in done]
    if known := [cost["seconds"] for cost in costs if "seconds" in cost]:
        return median(known), MEASURED
    step = BYTES_PER_WEIGHT[model.dtype] * model.parameters() / BANDWIDTH + STEP_OVERHEAD
    batches = -(-cells * study.samples // study.resources.batch_rows)
    return study.sampling_of(model).max_new_tokens * step * batches / max(1, cells), ASSUMED


def plan_study(study: Study) -> list[Plan]:
    """The plans of all models, in order."""
    sets = pair_sets(study).values()
    texts = sum(2 * len(pairs.load()) * (1 + pairs.ablations) for pairs in sets)
    plans = []
    for model in study.models:
        captures = sum(not activations_path(study, model, pairs).exists() for pairs in sets)
        plans.append(plan_model(study, model, texts, captures))
    return plans


def render_plan(study: Study, plans: Sequence[Plan], gpus: int) -> str:
    """The plans as aligned text, with sums; wall time packs the models' jobs on `gpus` GPUs, largest first."""
    header = ["model", "model jobs", "light jobs", "cells", "to compute", "hours", "disk GB", "hours from"]
    rows = [
        [p.model, p.jobs, p.light_jobs, p.cells, p.missing, f"{p.seconds / 3600:.2f}", f"{p.disk / 1e9:.2f}", p.source]
        for p in plans
    ]
    hours = sum(p.seconds for p in plans) / 3600
    queues = [0.0] * gpus
    for plan in sorted(plans, key=lambda one: -one.seconds):
        for _job in range(plan.jobs):
            queues[queues.index(min(queues))] += plan.seconds / plan.jobs / 3600
    rows.append(["all", *(sum(getattr(p, name) for p in plans) for name in ("jobs", "light_jobs", "cells", "missing"))])
    rows[-1] += [f"{hours:.2f}", f"{sum(p.disk for p in plans) / 1e9:.2f}", ""]
    table = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.append(f"about {max(queues):.2f} hours on {gpus} GPU{'s' * (gpus > 1)}, and one aggregate job")
    if (price := study.resources.price_per_gpu_hour) is not None:
        lines.append(f"about {hours * price * max(1, study.resources.gpus):.2f} at {price} per GPU hour")
    return "\n".join(lines)
