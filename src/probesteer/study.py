"""The typed study: what a user may write in a config file, checked, and the paths that follow from it.

Light on purpose: the Snakefile imports this module at parse time.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from probesteer.errors import InputError

DEFAULT = Path("config/config.yaml")
CONCEPTS = Path("resources/concepts")
PAIRS_FILE = "pairs.jsonl"  # in a concept's folder
EMBEDDINGS = -1  # the layer index of the input to block 0
PROBE_ARM, BASELINE_ARM = "probe", "baseline"
MODEL_FILES, ORGANISM_FILES = ("*.safetensors", "*.json", "*.jinja"), ("recipe.json", "planted.safetensors")
TABLES = [
    "models",
    "data",
    "detection",
    "selection",
    "details",
    "council",
    "dose_response",
    "steering",
    "success",
    "trends",
    "controls",
    "prompting",
    "examples",
    "cells",
    "cost",
    "checks",
    "verdict",
    "published",
    "reassessment",
]
SHARED = ("models", "activations")  # folders of results/
PROMPTED_ARMS = {"prompted-positive": "positive", "prompted-negative": "negative"}  # unsteered, under the concept's prompts

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
GENERATOR_PATTERN = r"^(openai|anthropic):([^@]+)(?:@(https?://.+))?$"
Scorer = Literal["published", "lexical", "grammar", "rubric"]  # the names of scoring.SCORERS, and the judge's
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Layer = Annotated[int, Field(ge=EMBEDDINGS)]
Block = Annotated[int, Field(ge=0)]


T = TypeVar("T")


def alpha_label(alpha: float) -> str:
    """The one spelling of an alpha in paths and tables: the shortest that reads back; -0 is 0, 3.0 is 3."""
    text = repr(float(alpha) + 0.0)
    return text.removesuffix(".0")


def _alpha_grid(alphas: list[float]) -> list[float]:
    if bad := [alpha for alpha in alphas if not math.isfinite(alpha)]:
        raise ValueError(f"alpha {bad[0]} is not finite")
    labels = [alpha_label(alpha) for alpha in alphas]
    if "0" not in labels:
        raise ValueError("the grid lacks 0, the unsteered baseline every effect is measured against; add 0")
    return [float(label) for label in _unique(labels)]


def _unique(items: list[T]) -> list[T]:
    if repeated := {item for item in items if items.count(item) > 1}:
        raise ValueError(f"{sorted(repeated, key=str)[0]} is given twice")
    return items


Alphas = Annotated[list[float], AfterValidator(_alpha_grid)]
Layers = Annotated[list[Layer], AfterValidator(_unique)]
Blocks = Annotated[list[Block], AfterValidator(_unique)]


class Options(BaseModel):
    """Base of every section: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True, use_attribute_docstrings=True, strict=False)


