"""What a study will cost before it runs: jobs, minutes, disk and money, from model sizes and from what earlier cells cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from probesteer.concepts.data import activations_path, pair_set, pair_sets
from probesteer.files.tables import read_cost
from probesteer.study.cells import Cell
from probesteer.study.experiment import Study
from probesteer.study.model import BYTES_PER_WEIGHT, Model
from probesteer.study.paths import CORRELATION, EFFECTS, GAME_TABLES, PAGE, READINGS

# Assumptions, where no earlier cell of the model says more. A card with 1 TB/s of memory and 100 TFLOP/s that is reached; one
# thread of a CPU as benchmarks/engine.py has it: 170 tokens a second of 110 million parameters, 64 rows at a time.
BANDWIDTH, FLOPS = 1e12, 1e14
CPU_FLOPS = 4e10
STEP_OVERHEAD = 0.015  # seconds of a decoding step beside reading weights
START = 4.0  # seconds until a job works: imports, and reading what it needs
CPU_ROWS = 64
LOAD_RATE = 1e9  # bytes per second from disk to device
TEXT_TOKENS = 150
TURN_TOKENS = 250  # of a prompt's end, and of its possible actions
CELL_BYTES, GAME_BYTES = 20_000, 100_000
MEASURED, ASSUMED = "earlier cells", "model size"


@dataclass(frozen=True)
class Plan:
    """What a model of a study takes."""

    model: str
    jobs: int
    """Jobs that load the model: activations, forecast, baseline, one a steered layer, and its dose and readings if any."""
    light_jobs: int
    """The others: what the model is, its probes, its detection, and what is made of its cells."""
    cells: int
    missing: int
    """Cells that are not there yet; what is there is assumed to be up to date."""
    seconds: float
    """Of all these jobs, one after the other, for what is missing."""
    disk: float
    """Bytes of activations and cells, and of the weights of a hub model."""
    source: str
    """Where the seconds come from."""


def plan_model(study: Study, model: Model, texts: int, captures: int) -> Plan:
    """The plan of one model; `texts` is how many texts are captured, in `captures` jobs that have not run yet."""
    groups = study.jobs_cells(model)
    there = [[cell for cell in group if cell.path(study.paths.cells).exists()] for group in groups]
    cells, done = sum(map(len, groups)), [cell for group in there for cell in group]
    missing = cells - len(done)
    per_cell, source = cell_seconds(study, model, cells, done)
    parameters = model.parameters()
    lacking = [len(found) < len(group) for found, group in zip(there, groups, strict=True)]
    light = light_jobs(study, model, captures, missing)
    loads = captures + sum(lacking) + found_jobs(study, model, captures, bool(lacking and lacking[0]))
    games = plan_games(study, model)
    loads += light.read + games.jobs
    judged = "rubric" in study.scorers and bool(groups) and light.again
    flops = FLOPS if study.resources.gpus else CPU_FLOPS
    capture = texts * TEXT_TOKENS * 2 * parameters / flops if captures else 0.0
    load = BYTES_PER_WEIGHT[model.dtype] * parameters / LOAD_RATE * loads
    hidden = (parameters / (12 * model.block_count())) ** 0.5  # a block has about 12 hidden^2 parameters
    disk = texts * (model.block_count() + 1) * hidden * 4 + missing * CELL_BYTES + games.missing * GAME_BYTES
    disk += 0 if model.local else BYTES_PER_WEIGHT[model.dtype] * parameters
    jobs, left = loads + judged, light.left + games.light
    seconds = per_cell * missing + capture + load + games.seconds + START * (jobs + left)
    return Plan(model.name, jobs, left, cells + games.cells, missing + games.missing, seconds, disk, source)


class GamePlan(NamedTuple):
    """What is left of a model's games: jobs that load it, light ones, its cells and the missing ones, seconds of play."""

    jobs: int
    light: int
    cells: int
    missing: int
    seconds: float


def plan_games(study: Study, model: Model) -> GamePlan:
    """What the games of a model take; none of a study without games."""
    if not (study.games and study.steering_layers_of(model)):
        return GamePlan(0, 0, 0, 0, 0.0)
    jobs, root, paths = study.game_jobs(model), study.paths.games, study.paths
    lacking = [[cell for cell in cells if not cell.path(root).exists()] for cells in jobs]
    missing = [cell for cells in lacking for cell in cells]
    turns = bool(missing) or not paths.transcripts(model.name).exists()
    tables = turns or not all(paths.deeds(model.name, table).exists() for table in GAME_TABLES)
    seconds = sum(game_seconds(study, model, cell.scenario) for cell in missing)
    return GamePlan(sum(map(bool, lacking)), turns + tables, sum(map(len, jobs)), len(missing), seconds)


