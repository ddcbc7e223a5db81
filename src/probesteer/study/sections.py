"""The sections of a study file, one class each."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probesteer.study.cells import FLIPPED, RANDOM
from probesteer.study.model import Model
from probesteer.study.options import (
    GENERATOR_PATTERN,
    URL_PATTERN,
    Count,
    GameName,
    Name,
    Options,
    Share,
    VariantName,
    unique,
)

MOST_CONTROLS = 1000  # directions of a kind: each is a sweep of its own
ALL = "all"
PAIR_FILES = (".jsonl", ".csv", ".tsv", ".parquet")
PairColumn = Literal[
    "id",
    "situation",
    "scenario",
    "split",
    "voice",
    "generator",
    "generator_positive",
    "generator_negative",
    "positive",
    "negative",
]
# Below results/ or resources/, in folders and under a name that begin with a letter, a digit or _, of a kind that holds pairs.
DOWNLOADED = r"(results|resources)(/\w[\w .-]*)+\.(csv|tsv|jsonl|parquet)"


class Sampling(Options):
    """How continuations are drawn; every setting is explicit, none is left to the model's defaults."""

    temperature: Annotated[float, Field(ge=0)] = 0.7
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
    endpoint: Annotated[str, Field(pattern=URL_PATTERN)] | None = None
    """Base URL of an OpenAI-compatible endpoint, up to /v1; its key is PROBESTEER_JUDGE_KEY, its answers are kept."""
    name: str | None = None
    """The model that the endpoint is asked for."""

    @model_validator(mode="after")
    def _one(self) -> "Judge":
        if (self.model is None) == (self.endpoint is None) or (self.endpoint is None) != (self.name is None):
            raise ValueError("give either model, or endpoint and name")
        return self

    def among(self, models: Iterable[Model]) -> str | None:
        """The name of a model that this judge is, by its source or by what the endpoint is asked for."""
        name = (self.name or "").lower()
        for model in models:
            asked = {model.name.lower(), model.source.lower(), model.source.rpartition("/")[2].lower()}
            if self.model.source == model.source if self.model else name in asked:
                return model.name
        return None


class Factor(Options):
    """What pairs are crossed with, such as the tone: they come in two levels of it, and both texts of a pair have the same."""

    title: Annotated[str, Field(min_length=1)]
    """Name in the report."""
    levels: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=2, max_length=2), AfterValidator(unique)]
    """The two values of its column in the pairs; its direction points from the second to the first."""


def _columns(factors: dict[str, Factor]) -> dict[str, Factor]:
    """Factors none of which bears the name of a column that pairs have anyway."""
    if taken := [name for name in factors if name in get_args(PairColumn)]:
        raise ValueError(f"{taken[0]} is the name of another column of pairs; choose another one")
    return factors


Factors = Annotated[dict[Name, Factor], AfterValidator(_columns)]


def levels(factors: Mapping[str, Factor]) -> dict[str, list[str]]:
    """The two levels of each factor."""
    return {name: factor.levels for name, factor in factors.items()}


def _readable(file: str) -> str:
    """A file whose suffix says how it is read."""
    if not file.lower().endswith(PAIR_FILES):
        raise ValueError(f"{file} ends in none of {', '.join(PAIR_FILES)}, by which it is read")
    return file


def require_pinned(file: str, url: str | None, sha256: str | None) -> None:
    """Raise ValueError for a download without a digest, or to a place that is not for it."""
    if url and not sha256:
        raise ValueError("url comes with sha256, of what is there")
    if url and not re.fullmatch(DOWNLOADED, file):
        raise ValueError("file: a download goes below results/ or resources/ and ends in .csv, .tsv, .jsonl or .parquet")


