"""Fixtures: tiny random models of several architectures, and a small study that has run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests run side by side: a thread that waits leaves its core to others
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the hub's client is imported: no test waits for a network

import pytest
import torch
import yaml
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from probesteer.concepts.concept import load_concept
from probesteer.concepts.pairs import Pair, load_pairs
from probesteer.lm.load import load_model
from probesteer.study.sections import levels

ROOT = Path(__file__).parent.parent
ORGANISMS = ROOT / "resources/organisms"
SMOLLM2 = ROOT / "results/downloads/smollm2-135m/smollm2-135m.gguf"
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason="`python workflow/scripts/real_models.py smollm2-135m` gets it")
ARCHITECTURES = ["llama", "qwen2", "phi3", "phi", "mistral"]
LONGEST = 1200  # seconds of a run of Snakemake: one that waits for ever fails, and the other tests go on
COPIED = ["Snakefile", "workflow", "config", "resources", "profiles"]


def shipped_pairs(concept: str) -> list[Pair]:
    """The pairs of a shipped concept with their levels of its factors."""
    folder = ROOT / "resources/concepts" / concept
    return load_pairs(folder / "pairs.jsonl", None, levels(load_concept(folder).factors))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the demo is made for begins first: it takes longest."""
    items.sort(key=lambda item: "demo" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A random three-block model of an architecture, saved and loaded as any checkpoint, with the organisms' tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        request.param,
        vocab_size=768,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        sliding_window=None,
    )
    folder = tmp_path_factory.mktemp(request.param)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="session")
def organism() -> tuple:
    return load_model(str(ORGANISMS / "llama"), device="cpu")


class World:
    """A folder that holds a copy of the workflow, in which Snakemake runs."""

    def __init__(self, folder: Path, said: str = "") -> None:
        self.folder = folder
        self.said = said
        self.program = [str(Path(sys.executable).parent / "snakemake")]

    def study(self, name: str = "small", **options: object) -> Path:
        """Write a study file: the demo's concept and settings, small, unless options say otherwise."""
        demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
        small = {
            **demo,
            "study": name,
            "models": [{"name": "llama", "source": "resources/organisms/llama"}],
            "scenarios": ["the_maze", "the_duel"],
            "layers": [-1, 3],
            "alphas": [-5, 0, 5],
            "alpha_unit": "absolute",
            "criteria": {**demo["criteria"], "trend_alpha": 5},
            "controls": {"random": 2, "flipped": 1},
            "samples": 3,
            "correlation": False,
            "sampling": {"max_new_tokens": 24},
        }
        path = self.folder / f"config/studies/{name}.yaml"
        path.write_text(yaml.safe_dump(small | options))
        return path

    def start(
        self, *arguments: str | Path, quiet: bool = False, session: bool = False, **environment: str
    ) -> subprocess.Popen[str]:
        """Start Snakemake in this folder, with its output piped, or dropped for who does not read it.

        In a session of its own its process group can be sent what a terminal sends, also where pytest runs in the background
        and ignores it.
        """
        heeding = ["env", "--default-signal=INT"] if session else []
        command = [*heeding, *self.program, "--cores", "2", *map(str, arguments)]
        path = f"{environment.pop('PATH', os.environ['PATH'])}"
        programs = {"PATH": f"{Path(sys.executable).parent}:{path}"}
        pipe = subprocess.DEVNULL if quiet else subprocess.PIPE
        output = {"stdout": pipe, "stderr": pipe, "text": True}
        own = {"env": {**os.environ, **environment, **programs}, "start_new_session": session}
        return subprocess.Popen(command, cwd=self.folder, **own, **output)

    def snakemake(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in this folder to its end, which must come within LONGEST."""
        process = self.start(*arguments, **environment)
        try:
            stdout, stderr = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, study: Path, *arguments: str) -> None:
        done = self.snakemake("--configfile", study, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]

    def plan(self, study: Path, *arguments: str, **environment: str) -> dict[str, int]:
        """Planned jobs by rule; empty where there is nothing to do."""
        done = self.snakemake("-n", "--configfile", study, *arguments, **environment)
        assert done.returncode == 0, done.stderr[-3000:]
        jobs: dict[str, int] = {}
        for line in (done.stdout + done.stderr).rpartition("Job stats:")[2].splitlines():
            words = line.split()
            if len(words) == 2 and words[1].isdigit():
                jobs[words[0]] = int(words[1])
            elif jobs and not words:
                break
        jobs.pop("total", None)
        return jobs

    def cells(self, study: str = "small") -> dict[Path, bytes]:
        """Every cell on disk with its bytes."""
        root = self.folder / "results" / study / "steering"
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.parquet")}


def make_world(folder: Path) -> World:
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    return World(folder)


def shared_world(tmp_path_factory: pytest.TempPathFactory, name: str, *arguments: str | Path) -> World:
    """A world in which Snakemake has run, made by the first of the test processes that asks for it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    said = root / f"{name}.said"
    with FileLock(root / f"{name}.lock"):
        if not said.exists():
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir()
            world = make_world(root / name)
            world.study()
            done = world.snakemake(*arguments)
            assert done.returncode == 0, done.stderr[-3000:]
            said.write_text(done.stderr + done.stdout)
    return World(root / name, said.read_text())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the small study has run."""
    return shared_world(tmp_path_factory, "finished", "--configfile", "config/studies/small.yaml")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the embedded study has run."""
    return shared_world(tmp_path_factory, "demo", "--profile", "profiles/local")


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    """A copy of the finished world, to change at will."""
    shutil.copytree(finished.folder, tmp_path / "world")
    return World(tmp_path / "world")


@pytest.fixture
def fresh(tmp_path: Path) -> World:
    """A world in which nothing has run."""
    (tmp_path / "fresh").mkdir()
    return make_world(tmp_path / "fresh")


@pytest.fixture
def published_data() -> Callable[[str], Path]:
    """Finds a file of real generations through PROBESTEER_TEST_DATA."""

    def find(name: str) -> Path:
        folder = os.environ.get("PROBESTEER_TEST_DATA")
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"PROBESTEER_TEST_DATA does not hold {name}")
        return Path(folder) / name

    return find