def game_seconds(study: Study, model: Model, game: str) -> float:
    """Seconds of a cell of games, from the model's size: each turn reads the end of a prompt and the actions, and writes."""
    from probesteer.games import GAMES

    assert study.games is not None
    turns = GAMES[game].turns * study.games.episodes * len(study.games.variants)
    parameters, new = model.parameters(), study.games.max_new_tokens if study.games.decides == "answer" else 0
    if not study.resources.gpus:
        return turns * (2 * parameters / CPU_FLOPS * (TURN_TOKENS + new) + STEP_OVERHEAD / CPU_ROWS * new)
    step = BYTES_PER_WEIGHT[model.dtype] * parameters / BANDWIDTH + STEP_OVERHEAD
    return turns * (2 * parameters / FLOPS * TURN_TOKENS + new * step / study.resources.batch_rows)


class Light(NamedTuple):
    """Light jobs of a model that are left, and whether its texts are among them."""

    left: int
    again: bool
    read: int = 0
    """Jobs in which the model, which they load, reads texts."""


def light_jobs(study: Study, model: Model, captures: int, missing: int) -> Light:
    """What a dry run plans of a model beside the jobs that load it: what is not there, and what follows from that."""
    paths, name, layers = study.paths, model.name, study.steering_layers_of(model)
    receipt = not model.local and not paths.receipt(name, model.key).exists()
    card = receipt or not paths.card(name, model.key).exists()
    captured = bool(captures) or card
    probes = sum(captured or not paths.probe(name, layer).exists() for layer in layers)
    count = receipt + card + probes + (captured or not paths.detection(name).exists())
    count += sum(captured or not path.exists() for path in study.comparisons(model))
    if not layers:
        return Light(count, False)
    texts = captured or missing > 0 or not paths.texts(name).exists()
    plain = [scorer for scorer in study.scorers if scorer != "rubric"]
    scores = sum(texts or not paths.scores(name, scorer).exists() for scorer in plain)
    effects = texts or probes or scores or not all(paths.effects(name, table).exists() for table in EFFECTS)
    made = [*(paths.readings(name, of) for of in READINGS), *(paths.correlation(name, table) for table in CORRELATION)]
    made += [paths.detection(name), *(paths.transcripts(author) for author in study.games_read(name))]
    read = study.correlation and (texts or scores or not all(path.exists() for path in made))
    again = texts or not paths.scores(name, "rubric").exists()
    return Light(count + texts + scores + bool(effects), again, int(read))


def found_jobs(study: Study, model: Model, captures: int, baseline: bool) -> int:
    """Jobs that are left of those that find something beside the sweep: the forecast, the neutral corpus, doses of sites."""
    paths, name, layers = study.paths, model.name, study.steering_layers_of(model)
    captured = bool(captures) or not paths.card(name, model.key).exists()
    doses = [captured or not (paths.probe(name, at).exists() and paths.dose(name, at).exists()) for at in layers]
    again = baseline and bool(study.calibration_cells(model))
    forecast = bool(layers) and (captured or not paths.forecast(name).exists())
    corpus = any(captured or not path.exists() for path in study.corpora(model))
    causes = study.compare.causes and (captured or not paths.compared(name, "causes").exists())
    return forecast + corpus + causes + study.dosed * sum(again or dose for dose in doses)