PairsName = Annotated[str, AfterValidator(_readable)]
Address = Annotated[str, Field(pattern=URL_PATTERN)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PairsSource(Options):
    """One of several files of pairs."""

    file: PairsName
    """JSONL, CSV, TSV or Parquet, by its suffix; a download goes below results/ or resources/."""
    url: Address | None = None
    """Where the file is downloaded from, if it is."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; required with url."""
    split: Literal["train", "test"] | None = None
    """The split of all its pairs, where splits are files of their own."""

    @model_validator(mode="after")
    def _pinned(self) -> "PairsSource":
        require_pinned(self.file, self.url, self.sha256)
        return self


def _together(sources: list[PairsSource]) -> list[PairsSource]:
    """Files that are named once, and give all their splits or none."""
    unique([source.file for source in sources])
    if len({source.split is None for source in sources}) > 1:
        raise ValueError("split is given for some files; give it for all, or for none")
    return sources


class PairsFile(Options):
    """Pairs from a file of your own, in the place of the concept's."""

    file: PairsName | None = None
    """JSONL, CSV, TSV or Parquet, by its suffix; a download goes below results/ or resources/."""
    url: Address | None = None
    """Where the file is downloaded from, if it is; best an address that names a commit."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; required with url."""
    files: Annotated[list[PairsSource], AfterValidator(_together)] = []
    """Several files that are read as one, in the place of file, each with a url and sha256 of its own, and with its split."""
    columns: dict[PairColumn, str] = {}
    """Which column holds what, where it has another name; only positive and negative must be there."""
    title: str | None = None
    """What the report calls the behaviour of these pairs; none names the file."""
    description: str | None = None
    """One sentence: what their positive side does."""
    words: Annotated[list[Annotated[str, Field(min_length=1)]], AfterValidator(unique)] = []
    """Words that tell their sides apart, for the lexical ablation and the keyword count; none leaves both out."""
    factors: Factors = {}
    """Crossed factors, each a column of the file: `tone: {title: Tone, levels: [warm, plain]}`."""

    @model_validator(mode="after")
    def _one_or_several(self) -> "PairsFile":
        if self.file and not self.files:
            require_pinned(self.file, self.url, self.sha256)
        elif self.file or not self.files:
            raise ValueError("give file, or files")
        elif self.url or self.sha256:
            raise ValueError("url and sha256 stand with each of the files")
        return self

    @property
    def sources(self) -> list[PairsSource]:
        """The files, one or several."""
        return self.files if self.file is None else [PairsSource(file=self.file, url=self.url, sha256=self.sha256)]

    @property
    def downloads(self) -> list[PairsSource]:
        """The files that have an address."""
        return [source for source in self.sources if source.url]

    @property
    def missing(self) -> list[PairsSource]:
        """Those of them that are not there yet."""
        return [source for source in self.downloads if not Path(source.file).exists()]


class Writing(Options):
    """Pairs that language models behind an API write, by `snakemake write_pairs`."""

    generators: Annotated[list[Annotated[str, Field(pattern=GENERATOR_PATTERN)]], Field(min_length=1)]
    """openai:MODEL or anthropic:MODEL, with @URL for another endpoint of that protocol; several take turns."""
    pairs: Count = 50
    """How many pairs are asked for."""


class Controls(Options):
    """Directions that are steered with beside the probe's, by pushes of the same length."""

    random: Annotated[int, Field(ge=0, le=MOST_CONTROLS)] = 2
    """Random ones, orthogonal to the probe's and, on organisms, to the planted one: what any push does, not judged."""
    flipped: Annotated[int, Field(ge=0, le=MOST_CONTROLS)] = 19
    """Refitted with the labels of a random half of the training groups flipped, for the test of specificity.

    9 are the fewest that can show it; 0 leaves the test out, and "steerable" is then not shown specific.
    """

    def arms(self) -> list[str]:
        """Their names in paths and tables."""
        counts = {RANDOM: self.random, FLIPPED: self.flipped}
        return [f"{kind}-{number}" for kind, count in counts.items() for number in range(1, count + 1)]


def _listed_games(given: object) -> object:
    if isinstance(given, str) and given != ALL:
        raise ValueError("a list of games, or all, is expected")
    return list(get_args(GameName)) if given == ALL else given


def _games_alone(given: object) -> object:
    """`games: all` and a list of names stand for the games with every other option at its default."""
    return {"play": given} if isinstance(given, str | list) else given


class Games(Options):
    """Games that models play, steered and not, at alphas of the trend range; none are played without this section."""

    play: Annotated[
        list[GameName],
        Field(min_length=1),
        BeforeValidator(_listed_games, json_schema_input_type=Literal["all"] | list[GameName]),
        AfterValidator(unique),
    ] = list(get_args(GameName))
    """Which games, or all; `games: all` is short for it."""
    episodes: Count = 20
    """Episodes of each game, variant, dose and direction; their seeds are 0, 1, ..."""
    variants: Annotated[list[VariantName], Field(min_length=1), AfterValidator(unique)] = ["default"]
    """default: someone sad asks; no_need: nobody asks; hostile: the one who asks is; child: it is a child."""
    decides: Literal["answer", "odds"] = "answer"
    """What is played: the action in the model's free answer, or one drawn by the likelihoods of the possible actions.

    odds generates no text: for models whose answers are no actions, and at a fraction of the time. Nothing is then said.
    """
    max_new_tokens: Count = 60
    """Token limit of an answer."""


GameOptions = Annotated[Games, BeforeValidator(_games_alone, json_schema_input_type=Literal["all"] | list[GameName] | Games)]


class Criteria(Options):
    """The bars of the verdict, fixed before the run and hashed into the report."""

    auroc: Share = 0.9
    """Least held-out AUROC of the selected layer."""
    scenario_auroc: Share = 0.85
    """Least mean AUROC in scenarios that the probe was not fitted on, where there are several; its interval lies above 1/2."""
    scenario_dprime: Share = 0.5
    """Least share of the held-out d' that is left in those scenarios: directions that differ by scenario keep less."""
    factor_auroc: Share = 0.85
    """Least mean AUROC, both ways, of a direction fitted in one level of a crossed factor and read in the other one."""
    factor_dprime: Share = 0.5
    """Least share of the held-out d' that is left with the direction of a crossed factor taken out, and by their cosine."""
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
    """Least change, from the lowest to the highest alpha of the trend range, of the rate and of that among coherent texts."""
    specificity_p: Share = 0.05
    """Most p of the probe's rate change among those of directions refitted on flipped labels."""
    agreement: Share = 0.6
    """Least lower end of the interval of Cohen's kappa with every human rater, where a judge decides (above it "substantial").

    Landis and Koch 1977, Biometrics 33.
    """
    baseline_coherent: Share = 0.5
    """Least coherent share of unsteered texts; below it no steering verdict is given."""


class Compare(Options):
    """What is compared between the study's models beside their agreement, which always is."""

    transfer: bool = False
    """Carry each model's direction into every other model, by maps fitted on texts without the behaviour."""
    causes: bool = False
    """Exchange outputs of blocks, attention and MLP between prompts for and against the behaviour, and take directions out."""
    maps: Annotated[int, Field(ge=19)] = 200
    """Maps fitted on shuffled texts, among which the statistics of a carried direction are ranked."""


class Resources(Options):
    """What a job may use."""

    batch_rows: Count = 512
    """Most rows of a generation batch; what fits into memory is found out."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a job that loads a model."""
    mem_mb: Count = 2000
    """Host memory of a job without a model, and the part of a model job that does not depend on its size; a retry gets more."""
    runtime: Count = 60
    """Minutes of a job's first attempt with a model of up to 8 billion parameters; larger ones get more in proportion."""
    temp_weights: bool = False
    """Fetch a hub model's weights below results/weights, for small disks: they are deleted when its jobs are done."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None = None
    """Price for the report's cost table; none prints hours only."""