class Model(Options):
    """One model of the study. Options left out fall back to the study's."""

    name: Name
    """The model's name in paths and tables."""
    source: Annotated[str, Field(min_length=1)]
    """A local folder, or a hub id."""
    revision: str | None = None
    """Commit of the hub repository; required for a hub id, so that a result names its weights."""
    blocks: Count | None = None
    """Number of decoder blocks; required for a hub id (a local folder's config.json is read)."""
    parameters_b: Annotated[float, Field(gt=0)] | None = None
    """Billions of parameters, for the resources that a job asks for; required for a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = "auto"
    """Weight type; auto is the checkpoint's own, int8 and int4 need bitsandbytes."""
    chat_template: bool = True
    """Render prompts with the tokenizer's chat template; set false for base models."""
    trust_remote_code: bool = False
    """Run code that the hub repository ships."""
    layers: Layers | None = None
    """Detection layers of this model."""
    steering_layers: Blocks | None = None
    """Steering layers of this model."""
    alphas: Alphas | None = None
    """Alpha grid of this model."""
    max_new_tokens: Count | None = None
    """Token limit of a generation of this model."""

    @property
    def key(self) -> str:
        """Names the checkpoint and how it is loaded and prompted, for paths that studies share."""
        return digest([self.source, self.revision, self.dtype, self.chat_template, self.trust_remote_code])[:12]

    @property
    def organism(self) -> bool:
        """Whether the folder is one of this project's model organisms."""
        return (Path(self.source) / "recipe.json").is_file()

    def files(self) -> list[Path]:
        """The files of a local folder that determine the model; none for a hub id."""
        return model_files(Path(self.source))

    def planted(self) -> list[Path]:
        """The file of a planted direction, where there is one."""
        path = Path(self.source) / "planted.safetensors"
        return [path] if path.is_file() else []

    @model_validator(mode="after")
    def _known_size(self) -> "Model":
        if Path(self.source).is_dir():
            return self
        if self.source.startswith(("/", "./", "../", "~")) or self.source.count("/") != 1:
            raise ValueError(f"source {self.source!r} is neither a folder nor a hub id (owner/name)")
        for option in ("revision", "blocks", "parameters_b"):
            if getattr(self, option) is None:
                raise ValueError(f"{self.name}: a hub model needs {option}")
        return self

    def block_count(self) -> int:
        """Number of decoder blocks, from the stanza or the folder's config.json."""
        if self.blocks is not None:
            return self.blocks
        path = Path(self.source) / "config.json"
        try:
            config = json.loads(path.read_text())
            return int(config["num_hidden_layers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"model {self.name}: cannot read num_hidden_layers from {path}; give blocks in the study"
            ) from error


class Sampling(Options):
    """How continuations are drawn; every setting is explicit, none is left to the model's defaults."""

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7
    """Softmax temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus probability; 1 keeps all tokens."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Tokens kept; 0 keeps all."""
    max_new_tokens: Count = 200
    """Token limit of a generation."""


class Judge(Options):
    """Who rates texts by the concept's rubric: a model on this machine, or an endpoint."""

    model: Model | None = None
    """A model that is loaded for it; the likeliest level is its answer."""
    endpoint: Annotated[str, Field(pattern="^https?://")] | None = None
    """Base URL of an OpenAI-compatible endpoint, up to /v1; its key is read from PROBESTEER_JUDGE_KEY."""
    name: str | None = None
    """The model that the endpoint is asked for."""

    @model_validator(mode="after")
    def _one(self) -> "Judge":
        if (self.model is None) == (self.endpoint is None) or (self.endpoint is None) != (self.name is None):
            raise ValueError("give either model, or endpoint and name")
        return self


class PairsFile(Options):
    """Pairs from a file of your own, in the place of the concept's."""

    file: Annotated[str, Field(min_length=1)]
    """JSONL, CSV or Parquet, by its suffix."""
    url: Annotated[str, Field(pattern="^https?://")] | None = None
    """Where the file is downloaded from, if it is; best an address that names a commit."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the download; required with url."""
    columns: dict[Literal["id", "scenario", "split", "voice", "generator", "positive", "negative"], str] = {}
    """Which column holds what, where it has another name; only positive and negative must be there."""

    @model_validator(mode="after")
    def _pinned(self) -> "PairsFile":
        if (self.url is None) != (self.sha256 is None):
            raise ValueError("url and sha256 come together")
        return self


class Writing(Options):
    """Pairs that language models behind an API write, by `snakemake write_pairs`."""

    generators: Annotated[list[Annotated[str, Field(pattern=GENERATOR_PATTERN)]], Field(min_length=1)]
    """openai:MODEL or anthropic:MODEL, with @URL for another endpoint of that protocol; several take turns."""
    pairs: Count = 50
    """How many pairs are asked for."""


class Controls(Options):
    """Directions of the probe's length that should do nothing: orthogonal to it and, on organisms, to the planted one."""

    random: Annotated[int, Field(ge=0)] = 2
    """Random unit directions."""
    shuffled: Annotated[int, Field(ge=0)] = 1
    """Directions fitted with the labels of a random half of the training groups flipped."""

    def arms(self) -> list[str]:
        """Their names in paths and tables."""
        counts = {"random": self.random, "shuffled": self.shuffled}
        return [f"{kind}-{number}" for kind, count in counts.items() for number in range(1, count + 1)]


class Criteria(Options):
    """The bars of the verdict, fixed before the run and hashed into the report."""

    auroc: Share = 0.9
    """Least held-out AUROC of the selected layer."""
    gap: Share = 0.2
    """Least AUROC above the mean AUROC of random directions."""
    permutation_p: Share = 0.05
    """Most permutation p of the selected layer, the choice of the layer included, Holm-corrected over models."""
    ablation_drop: Share = 0.15
    """Most AUROC lost to the lexical ablation, and to taking out what length and formatting predict."""
    scenario_drop: Share = 0.15
    """Most AUROC lost, on average, in a scenario that the probe was not fitted on."""
    trend_alpha: Annotated[float, Field(gt=0)] = 5.0
    """The dose-response trend is tested over |alpha| up to this, in the study's unit."""
    trend_p: Share = 0.05
    """Most stratified permutation p of the trend, Holm-corrected over models and layers."""
    rate_change: Share = 0.2
    """Least change of the positive rate from the lowest to the highest alpha of the trend range."""
    baseline_coherent: Share = 0.5
    """Least coherent share of unsteered texts; below it no steering verdict is given."""


class Resources(Options):
    """What a job may use."""

    batch_rows: Count = 512
    """Most rows of a generation batch; what fits into memory is found out."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a job that loads a model."""
    mem_mb: Count = 2000
    """Host memory of a job without a model, and the part of a model job that does not depend on the model's size."""
    runtime: Count = 60
    """Minutes of a job's first attempt with a model of up to 8 billion parameters; larger ones get more in proportion."""
    temp_weights: bool = False
    """Fetch a hub model's weights below results/weights, for small disks: they are deleted when its jobs are done."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None = None
    """Price for the report's cost table; none prints hours only."""


class Study(Options):
    """One experiment: models x layers x scenarios x alphas on one concept."""

    study: Name
    """Name of the study; results go to results/<study>."""
    concept: Name
    """A folder of resources/concepts."""
    control_concept: Name | None = None
    """Another concept, whose direction should not tell this one's sides apart."""
    pairs: PairsFile | None = None
    """Contrastive pairs of your own; none takes the concept's."""
    writing: Writing | None = None
    """Who writes pairs, on demand."""
    scenarios: Annotated[list[Name], Field(min_length=1), AfterValidator(_unique)]
    """Scenarios of the concept in which models are steered."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models; a study file replaces the whole list of the default."""
    layers: Layers
    """Detection layers: 0-based decoder blocks (the output of block L); -1 is the embeddings."""
    steering_layers: Blocks
    """Layers steered at; each is probed too. An empty list leaves steering out."""
    alphas: Annotated[Alphas, Field(min_length=1)]
    """Doses of the direction; the grid holds 0."""
    alpha_unit: Literal["absolute", "separation", "residual"] = "absolute"
    """Unit of alpha: the unit direction itself, the training class separation, or the mean residual norm, at the site."""
    samples: Count = 5
    """Generations per cell."""
    sampling: Sampling = Sampling()
    """Temperature, top-p, top-k and token limit."""
    positions: Literal["all", "response"] = "all"
    """Where the direction is added: at every position, or from the first new token on."""
    engine: Literal["hf"] = "hf"
    """What generates: transformers with hooks."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of sampling, permutations, bootstrap and random directions."""
    method: Literal["mean_difference", "logistic", "lda", "pca_differences"] = "mean_difference"
    """How a direction is fitted to steer with; detection judges the mean difference and lists the others beside it."""
    ablations: Annotated[int, Field(ge=0)] = 3
    """Draws of the lexical ablation, where the concept has a word list: every text is captured that many times more."""
    controls: Controls = Controls()
    """Directions that are steered with beside the probe's, over the alphas of the trend range."""
    pooling: Literal["mean", "last", "response"] = "mean"
    """A text's vector: the mean over its tokens, its last token, or the mean where it stands as the answer to its scenario."""
    scorers: Annotated[list[Scorer], Field(min_length=1), AfterValidator(_unique)]
    """Scorers of generated texts; the first one decides the verdict."""
    judge: Judge | None = None
    """Who rates for the scorer rubric."""
    criteria: Criteria = Criteria()
    """The bars of the verdict, one option each."""
    resources: Resources = Resources()
    """GPUs, memory, minutes and batch size of the jobs."""

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [model.name for model in self.models]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"models: {repeated[0]} is given twice")
        if len({model.organism for model in self.models}) > 1:
            raise ValueError("models: organisms and real models in one study; a report never mixes them, write two studies")
        for model in self.models:
            blocks = model.block_count()
            for layer in self.layers_of(model):
                if layer >= blocks:
                    raise ValueError(f"models: {model.name} has no layer {layer}; its blocks are 0 to {blocks - 1}")
            if self.layers_of(model) in ([], [EMBEDDINGS]):
                raise ValueError(f"models: {model.name} has no block among its layers; a verdict needs one")
        if "rubric" in self.scorers and self.judge is None:
            raise ValueError("scorers: rubric needs a judge; give one")
        if self.control_concept == self.concept:
            raise ValueError("control_concept: it is the concept itself; name another one")
        if self.study in SHARED:
            raise ValueError(f"study: the name {self.study} is taken by a folder of results that studies share")
        return self

    @property
    def root(self) -> Path:
        return Path("results") / self.study

    @property
    def concept_folder(self) -> Path:
        return CONCEPTS / self.concept

    @property
    def pairs_path(self) -> Path:
        return Path(self.pairs.file) if self.pairs else self.concept_folder / PAIRS_FILE

    @property
    def pairs_columns(self) -> dict[str, str] | None:
        """Which column of the user's file holds what; none for the concept's own pairs."""
        return {str(field): column for field, column in self.pairs.columns.items()} if self.pairs else None

    @property
    def cells_root(self) -> Path:
        return self.root / "steering"

    def card_path(self, model: Model) -> Path:
        """Shared by all studies, as the activations are: the key holds what names the model."""
        return card_path(model.name, model)

    def activations_key(self, model: Model, pairs_digest: str) -> str:
        """Names model, texts and pooling, so that studies can share a cache and never mix two."""
        return digest([model.key, pairs_digest, self.pooling])[:12]

    def activations_path(self, model: str, key: str, concept: str | None = None) -> Path:
        """The cache of a model on the pairs of the study's concept, or of another one."""
        return Path("results/activations") / f"model={model}" / f"concept={concept or self.concept}" / f"{key}.parquet"

    def probe_path(self, model: Model, layer: int) -> Path:
        return self.root / "probes" / f"model={model.name}" / f"layer={layer}" / "probe.safetensors"

    def detection_path(self, model: Model) -> Path:
        return self.root / "detection" / f"model={model.name}" / "detection.parquet"

    def texts_path(self, model: Model) -> Path:
        return self.root / "texts" / f"model={model.name}" / "texts.parquet"

    def scores_path(self, model: Model, scorer: str) -> Path:
        return self.root / "scores" / f"model={model.name}" / f"scorer={scorer}" / "scores.parquet"

    def benchmark_path(self, rule: str, model: str, *axes: str | int) -> Path:
        return self.root.joinpath("benchmarks", rule, ".".join(map(str, [model, *axes])) + ".tsv")

    def benchmark_paths(self, model: Model) -> list[Path]:
        """Benchmark files of the jobs without a model."""
        probes = [self.benchmark_path("probe", model.name, layer) for layer in self.layers_of(model)]
        scores = [self.benchmark_path("score", model.name, scorer) for scorer in self.scorers]
        return [*probes, self.benchmark_path("detect", model.name), *scores]

    def __getitem__(self, name: str) -> Model:
        """The model of that name."""
        return next(model for model in self.models if model.name == name)

    def steering_layers_of(self, model: Model) -> list[int]:
        return self.steering_layers if model.steering_layers is None else model.steering_layers

    def layers_of(self, model: Model) -> list[int]:
        """Probed layers: the detection layers and the steering layers, in order."""
        return sorted({*(self.layers if model.layers is None else model.layers), *self.steering_layers_of(model)})

    def alphas_of(self, model: Model) -> list[float]:
        return self.alphas if model.alphas is None else model.alphas

    def max_new_tokens_of(self, model: Model) -> int:
        return model.max_new_tokens or self.sampling.max_new_tokens

    def cells(self, model: Model, layer: int) -> list["Cell"]:
        """The steered cells of a (model, layer), control arms included; alpha = 0 is the baseline's."""
        return self.layer_cells(model.name, layer, self.alphas_of(model))

    def layer_cells(self, model: str, layer: int | str, alphas: Sequence[float]) -> list["Cell"]:
        """The same by names, which may be wildcards."""
        return steered_cells(model, layer, self.scenarios, alphas, self.controls.arms(), self.criteria.trend_alpha)

    def unsteered_cells(self, model: Model) -> list["Cell"]:
        """The baseline and the prompted cells of a model: once per scenario."""
        return unsteered_cells(model.name, self.scenarios)

    def jobs_cells(self, model: Model) -> list[list["Cell"]]:
        """The cells of each job of a model that is steered at all: the baseline's, then those of each layer."""
        layers = self.steering_layers_of(model)
        return [self.unsteered_cells(model), *(self.cells(model, layer) for layer in layers)] if layers else []

    def all_cells(self, model: Model) -> Iterator["Cell"]:
        """Every cell of a model that is steered at all."""
        for cells in self.jobs_cells(model):
            yield from cells

    def results(self, texts_digest: str, control_digest: str | None = None) -> Iterator[Path]:
        """Every sealed file that the study makes beside its cells; the digests are of what activations depend on."""
        for model in self.models:
            steered = self.steering_layers_of(model)
            yield self.card_path(model)
            yield self.activations_path(model.name, self.activations_key(model, texts_digest))
            if control_digest is not None:
                yield self.activations_path(model.name, self.activations_key(model, control_digest), self.control_concept)
            yield from (self.probe_path(model, layer) for layer in steered)
            yield self.detection_path(model)
            if steered:
                yield self.texts_path(model)
                yield from (self.scores_path(model, scorer) for scorer in self.scorers)

    def alpha_grids(self) -> dict[tuple[float, ...], list[str]]:
        """The distinct alpha grids with the names of the steered models that use them."""
        grids: dict[tuple[float, ...], list[str]] = {}
        for model in self.models:
            if self.steering_layers_of(model):
                grids.setdefault(tuple(self.alphas_of(model)), []).append(model.name)
        return grids

    def digest(self) -> str:
        """SHA-256 of every setting."""
        return digest(self.model_dump())

    def save(self, path: str | Path) -> None:
        """Write the study with every default filled in; `load_study` reads it back."""
        Path(path).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def is_saved(self, path: Path) -> bool:
        """Whether the file at `path` is what `save` writes of this study."""
        try:
            return path.read_text(encoding="utf-8") == self.model_dump_json(indent=1) + "\n"
        except (OSError, UnicodeDecodeError):
            return False