def cell_seconds(study: Study, model: Model, cells: int, done: Sequence[Cell]) -> tuple[float, str]:
    """Seconds of each of `cells` cells: the median of what those that are done took, or an estimate from the model's size."""
    costs = [read_cost(cell.path(study.paths.cells)) for cell in done]
    if known := [cost["seconds"] for cost in costs if "seconds" in cost]:
        return median(known), MEASURED
    parameters, tokens = model.parameters(), study.sampling_of(model).max_new_tokens
    if not study.resources.gpus:
        return study.samples * tokens * (2 * parameters / CPU_FLOPS + STEP_OVERHEAD / CPU_ROWS), ASSUMED
    step = BYTES_PER_WEIGHT[model.dtype] * parameters / BANDWIDTH + STEP_OVERHEAD
    batches = -(-cells * study.samples // study.resources.batch_rows)
    return tokens * step * batches / max(1, cells), ASSUMED


def least_p(study: Study) -> float:
    """The least permutation p, Holm-corrected over the models, that a detection of the study can have: 1 is none at all.

    A permutation keeps or flips each cluster of pairs, and to flip them all changes nothing.
    """
    from probesteer.concepts.duplicates import pair_clusters

    one_of_all = 2.0 ** (1 - len(set(pair_clusters(pair_set(study).load()))))
    return min(1.0, len(study.models) * max(1 / (study.detection_permutations + 1), one_of_all))


def out_of_reach(study: Study) -> str | None:
    """Why no model of the study can be detected, if its least p is above its bar; nothing where its pairs are not there yet."""
    if to_download(study):
        return None
    least, bar = least_p(study), study.criteria.permutation_p
    if least <= bar:
        return None
    return (
        f"no model can be detected: with {len(study.models)} models and these pairs the least corrected permutation p is "
        f"{least:.2g}, above criteria.permutation_p = {bar:g}; take more pairs, or fewer models in one study"
    )


def plan_study(study: Study) -> list[Plan]:
    """The plans of all models, in order; pairs that are still to be downloaded take no time and no disk."""
    sets = pair_sets(study).values()
    there = [pairs for pairs in sets if not (to_download(study) and pairs.concept == study.concept)]
    texts = sum(2 * len(pairs.load()) * (1 + pairs.ablations) for pairs in there)
    plans = []
    for model in study.models:
        captures = sum(not activations_path(study, model, pairs).exists() for pairs in sets)
        plans.append(plan_model(study, model, texts, captures))
    return plans


def to_download(study: Study) -> bool:
    """Whether the study's pairs have an address and are not there yet."""
    return bool(study.pairs and study.pairs.missing)


def shared_jobs(study: Study, plans: Sequence[Plan]) -> int:
    """Jobs that are no model's: pairs that are not there yet, judges, the report, and `all` itself where there is any."""
    paths = study.paths
    files = [paths.pairs(pairs.concept, pairs.key) for pairs in pair_sets(study).values()]
    files += [paths.card(name, model.key) for name, model in study.judges.items() if any(plan.cells for plan in plans)]
    files += [paths.receipt(name, model.key) for name, model in study.judges.items() if not model.local]
    new = sum(not path.exists() for path in files) + to_download(study)
    left = new + sum(plan.jobs + plan.light_jobs for plan in plans)
    return new + 2 if left or not (paths.report / PAGE).exists() else 0


def render_plan(study: Study, plans: Sequence[Plan], gpus: int) -> str:
    """The plans as aligned text, with sums; wall time packs the models' jobs on `gpus` GPUs, largest first."""
    header = ["model", "model jobs", "light jobs", "cells", "to compute", "minutes", "disk GB", "minutes from"]
    rows = [
        [p.model, p.jobs, p.light_jobs, p.cells, p.missing, f"{p.seconds / 60:.1f}", f"{p.disk / 1e9:.2f}", p.source]
        for p in plans
    ]
    minutes = sum(p.seconds for p in plans) / 60
    rows.append(["all", *(sum(getattr(p, name) for p in plans) for name in ("jobs", "light_jobs", "cells", "missing"))])
    rows[-1] += [f"{minutes:.1f}", f"{sum(p.disk for p in plans) / 1e9:.2f}", ""]
    table = [header, *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in table]
    shared = shared_jobs(study, plans)
    total = shared + sum(plan.jobs + plan.light_jobs for plan in plans)
    lines.append(f"{total} jobs in all, {shared} of them of the study as a whole (pairs, the report)")
    if to_download(study):
        files = ", ".join(map(str, study.pairs_paths))
        lines.append(f"{files} is still to be downloaded: the forward passes over it are not in the minutes")
    if not study.resources.gpus:
        lines.append(f"about {minutes:.1f} minutes of CPU time on one core; no GPU is asked for (resources: gpus)")
        return "\n".join(lines)
    lines.append(f"about {packed(plans, gpus) / 60:.1f} minutes on {gpus} GPU{'s' * (gpus > 1)}")
    if (price := study.resources.price_per_gpu_hour) is not None:
        lines.append(f"about {minutes / 60 * price * study.resources.gpus:.2f} at {price} per GPU hour")
    return "\n".join(lines)


def packed(plans: Sequence[Plan], gpus: int) -> float:
    """Seconds until the last of the models' jobs is done on `gpus` GPUs, the largest first."""
    queues = [0.0] * gpus
    for plan in sorted(plans, key=lambda one: -one.seconds):
        for _job in range(plan.jobs):
            queues[queues.index(min(queues))] += plan.seconds / plan.jobs
    return max(queues)
