"""The typed study: one experiment, checked, and the layers, doses and cells that follow from it."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from probesteer.errors import InputError
from probesteer.files.digests import digest
from probesteer.files.whole import write_text
from probesteer.study.cells import CALIBRATION_ARM, UNSTEERED_PLAYERS, Cell, steered_cells, unsteered_cells
from probesteer.study.model import Model
from probesteer.study.options import (
    AUTO,
    COHERENCE,
    DOSED,
    EMBEDDINGS,
    Alphas,
    Blocks,
    Count,
    Layers,
    Name,
    Options,
    Scorer,
    Site,
    Unit,
    unique,
)
from probesteer.study.paths import (
    CONCEPTS,
    CORPUS_TABLES,
    CORRELATION,
    EFFECTS,
    FIGURES,
    GAME_TABLES,
    PAIRS_FILE,
    SHARED,
    STEERED_FIGURES,
    TABLES,
    Paths,
)
from probesteer.study.sections import Compare, Controls, Criteria, GameOptions, Judge, PairsFile, Resources, Sampling, Writing

JUDGE_PREFIX = "judge."  # of a judge's name in paths
MOST_ABLATIONS = 1000  # draws
LEAST_FORETOLD = 8  # steered (model, block), below which nothing is said of what foretells the steering
PERMUTATION_STEPS = (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)


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
    scenarios: Annotated[list[Name], Field(min_length=1), AfterValidator(unique)] | None = None
    """Scenarios of the concept in which models are steered; none takes all of them."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models."""
    layers: Layers | None = None
    """Detection layers: decoder blocks counted from 0 (the output of block L; -1 is the embeddings), or shares of the depth.

    None takes the embeddings and every block.
    """
    steering_layers: Blocks = [0.4, 0.6]
    """Layers steered at, and probed: blocks, or shares of the depth (0.4 of 30 blocks is block 12). [] leaves steering out.

    auto is the block, among the detection layers, that the training pairs favour before anything is generated.
    """
    alphas: Alphas = [-8, -4, -2, -1, 0, 1, 2, 4, 8]
    """Doses of the direction; the grid holds 0.

    auto is -1 to 1 in steps of 0.25, up to where text breaks, and implies alpha_unit coherence.
    """
    alpha_unit: Unit = "separation"
    """Unit of alpha: the training class separation at the site, its mean residual norm, or the unit direction (absolute).

    kl: the push at which the worst 5 % of the tokens of neutral texts lie 1 nat from the unsteered model on average, the way
    that moves them more. coherence: the push at which 65 % of texts are coherent, the way that breaks more. A job finds both.
    """
    samples: Count = 20
    """Generations per cell; `probesteer check` says what change so many find."""
    sampling: Sampling = Sampling()
    """Temperature, top-p, top-k and token limit."""
    positions: Literal["all", "response"] = "all"
    """Where the direction is added: at every position, or from the first new token on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of sampling, permutations, bootstrap and random directions."""
    method: Literal["mean_difference", "logistic", "lda", "pca_differences"] = "mean_difference"
    """How a direction is fitted to steer with; detection judges the mean difference and lists the others beside it."""
    ablations: Annotated[int, Field(ge=0, le=MOST_ABLATIONS)] = 3
    """Draws of the lexical ablation, where the pairs have a word list: every text is captured that many times more."""
    controls: Controls = Controls()
    """Directions that are steered with beside the probe's, at alphas of the trend range."""
    pooling: Literal["mean", "last", "response"] = "mean"
    """A text's vector: the mean over its tokens, its last token, or the mean where it stands as the answer to its scenario."""
    max_text_tokens: Count | None = None
    """Tokens of a text that are captured; none takes as many as the model reads. What is cut is counted."""
    scorers: Annotated[list[Scorer], AfterValidator(unique)] = []
    """Scorers of generated texts, required where models are steered; the first one decides the verdict."""
    judge: Judge | None = None
    """Who rates for the scorer rubric; none of the models."""
    ratings: Annotated[list[str], AfterValidator(unique)] = []
    """CSV files that people filled in, one a rater (`probesteer ratings` writes them): a verdict by a judge needs agreement."""
    correlation: bool = False
    """Whether each model reads what was written: projections of texts against their scores, and the best blocks."""
    games: Annotated[GameOptions | None, Field(exclude_if=lambda games: games is None)] = None
    """Games that steered models play: all, a list of names, or the section `games:`; none plays none."""
    compare: Compare = Compare()
    """What is compared between models."""
    criteria: Criteria = Criteria()
    """The bars of the verdict, one option each."""
    resources: Resources = Resources()
    """GPUs, memory, minutes and batch size of the jobs."""

    @model_validator(mode="before")
    @classmethod
    def _auto_unit(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        auto, unit = given.get("alphas") == AUTO, given.get("alpha_unit", COHERENCE)
        models = [model for model in given.get("models") or [] if isinstance(model, dict) and model.get("alphas") == AUTO]
        if unit != COHERENCE and (auto or models):
            raise ValueError(f"alphas: auto are in the unit {COHERENCE}, and alpha_unit is {unit}; leave alpha_unit out")
        if models and not auto and "alpha_unit" not in given:
            raise ValueError(f"models: {models[0].get('name')}: alphas: auto needs alpha_unit: {COHERENCE} of the whole study")
        return {**given, "alpha_unit": COHERENCE} if auto else given

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        if len(self._by_name) < len(self.models):
            names = [model.name for model in self.models]
            raise ValueError(f"models: {next(name for name in names if names.count(name) > 1)} is given twice")
        if len({model.organism for model in self.models}) > 1:
            raise ValueError("models: organisms and real models in one study; a report never mixes them, write two studies")
        for model in self.models:
            self._check_layers(model)
            self._check_alphas(model)
        if self.steered and not self.scorers:
            raise ValueError("scorers: models are steered and no scorer is named; name one, or set steering_layers: []")
        if self.compare.transfer and not self.compared:
            raise ValueError("compare.transfer: there is one model; name another one to carry its direction into")
        if "rubric" in self.scorers and self.judge is None:
            raise ValueError("scorers: rubric needs a judge; give one")
        if self.judge and (own := self.judge.among(self.models)):
            raise ValueError(f"judge: it is {own} of the study, and no model rates itself; name another judge")
        if self.control_concept == self.concept:
            raise ValueError("control_concept: it is the concept itself; name another one")
        if reserved := [model.name for model in self.models if model.name.startswith(JUDGE_PREFIX)]:
            raise ValueError(f"models: {reserved[0]}: names that begin with {JUDGE_PREFIX} are a judge's; choose another")
        if self.games and not self.steered:
            raise ValueError("games: steered models play them, and no model is steered; name steering_layers, or leave it out")
        if self.study in SHARED:
            raise ValueError(f"study: the name {self.study} is taken by a folder of results that studies share")
        return self

    def _check_layers(self, model: Model) -> None:
        blocks = model.block_count()
        for layer in self.layers_of(model):
            if layer >= blocks:
                raise ValueError(f"models: {model.name} has no layer {layer}; its blocks are 0 to {blocks - 1}")
        if self.layers_of(model) in ([], [EMBEDDINGS]):
            raise ValueError(f"models: {model.name} has no block among its layers; a verdict needs one")

    def _check_alphas(self, model: Model) -> None:
        limit = self.criteria.trend_alpha
        if self.steering_layers_of(model) and not any(0 < abs(alpha) <= limit for alpha in self.alphas_of(model)):
            at = f"models: {model.name}: alphas" if model.alphas else "alphas"
            raise ValueError(f"{at}: none but 0 is within criteria.trend_alpha = {limit:g}, where the trend is tested; add one")

    @property
    def paths(self) -> Paths:
        return Paths(self.study)

    @property
    def concept_folder(self) -> Path:
        return CONCEPTS / self.concept

    @property
    def pairs_paths(self) -> list[Path]:
        """The files that hold the study's pairs."""
        return [Path(source.file) for source in self.pairs.sources] if self.pairs else [self.concept_folder / PAIRS_FILE]

    @cached_property
    def _by_name(self) -> dict[str, Model]:
        return {model.name: model for model in self.models}

    def __getitem__(self, name: str) -> Model:
        """The model of that name. Raises InputError for one that the study does not have."""
        if name not in self._by_name:
            raise InputError(f"model {name}: not in the study; it has {', '.join(self._by_name)}")
        return self._by_name[name]

    @property
    def judges(self) -> dict[str, Model]:
        """The model that rates by the rubric, where the study has one on this machine, by its name in paths."""
        return {f"{JUDGE_PREFIX}{self.judge.model.name}": self.judge.model} if self.judge and self.judge.model else {}

    def loaded(self, name: str) -> Model:
        """A model of the study, or its judge. Raises InputError."""
        return self.judges.get(name) or self[name]

    def weights(self, name: str) -> Path | None:
        """The folder where a job writes a model's weights: dequantised, or fetched for a time; None for what lies elsewhere."""
        model = self.loaded(name)
        made = model.gguf or (self.resources.temp_weights and not model.local)
        return self.paths.weights(name, model.key) if made else None

    @property
    def steered(self) -> list[Model]:
        """The models that are steered at all."""
        return [model for model in self.models if self.steering_layers_of(model)]

    def steering_layers_of(self, model: Model) -> list[Site]:
        """The sites at which a model is steered: blocks, in order, or the one that is chosen by its forecast."""
        given = self.steering_layers if model.steering_layers is None else model.steering_layers
        return [AUTO] if given == [AUTO] else [*_blocks(given, model)]

    @property
    def dosed(self) -> bool:
        """Whether a job finds what alpha 1 is."""
        return self.alpha_unit in DOSED

    @property
    def detection_permutations(self) -> int:
        """Label permutations of a model's detection."""
        return _permutations(len(self.models), self.criteria.permutation_p)

    @property
    def compared(self) -> bool:
        """Whether there are models to compare."""
        return len(self.models) > 1

    def authors_of(self, model: str) -> list[str]:
        """Whose texts a model reads: its own, and those of the first steered model, which all read."""
        return list(dict.fromkeys([model, self.steered[0].name]))

    @property
    def figures(self) -> list[str]:
        """The figures of its report."""
        more = {"agreement": self.compared, "transfer": self.compare.transfer, "causes": self.compare.causes}
        more["behavioural_correlation"] = self.correlation
        more["foretold"] = sum(len(self.steering_layers_of(model)) for model in self.models) >= LEAST_FORETOLD
        return [*FIGURES, *STEERED_FIGURES * bool(self.steered), *(name for name, wanted in more.items() if wanted)]

    def comparisons(self, model: Model) -> list[Path]:
        """The files in which the report reads what models have in common, and concepts."""
        control = self.control_concept is not None
        tables = ["readings"] * self.compared + ["independence"] * control + ["transfer"] * self.compare.transfer
        return [self.paths.compared(model.name, table) for table in tables]

    def corpora(self, model: Model) -> list[Path]:
        """The files that directions are carried by."""
        tables = CORPUS_TABLES if self.compare.transfer else []
        return [self.paths.compared(model.name, table) for table in tables]

    def layers_of(self, model: Model) -> list[int]:
        """Probed layers: the detection layers and the steering layers, in order."""
        given = self.layers if model.layers is None else model.layers
        detected = [EMBEDDINGS, *range(model.block_count())] if given is None else _blocks(given, model)
        return sorted({*detected, *(site for site in self.steering_layers_of(model) if site != AUTO)})

    def alphas_of(self, model: Model) -> list[float]:
        return self.alphas if model.alphas is None else model.alphas

    def sampling_of(self, model: Model) -> Sampling:
        """How continuations of a model are drawn: its own token limit stands before the study's."""
        limit = model.max_new_tokens or self.sampling.max_new_tokens
        return self.sampling.model_copy(update={"max_new_tokens": limit})

    def scenario_names(self) -> list[str]:
        """The scenarios; `concepts.data.with_scenarios` has filled them in where the study leaves them out."""
        assert self.scenarios is not None, "the scenarios of the concept: with_scenarios fills them in"
        return self.scenarios

    def cells(self, model: str, layer: int | str, alphas: list[float]) -> list[Cell]:
        """The steered cells of a (model, layer), which may be wildcards, control arms included; alpha = 0 is the baseline's."""
        return steered_cells(model, layer, self.scenario_names(), alphas, self.controls.arms(), self.criteria.trend_alpha)

    def jobs_cells(self, model: Model) -> list[list[Cell]]:
        """The cells of each job of a model that is steered at all: the baseline's, then those of each layer."""
        layers = self.steering_layers_of(model)
        steered = [self.cells(model.name, layer, self.alphas_of(model)) for layer in layers]
        return [unsteered_cells(model.name, self.scenario_names()), *steered] if layers else []

    @property
    def players(self) -> list[Model]:
        """The models that play games."""
        return self.steered if self.games else []

    def games_read(self, model: str) -> list[str]:
        """The models whose games a model reads, where they write in them: its `authors_of`."""
        write = self.correlation and self.games is not None and self.games.decides == "answer"
        return self.authors_of(model) if write else []

    @property
    def tables(self) -> list[str]:
        """The tables of the report."""
        more = dict.fromkeys(["agreement", "scale", "scaling"], self.compared)
        more |= {"independence": self.control_concept is not None}
        more |= {"transfer": self.compare.transfer, "causes": self.compare.causes}
        more |= dict.fromkeys(["forecast", "doses", "foretold", *EFFECTS], bool(self.steered))
        more |= dict.fromkeys(CORRELATION, self.correlation) | dict.fromkeys(GAME_TABLES, self.games is not None)
        return [*TABLES, *(name for name, wanted in more.items() if wanted)]

    def game_cells(self, model: str, layer: int | str | None, alphas: Sequence[float] = ()) -> list[Cell]:
        """The cells of games of a (model, layer), which may be wildcards, or the unsteered ones; the scenario is the game."""
        games, limit = (self.games.play if self.games else []), self.criteria.trend_alpha
        if layer is None:
            return unsteered_cells(model, games, UNSTEERED_PLAYERS)
        within = [alpha for alpha in alphas if abs(alpha) <= limit]
        return steered_cells(model, layer, games, within, self.controls.arms(), limit)

    def game_jobs(self, model: Model) -> list[list[Cell]]:
        """The cells of each job that plays games with a model: the unsteered ones, then those of each layer."""
        if not (self.games and self.steering_layers_of(model)):
            return []
        steered = [self.game_cells(model.name, layer, self.alphas_of(model)) for layer in self.steering_layers_of(model)]
        return [self.game_cells(model.name, None), *steered]

    def calibration_cells(self, model: Model) -> list[Cell]:
        """The cells that a dose in the unit coherence is found against; none in other units."""
        cells = unsteered_cells(model.name, self.scenario_names()) if self.alpha_unit == COHERENCE else []
        return [cell for cell in cells if cell.arm == CALIBRATION_ARM]

    def all_cells(self, model: Model) -> Iterator[Cell]:
        """Every cell of a model that is steered at all."""
        for cells in self.jobs_cells(model):
            yield from cells

    def alpha_grids(self) -> dict[tuple[float, ...], list[str]]:
        """The distinct alpha grids with the names of the steered models that use them."""
        grids: dict[tuple[float, ...], list[str]] = {}
        for model in self.steered:
            grids.setdefault(tuple(self.alphas_of(model)), []).append(model.name)
        return grids

    @property
    def trend_tests(self) -> int:
        """The (model, layer) over which Holm's correction of the trends goes."""
        return sum(len(self.steering_layers_of(model)) for model in self.models)

    @property
    def trend_permutations(self) -> int:
        """Permutations of a trend's test."""
        return _permutations(self.trend_tests, self.criteria.trend_p)

    def digest(self) -> str:
        """SHA-256 of every setting."""
        return digest(self.model_dump())

    def save(self, path: Path) -> None:
        """Write the study with every default filled in; `load_study` reads it back."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    def is_saved(self, path: Path) -> bool:
        """Whether the file at `path` is what `save` writes of this study."""
        try:
            return path.read_text(encoding="utf-8") == self.model_dump_json(indent=1) + "\n"
        except (OSError, UnicodeDecodeError):
            return False


def _permutations(tests: int, bar: float) -> int:
    """Permutations of one of a family of tests: the least p, times the tests, is a fifth of the bar at most; in steps.

    So a further model re-runs no other one's jobs, unless it takes the study over a step.
    """
    needed = 5 * tests / max(bar, 1e-9)
    return next((count for count in PERMUTATION_STEPS if count >= needed), PERMUTATION_STEPS[-1])


def _blocks(given: Sequence[float | str], model: Model) -> list[int]:
    """Layers as indices: a share s of B blocks is block floor(s B)."""
    return sorted({int(depth * model.block_count()) if isinstance(depth, float) else int(depth) for depth in given})