class Cell(NamedTuple):
    """One point of the steering grid: the unit of reuse. Unsteered cells have no layer and alpha 0."""

    arm: str
    model: str
    scenario: str
    layer: int | str | None = None
    alpha: float = 0.0

    def path(self, root: Path) -> Path:
        """Hive-style path below `root`: the axes are in the path, not in the file."""
        steered = [] if self.layer is None else [f"layer={self.layer}"]
        dose = [] if self.layer is None else [f"alpha={alpha_label(self.alpha)}"]
        parts = [f"arm={self.arm}", f"model={self.model}", *steered, f"scenario={self.scenario}", *dose, "cell.parquet"]
        return root / "/".join(parts)


def card_path(name: str, model: Model) -> Path:
    """The card of a model under a name."""
    return Path("results/models") / name / f"{model.key}.json"


def steered_cells(
    model: str, layer: int | str, scenarios: Sequence[str], alphas: Sequence[float], controls: Sequence[str], limit: float
) -> list[Cell]:
    """The cells of a (model, layer) without alpha 0: the probe's, and those of control arms, which stop at |alpha| = limit."""
    return [
        Cell(arm, model, scenario, layer, alpha)
        for arm in (PROBE_ARM, *controls)
        for scenario in scenarios
        for alpha in alphas
        if alpha != 0 and (arm == PROBE_ARM or abs(alpha) <= limit)
    ]


