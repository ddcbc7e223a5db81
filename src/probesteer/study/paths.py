"""Where results are, by names that may be Snakemake's wildcards: rules and verbs read the same paths."""

from pathlib import Path
from typing import NamedTuple

RESULTS = Path("results")
DEMO = Path("config/config.yaml")
CONCEPTS = Path("resources/concepts")
PAIRS_FILE = "pairs.jsonl"  # in a concept's folder
# Folders of results/ that are no study's: the Slurm plugin deletes old logs below its own.
SHARED = ("models", "pairs", "activations", "weights", "slurm", "logs", "benchmarks", "downloads")
EFFECTS = [  # per steered model
    "dose_response",
    "trends",
    "scenario_trends",
    "specificity",
    "arms",
    "controls",
    "prompting",
    "nats",
    "steering",
    "success",
    "scorer_agreement",
    "anti_steered",
    "examples",
    "chosen",
]
CORPUS_TABLES = ["corpus", "twin", "twin_pairs", "gradients"]  # per model, where directions are carried
READINGS = ["texts", "pairs"]  # per steered model of a study with `correlation`
CORRELATION = ["correlation", "binary", "gap", "points"]  # the same
GAME_TABLES = ["deeds", "deed_changes"]  # per model that plays games
# Of every report; `study.experiment.Study.tables` adds those of what a study asks for.
TABLES = ["models", "data", "detection", "selection", "details", "council", "emergence", "cells", "cost"]
TABLES += ["checks", "verdict", "published", "reassessment"]
FIGURES = ["auroc_by_layer", "random_baseline", "lexical_ablation", "cross_model_layers"]  # of every report
STEERED_FIGURES = ["dose_response", "baseline_behaviour", "resistance_by_scenario", "steering_by_layer"]
SAVED, EVIDENCE, PAGE, ABOUT = "study.json", "evidence.json", "report.html", "about.json"  # in the report's folder
MANIFEST, EXPLORER = "manifest.json", "explorer.html"  # there too


class Paths(NamedTuple):
    """The files of a study, and those that studies share."""

    study: str

    @property
    def root(self) -> Path:
        return RESULTS / self.study

    @property
    def saved(self) -> Path:
        """The study that jobs read."""
        return self.root / "study.json"

    @property
    def report(self) -> Path:
        return self.root / "council"

    @property
    def cells(self) -> Path:
        return self.root / "steering"

    @property
    def written(self) -> Path:
        """Pairs that language models wrote, and their responses."""
        return self.root / "written"

    def card(self, model: str, key: str) -> Path:
        """Shared by all studies, as the next five are: the key holds what names the model, or the texts."""
        return RESULTS / "models" / model / f"{key}.json"

    def receipt(self, model: str, key: str) -> Path:
        return RESULTS / "models" / model / f"{key}.fetched.json"

    def weights(self, model: str, key: str) -> Path:
        return RESULTS / "weights" / model / key

    def pairs(self, concept: str, key: str) -> Path:
        """The pairs with their clusters of near-duplicates."""
        return RESULTS / "pairs" / f"concept={concept}" / key / "pairs.parquet"

    def data_card(self, concept: str, key: str) -> Path:
        return self.pairs(concept, key).with_name("data.parquet")

    def activations(self, model: str, concept: str, key: str) -> Path:
        return RESULTS / "activations" / f"model={model}" / f"concept={concept}" / f"{key}.parquet"

    def probe(self, model: str, layer: int | str) -> Path:
        return self.root / "probes" / f"model={model}" / f"layer={layer}" / "probe.safetensors"

    def detection(self, model: str) -> Path:
        return self.root / "detection" / f"model={model}" / "detection.parquet"

    def compared(self, model: str, table: str) -> Path:
        """What a model has in common with others."""
        return self.root / "compare" / f"model={model}" / f"{table}.parquet"

    def forecast(self, model: str) -> Path:
        """What each block is worth, before anything is generated."""
        return self.root / "forecasts" / f"model={model}" / "forecast.parquet"

    def dose(self, model: str, layer: int | str) -> Path:
        return self.root / "doses" / f"model={model}" / f"layer={layer}" / "dose.parquet"

    def texts(self, model: str) -> Path:
        return self.root / "texts" / f"model={model}" / "texts.parquet"

    def scores(self, model: str, scorer: str) -> Path:
        return self.root / "scores" / f"model={model}" / f"scorer={scorer}" / "scores.parquet"

    def effects(self, model: str, table: str) -> Path:
        return self.root / "effects" / f"model={model}" / f"{table}.parquet"

    @property
    def games(self) -> Path:
        """The cells of games, as those of the sweep below `cells`."""
        return self.root / "games"

    def transcripts(self, model: str) -> Path:
        """Every turn of every episode of a model."""
        return self.root / "transcripts" / f"model={model}" / "transcripts.parquet"

    def deeds(self, model: str, table: str) -> Path:
        """One of GAME_TABLES."""
        return self.root / "deeds" / f"model={model}" / f"{table}.parquet"

    def readings(self, model: str, of: str) -> Path:
        """What a model reads in texts that were written, or in the held-out pairs: of READINGS."""
        return self.root / "readings" / f"model={model}" / f"{of}.parquet"

    def correlation(self, model: str, table: str) -> Path:
        """What its readings are worth: of CORRELATION."""
        return self.root / "correlation" / f"model={model}" / f"{table}.parquet"

    def lock(self, model: str, job: str) -> Path:
        """Held by who writes the cells of a job."""
        return self.cells / "locks" / f"model={model}" / job

    def log(self, rule: str, *axes: str) -> Path:
        return self.root / "logs" / rule / f"{'.'.join(axes)}.log"

    def benchmark(self, rule: str, *axes: str) -> Path:
        return self.root / "benchmarks" / rule / f"{'.'.join(axes)}.tsv"
