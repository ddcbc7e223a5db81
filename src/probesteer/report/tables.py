"""The report's tables of models and of what they cost."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from probesteer.concepts.data import PairSet, activations_path
from probesteer.files.tables import read_cost
from probesteer.study.experiment import Study
from probesteer.study.model import Model


def models_table(cards: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per model, from its card, by the study's name."""
    return pd.DataFrame([{**card, "name": name} for name, card in cards.items()]).drop(
        columns=["trust_remote_code", "vocabulary", "folder"]
    )


def cost_table(study: Study, pairs: PairSet) -> pd.DataFrame:
    """Seconds and peak memory per model and phase: from the footers of activations and texts, else from benchmark files."""
    rows = []
    for model in study.models:
        costs = {
            "activations": read_cost(activations_path(study, model, pairs)),
            "steering": read_cost(study.paths.texts(model.name)),
            "games": read_cost(study.paths.transcripts(model.name)) if study.games else {},
        }
        for phase, cost in costs.items():
            if cost:
                seconds = cost["seconds"] + cost["load_seconds"]
                rows.append({"model": model.name, "phase": phase, "seconds": seconds, "peak_memory_mb": cost["peak_memory_mb"]})
        if timed := [row for path in benchmark_paths(study, model) for row in benchmark_rows(path)]:
            rows.append(
                {
                    "model": model.name,
                    "phase": "probe, detect, score",
                    "seconds": sum(seconds for seconds, _ in timed),
                    "peak_memory_mb": max(peak for _, peak in timed),
                }
            )
    table = pd.DataFrame(rows)
    if study.resources.price_per_gpu_hour is not None and study.resources.gpus:
        on_gpu = table["phase"].isin(["activations", "steering", "games"])
        hours = table["seconds"] / 3600 * study.resources.gpus
        table["cost"] = (hours * study.resources.price_per_gpu_hour).where(on_gpu, 0.0)
    return table


def benchmark_paths(study: Study, model: Model) -> Iterator[Path]:
    """Benchmark files of the jobs without a model."""
    yield study.paths.benchmark("detect", model.name)
    if layers := study.steering_layers_of(model):
        yield from (study.paths.benchmark("probe", model.name, str(layer)) for layer in layers)
        yield from (study.paths.benchmark("score", model.name, scorer) for scorer in study.scorers)
        yield study.paths.benchmark("effects", model.name)


def benchmark_rows(path: Path) -> Iterator[tuple[float, float]]:
    """(seconds, peak resident set in MB) of each run in a benchmark file of Snakemake; none where there is no file."""
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                yield float(row["s"]), 0.0 if row["max_rss"] in ("-", "NA") else float(row["max_rss"])