def unsteered_cells(model: str, scenarios: Iterable[str]) -> list[Cell]:
    """The baseline and the prompted cells of a model."""
    return [Cell(arm, model, scenario) for arm in (BASELINE_ARM, *PROMPTED_ARMS) for scenario in scenarios]


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a checkpoint's folder that determine what it computes."""
    return sorted(file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.name not in ORGANISM_FILES)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_study(config: Mapping[str, Any], files: Sequence[Path]) -> Study:
    """Check a config that was merged from `files`, the last one winning.

    The first problem becomes one InputError line that names its file and key; a key that stands in no file was given on
    the command line.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        problems = error.errors()
        first = problems[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "unknown option; config/README.md lists them all"
        elif first["type"] == "missing":
            message = "required option is missing"
        elif not isinstance(first["input"], Mapping | Options):
            message += f" (got {str(first['input'])[:60]!r})"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        where = _where(str(first["loc"][0]), config, files) if first["loc"] else ", ".join(map(str, files))
        raise InputError(f"{where}: {key}{': ' if key else ''}{message}{more}") from None


def _where(option: str, config: Mapping[str, Any], files: Sequence[Path]) -> str:
    """The last file that sets an option to what the config holds, or --config where none does."""
    for path in reversed(files):
        given = read_mapping(path)
        if option in given and (isinstance(given[option], Mapping) or given[option] == config[option]):
            return str(path)
    return "--config" if option in config else str(files[-1])


def merge(base: dict[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Layer one config over another as Snakemake does: mappings merge, all else is replaced."""
    merged = dict(base)
    for key, value in update.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(dict(merged[key]), value) if both else value
    return merged


def load_study(*paths: Path) -> Study:
    """Read study files, each layered over the one before it. Raises InputError."""
    config: dict[str, Any] = {}
    for path in paths:
        config = merge(config, read_mapping(path))
    return parse_study(config, paths)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping. Raises InputError."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: a mapping of options is expected")
    return loaded
