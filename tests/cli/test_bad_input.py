"""Whatever a user gets wrong: one clear line, exit code 2, nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from conftest import ROOT
from safetensors.numpy import save

from probesteer.cli import main
from probesteer.files.tables import write_table
from probesteer.study import Paths
from probesteer.study.load import merge

LLAMA = {"name": "llama", "source": "resources/organisms/llama"}
HUB = {
    "name": "hub",
    "source": "owner/model",
    "revision": "abc",
    "blocks": 4,
    "parameters_b": 1.0,
    "layers": [1],
    "steering_layers": [],
}
PAIR = {"id": "a", "scenario": "the_maze", "split": "train", "voice": "v", "positive": "one side", "negative": "other side"}

# name: (options laid over the demo, what the line must say)
STUDIES: dict[str, tuple[dict, str]] = {
    "unknown key": ({"layerz": [1]}, "layerz: unknown option"),
    "unknown nested key": ({"sampling": {"temperatur": 1}}, "sampling.temperatur: unknown option"),
    "unknown model key": ({"models": [{**LLAMA, "alpha": 1}]}, "models.0.alpha: unknown option"),
    "missing option": ({"models": [{"name": "x"}]}, "models.0.source: required option is missing"),
    "no models": ({"models": []}, "models: "),
    "duplicate models": ({"models": [LLAMA, LLAMA]}, "llama is given twice"),
    "organism beside a real model": ({"models": [LLAMA, HUB]}, "never mixes"),
    "layer that the model does not have": ({"layers": [0, 6]}, "has no layer 6; its blocks are 0 to 5"),
    "steering layer that the model does not have": ({"steering_layers": [9]}, "has no layer 9"),
    "negative steering layer": ({"steering_layers": [-1]}, "steering_layers.0: "),
    "layer below the embeddings": ({"layers": [-2]}, "layers.0: "),
    "near miss of an option": ({"layer": [1]}, "layer: unknown option; did you mean layers?"),
    "near miss of a criterion": ({"criteria": {"aurok": 1}}, "criteria.aurok: unknown option; did you mean auroc?"),
    "near miss of a model's option": (
        {"models": [{**LLAMA, "sorce": 1}]},
        "models.0.sorce: unknown option; did you mean source?",
    ),
    "infinite criterion": ({"criteria": {"trend_alpha": float("inf")}}, "trend_alpha: Input should be a finite number"),
    "criterion that is no number": ({"criteria": {"auroc": float("nan")}}, "criteria.auroc: Input should be a finite number"),
    "infinite price": ({"resources": {"price_per_gpu_hour": float("inf")}}, "price_per_gpu_hour: Input should be a finite"),
    "grid of 0 alone": ({"alphas": [0]}, "alphas: none but 0 is within criteria.trend_alpha = 0.1"),
    "grid beyond the trend": ({"alphas": [-20, 0, 20]}, "alphas: none but 0 is within criteria.trend_alpha = 0.1"),
    "grid of a model beyond the trend": ({"models": [{**LLAMA, "alphas": [0, 9]}]}, "llama: alphas: none but 0 is within"),
    "seed that no generator takes": ({"seed": 2**32}, "seed: Input should be less than 4294967296"),
    "a million controls": ({"controls": {"random": 1000000}}, "controls.random: Input should be less than or equal to 1000"),
    "thirty thousand alphas": ({"alphas": list(range(30000))}, "alphas: List should have at most 20000 items"),
    "endpoint with credentials": (
        {"judge": {"endpoint": "https://me:secret@host/v1", "name": "j"}},
        "(got 'https://***@host/v1')",
    ),
    "endpoint with a space": ({"judge": {"endpoint": "http://a b/v1", "name": "j"}}, "judge.endpoint: "),
    "pairs in a format that is not read": ({"pairs": {"file": "mine.xlsx"}}, "mine.xlsx ends in none of .jsonl, .csv"),
    "repeated layer": ({"layers": [1, 1]}, "layers: 1 is given twice"),
    "layer that is no number": ({"layers": ["middle"]}, "layers.0: "),
    "alpha that is not finite": ({"alphas": [0, float("nan")]}, "alphas.1: Input should be a finite number"),
    "infinite alpha": ({"alphas": [0, float("inf")]}, "alphas.1: Input should be a finite number"),
    "grid without 0": ({"alphas": [-1, 1]}, "lacks 0"),
    "two alphas with one label": ({"alphas": [0, 1, 1.0]}, "alphas: 1 is given twice"),
    "minus zero beside zero": ({"alphas": [0, -0.0]}, "alphas: 0 is given twice"),
    "empty grid": ({"alphas": []}, "alphas: "),
    "alpha that is no number": ({"alphas": [0, "big"]}, "alphas.1: "),
    "unit of its own beside auto": ({"alphas": "auto", "alpha_unit": "kl"}, "alphas: auto are in the unit coherence, and"),
    "grid that is no list": ({"alphas": "many"}, "alphas: a list of doses, or auto, is expected"),
    "auto of one model": ({"models": [{**LLAMA, "alphas": "auto"}]}, "auto are in the unit coherence, and alpha_unit is"),
    "layers that are no list": (
        {"steering_layers": "all"},
        "steering_layers: a list of blocks or of shares of the depth, or auto",
    ),
    "auto beside a block": ({"steering_layers": [3, "auto"]}, "steering_layers: auto stands alone"),
    "unknown unit": ({"alpha_unit": "sigma"}, "alpha_unit: "),
    "no samples": ({"samples": 0}, "samples: "),
    "fractional samples": ({"samples": 2.5}, "samples: "),
    "negative temperature": ({"sampling": {"temperature": -1}}, "sampling.temperature: "),
    "top_p above one": ({"sampling": {"top_p": 1.5}}, "sampling.top_p: "),
    "negative seed": ({"seed": -1}, "seed: "),
    "criterion out of range": ({"criteria": {"auroc": 90}}, "criteria.auroc: "),
    "unknown scorer": ({"scorers": ["vibes"]}, "scorers.0: "),
    "unknown pooling": ({"pooling": "max"}, "pooling: "),
    "unknown scenario": ({"scenarios": ["the_moon"]}, "scenario the_moon: not in"),
    "repeated scenario": ({"scenarios": ["the_maze", "the_maze"]}, "the_maze is given twice"),
    "unknown concept": ({"concept": "envy"}, "concept envy: "),
    "ratings that are not there": ({"ratings": ["nobody.csv"]}, "ratings: nobody.csv: no such file"),
    "a judge that is steered": (
        {"judge": {"model": {"name": "j", "source": "resources/organisms/llama"}}},
        "judge: it is llama of the study, and no model rates itself",
    ),
    "steering without a scorer": ({"scorers": []}, "scorers: models are steered and no scorer is named"),
    "scorer that cannot score the concept": ({"scorers": ["lexical"]}, "scorer lexical: cannot score empathy_grammar"),
    "share of the depth above one": ({"steering_layers": [1.5]}, "steering_layers.0: a block counted from 0, or a share"),
    "only the embeddings": ({"layers": [-1], "steering_layers": []}, "has no block among its layers"),
    "name of a shared folder": ({"study": "activations"}, "the name activations is taken"),
    "name with a slash": ({"study": "a/b"}, "study: "),
    "name with dots only": ({"study": "../x"}, "study: "),
    "source that is nothing": (
        {"models": [{**LLAMA, "source": "resources/organisms/lama"}]},
        "is neither a folder or GGUF file seen from /",
    ),
    "name of a judge": ({"models": [{**LLAMA, "name": "judge.x"}]}, "names that begin with judge. are a judge's"),
    "template argument that is no name": ({"models": [{**LLAMA, "chat_template_args": {"a b": 1}}]}, "chat_template_args"),
    "hub model without revision": ({"models": [{**HUB, "revision": None}]}, "a hub model needs revision"),
    "hub model without blocks": ({"models": [{**HUB, "blocks": None}]}, "a hub model needs blocks"),
    "folder without config.json": ({"models": [{"name": "x", "source": "resources"}]}, "config.json is not there"),
    "number where a list belongs": ({"steering_layers": 0.5}, "steering_layers: a list is expected, in brackets (got '0.5')"),
    "number where options belong": ({"controls": 9}, "controls: a mapping of options is expected (got '9')"),
    "word where a number belongs": ({"samples": "ten"}, "samples: a whole number is expected (got 'ten')"),
    "name with a space": ({"study": "my study"}, "study: letters, digits, '.', '_' and '-' are expected"),
    "misspelt option that is required": ({"concept": None, "concpt": "x"}, "concpt: unknown option; did you mean concept?"),
    "negative price": ({"resources": {"price_per_gpu_hour": -1}}, "resources.price_per_gpu_hour: "),
    "mapping where a list belongs": ({"models": {"llama": {}}}, "models: "),
}


def study_file(folder: Path, **options: object) -> None:
    """The demo with options laid over it."""
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(merge(demo, options)))


def one_line(capsys: pytest.CaptureFixture[str], code: int, says: str) -> None:
    out, err = capsys.readouterr()
    assert code == 2
    assert out == "" and err.count("\n") == 1 and err.startswith("probesteer"), err
    assert says in err, err


def run(argv: list[str]) -> int:
    try:
        return main(argv)
    except SystemExit as leave:
        return int(leave.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the repository as seen from a scratch folder, in which a concept can be added."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "resources/concepts").mkdir(parents=True)
    for path in [ROOT / "resources/organisms", *(ROOT / "resources/concepts").iterdir()]:
        (tmp_path / path.relative_to(ROOT)).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", STUDIES)
def test_a_wrong_study_is_one_line(case, here, capsys):
    options, says = STUDIES[case]
    study_file(here, **options)
    one_line(capsys, run(["check", "--configfile", "study.yaml"]), says)


def pairs_file(lines: list[str]) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        concept = folder / "resources/concepts/mine"
        concept.mkdir()
        shutil.copy(ROOT / "resources/concepts/empathy_grammar/concept.yaml", concept)
        (concept / "pairs.jsonl").write_text("\n".join(lines) + "\n")
        study_file(folder, concept="mine")
        return ["check", "--static", "--configfile", "study.yaml"]

    return prepare


def pair(**changes: object) -> str:
    return json.dumps({key: value for key, value in {**PAIR, **changes}.items() if value is not ...})


def parquet(argv: list[str], **columns: list) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        write_table(pa.table(columns), folder / "in.parquet")
        return argv

    return prepare


def written(name: str, content: bytes | str, argv: list[str]) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return argv

    return prepare


def given(*argv: str) -> Callable[[Path], list[str]]:
    return lambda folder: list(argv)


def activations(layer: int = 3, value: float = 1.0, splits: tuple = ("train", "train", "test", "test")) -> dict[str, list]:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([value, 2.0, 3.0, 5.0, 4.0, 1.0, 7.0, 2.0], pa.float32()), 2)
    return {
        "id": ["a", "a", "b", "b"],
        "scenario": ["s"] * 4,
        "split": list(splits),
        "positive": [True, False, True, False],
        f"resid_post.{layer}": vectors,
        f"norm.{layer}": [1.0] * 4,
    }


def job(*argv: str, content: bytes | None = None, **options: object) -> Callable[[Path], list[str]]:
    """A job of the demo, options laid over it; `content` is what stands in the place of its probe of layer 3."""

    def prepare(folder: Path) -> list[str]:
        study_file(folder, **options)
        if content is not None:
            probe = folder / Paths("organisms").probe("llama", 3)
            probe.parent.mkdir(parents=True)
            probe.write_bytes(content)
        return [argv[0], "--study", "study.yaml", *argv[1:]]

    return prepare


def folder_without_weights(folder: Path) -> list[str]:
    (folder / "model").mkdir()
    shutil.copy(ROOT / "resources/organisms/llama/config.json", folder / "model")
    return job("model", "--model", "m", models=[{"name": "m", "source": "model"}])(folder)


def pairs_of_another_digest(folder: Path) -> list[str]:
    (folder / "resources/mine.jsonl").write_text("".join(f'{{"positive": "p{n}", "negative": "n{n}"}}\n' for n in range(9)))
    pairs = {"file": "resources/mine.jsonl", "url": "https://example.org/mine.jsonl", "sha256": "0" * 64}
    study_file(folder, pairs=pairs, steering_layers=[])
    return ["check", "--static", "--configfile", "study.yaml"]


CHECK = ["check", "--configfile", "s.yaml"]
LAUGHS = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
SCORE = ["score", "in.parquet", "--scorer", "published", "--output", "out.parquet"]
EFFECTS = ["effects", "in.parquet", "--rule", "strict", "--output", "out.csv"]
DETECT = ["detect", "in.parquet", "--layer", "3", "--output", "out.parquet"]
STEER = ["steer", "--model", "llama", "--layer", "3"]
OTHER_PROBE = save({"direction.2": np.ones(4, dtype=np.float32)})
TEXTS = {"model": ["m"], "layer": [1], "scenario": ["s"], "alpha": [0.0], "sample": [0], "text": ["t"]}
SCORES = {**TEXTS, "positive": [True], "negative": [False], "coherent": [True], "coherent_published": [True]}

# name: (what to prepare in the folder and then run, what the line must say)
COMMANDS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no verb": (given(), "Missing command"),
    "unknown verb": (given("stear"), "No such command 'stear'"),
    "unknown flag": (given(*DETECT, "--laier", "3"), "--laier"),
    "layer that is no number": (given("detect", "x", "--layer", "mid", "--output", "y"), "comma-separated int values"),
    "layer of a job that is no number": (job("steer", "--model", "llama", "--layer", "mid"), "Invalid value for '--layer'"),
    "detect without what it needs": (given("detect", "x"), "give ACTIVATIONS.parquet, --layer and --output, or"),
    "score without what it needs": (given("score", "x", "--scorer", "lexical"), "give TEXTS.parquet, --scorer and --output"),
    "effects without what it needs": (given("effects", "x"), "give SCORES.parquet, --rule and --output"),
    "job without its study": (given("steer", "--model", "m", "--layer", "3"), "--study"),
    "job of a model that the study does not have": (job("steer", "--model", "m", "--layer", "3"), "model m: not in the study"),
    "job without the study's writing": (job("write-pairs"), "it has no `writing:`"),
    "job without the study's url": (job("download"), "no url"),
    "study file that is missing": (given("check", "--configfile", "none.yaml"), "none.yaml: No such file"),
    "study file that is no YAML": (written("s.yaml", "a: [1", ["check", "--configfile", "s.yaml"]), "s.yaml, line"),
    "study file that is no mapping": (written("s.yaml", "- 1", ["check", "--configfile", "s.yaml"]), "a mapping of options"),
    "study file that is no text": (
        written("s.yaml", b"\xff\xfe\x00", ["check", "--configfile", "s.yaml"]),
        "s.yaml: not UTF-8",
    ),
    "option that is given twice": (
        written("s.yaml", "study: a\nseed: 1\nseed: 2\n", CHECK),
        "s.yaml, line 3: not valid YAML: seed is given twice",
    ),
    "alias within what it names": (
        written("s.yaml", "a: &a [*a]", ["check", "--configfile", "s.yaml"]),
        "an alias stands within",
    ),
    "brackets without end": (
        written("s.yaml", "a: " + "[" * 99999, ["check", "--configfile", "s.yaml"]),
        "more than 100 levels",
    ),
    "dashes without end": (written("s.yaml", "- " * 99999, ["check", "--configfile", "s.yaml"]), "more than 100 levels"),
    "aliases that stand for a billion": (
        written("s.yaml", "a0: &a0 [1, 1]\n" + LAUGHS, CHECK),
        "more than 200,000 values",
    ),
    "date that is none": (
        written("s.yaml", "a: 2024-99-99", ["check", "--configfile", "s.yaml"]),
        "not valid YAML: month must",
    ),
    "tab": (written("s.yaml", "a:\n\tb: 1", ["check", "--configfile", "s.yaml"]), "s.yaml, line 2: not valid YAML"),
    "a million alphas": (
        written("s.yaml", f"alphas: {list(range(10**6))}", ["check", "--configfile", "s.yaml"]),
        "larger than 3 MB",
    ),
    "pairs that are not those of their digest": (pairs_of_another_digest, "pairs.sha256 says 0000"),
    "pair line that is no JSON": (pairs_file(["{"]), "line 1: not a JSON object"),
    "pair with an unknown key": (pairs_file([pair(mood="x")]), "line 1: mood: unknown key"),
    "pair without a side": (pairs_file([pair(negative=...)]), "line 1: negative: required key is missing"),
    "pair with a blank side": (pairs_file([pair(positive="  ")]), "line 1: positive is blank"),
    "pair with equal sides": (pairs_file([pair(negative="one side")]), "occurs already in line 1"),
    "repeated pair id": (pairs_file([pair(), pair(positive="p", negative="q")]), "'a' occurs already in line 1"),
    "text in two pairs": (pairs_file([pair(), pair(id="b", negative="third")]), "'one side' occurs already in line 1"),
    "unknown split": (pairs_file([pair(split="dev")]), "line 1: split"),
    "no test pairs": (pairs_file([pair(), pair(id="b", positive="p", negative="q")]), "fewer than 2 pairs of split 'test'"),
    "texts that are missing": (given(*SCORE), "in.parquet: no such file"),
    "texts that are no Parquet": (written("in.parquet", "text,alpha\n", SCORE), "in.parquet: not a readable Parquet file"),
    "texts without a column": (parquet(SCORE, **{k: v for k, v in TEXTS.items() if k != "alpha"}), "column alpha is missing"),
    "text that is null": (parquet(SCORE, **{**TEXTS, "text": pa.array([None], pa.string())}), "row 0: text is null"),
    "text that is no text": (parquet(SCORE, **{**TEXTS, "text": [1]}), "column text holds int64; text is expected"),
    "scorer that is unknown": (
        parquet(["score", "in.parquet", "--scorer", "x", "--output", "out.parquet"], **TEXTS),
        "scorer 'x'",
    ),
    "scores without a column": (parquet(EFFECTS, **TEXTS), "column positive is missing"),
    "alpha that is NaN": (parquet(SCORE, **{**TEXTS, "alpha": [float("nan")]}), "row 0: alpha is nan"),
    "scores with a layer that is text": (parquet(EFFECTS, **{**SCORES, "layer": ["mid"]}), "column layer holds string"),
    "scores with an alpha that is null": (
        parquet(EFFECTS, **{**SCORES, "alpha": pa.array([None], pa.float64())}),
        "row 0: alpha is null",
    ),
    "scores without alpha 0": (parquet(EFFECTS, **{**SCORES, "alpha": [1.0]}), "no rows with alpha 0"),
    "scores with alpha 0 only": (parquet(EFFECTS, **SCORES), "other than 0"),
    "rule that is unknown": (parquet(["effects", "in.parquet", "--rule", "x", "--output", "out.csv"], **SCORES), "rule 'x'"),
    "activations without the layer": (parquet(DETECT, **activations(layer=2)), "column resid_post.3 is missing"),
    "activations of one split": (parquet(DETECT, **activations(splits=("train",) * 4)), "the test split needs"),
    "activations that hold NaN": (parquet(DETECT, **activations(value=float("nan"))), "row 0 of resid_post.3 holds NaN"),
    "activations that are no lists": (
        parquet(DETECT, **{**activations(), "resid_post.3": [1.0] * 4}),
        "column resid_post.3 holds double; vector is expected",
    ),
    "planted file that is missing": (parquet([*DETECT, "--planted", "p.safetensors"], **activations()), "p.safetensors: not a"),
    "probe that is missing": (job(*STEER), "no such probe file"),
    "probe of another layer": (job(*STEER, content=OTHER_PROBE), "no probe of layer 3"),
    "probe that is no safetensors": (job(*STEER, content=b"x"), "no probe of layer 3"),
    "card that is missing": (job("baseline", "--model", "llama"), "not a model card"),
    "folder without weights": (folder_without_weights, "there is no model.safetensors and no index"),
    "wrong number of blocks": (job("model", "--model", "llama", models=[{**LLAMA, "blocks": 9}]), "the study says 9 blocks"),
    "report before the results": (
        lambda folder: ["aggregate", "--study", str(ROOT / "config/config.yaml"), "--output", "out"],
        "not a model card",
    ),
    "organism that is unknown": (given("organism", "gpt", "--output", "out"), "organism 'gpt'"),
    "output below a file": (
        lambda folder: parquet([*SCORE[:-1], "in.parquet/out.parquet"], **TEXTS)(folder),
        "in.parquet",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_wrong_command_is_one_line_and_writes_nothing(case, here, capsys):
    prepare, says = COMMANDS[case]
    argv = prepare(here)
    before = sorted(path for path in here.rglob("*") if "resources" not in path.parts)
    one_line(capsys, run(argv), says)
    assert sorted(path for path in here.rglob("*") if "resources" not in path.parts) == before


def test_there_are_at_least_forty_kinds():
    assert len(STUDIES) + len(COMMANDS) >= 80


def test_debug_shows_the_traceback(here):
    from probesteer.errors import InputError

    with pytest.raises(InputError):
        main(["--debug", "check", "--configfile", "none.yaml"])


@pytest.mark.parametrize("case", ["unknown key", "layer that the model does not have", "unknown scenario"])
def test_snakemake_says_the_same_and_leaves_with_2(case, fresh):
    options, says = STUDIES[case]
    study_file(fresh.folder, **options)
    done = fresh.snakemake("-n", "--configfile", "study.yaml")
    assert done.returncode == 2
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("probesteer: error:")]
    assert len(lines) == 1 and says in lines[0] and "Traceback" not in done.stderr
