"""What cannot be had or run is said in one line, before anything is queued; against a hub on loopback."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ORGANISMS, ROOT, make_world
from hub import COMMIT, Hub, Repository
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from probesteer.cli import main
from probesteer.lm import preflight
from probesteer.study.load import load_study

STANZA = {"name": "m", "source": "team/good", "revision": COMMIT, "blocks": 6, "parameters_b": 0.001}


def checkpoint(folder: Path, *without: str) -> Path:
    """The files of an organism that make a checkpoint."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if name not in without:
            shutil.copy(ORGANISMS / "llama" / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    pickled = checkpoint(root / "pickled", "model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"pickle")
    empty = checkpoint(root / "empty", "model.safetensors")
    (empty / "model.safetensors").touch()
    cut = checkpoint(root / "cut")
    (cut / "model.safetensors").write_bytes((ORGANISMS / "llama/model.safetensors").read_bytes()[:-1000])
    unknown = checkpoint(root / "unknown", "config.json")
    (unknown / "config.json").write_text('{"model_type": "nonesuch", "num_hidden_layers": 6}')
    missing = checkpoint(root / "missing", "model.safetensors")
    tensors = load_file(ORGANISMS / "llama/model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if ".layers.4." not in name}
    save_file(kept, missing / "model.safetensors", metadata={"format": "pt"})
    adapter = checkpoint(root / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    encoder = checkpoint(root / "encoder-decoder", "config.json")
    AutoConfig.for_model("bart").save_pretrained(encoder)
    hub = Hub(
        {
            "team/missing": Repository(missing),
            "team/adapter": Repository(adapter),
            "team/encoder-decoder": Repository(encoder),
            "team/no-tokenizer": Repository(checkpoint(root / "no-tokenizer", "tokenizer.json", "tokenizer_config.json")),
            "team/cut": Repository(cut),
            "team/good": Repository(checkpoint(root / "good")),
            "team/gated": Repository(checkpoint(root / "gated"), gated=True),
            "team/pickled": Repository(pickled),
            "team/empty": Repository(empty),
            "team/unknown": Repository(unknown),
            "team/base": Repository(checkpoint(root / "base", "chat_template.jinja")),
        }
    )
    hub.endpoint = hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def hub(served: Hub) -> str:
    return served.endpoint


@pytest.fixture
def check(fresh, hub, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `probesteer check` on a study of one hub model, with a cache of its own."""

    def run(stanza: dict | None = None, judge: dict | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        scored = {"scorers": ["rubric"], "judge": judge} if judge else {"scorers": ["lexical"]}
        study = fresh.study(models=[STANZA | (stanza or {})], concept="empathy_in_action", **scored)
        environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0", **environment}
        command = [str(Path(sys.executable).parent / "probesteer"), "check", "--configfile", str(study)]
        return subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, env={**os.environ, **environment})

    return run


def test_a_good_model_passes_with_its_commit_named(check):
    done = check({"revision": "main"})
    assert done.returncode == 0, done.stderr
    assert f"team/good at main: commit {COMMIT}" in done.stdout and "llama, 6 blocks" in done.stdout


WRONG = {
    "team/none": ({}, "access: team/none at .*: no such repository"),
    "nowhere": ({"source": "team/good", "revision": "nowhere"}, "access: team/good at nowhere: there is no such revision"),
    "team/gated": ({}, "access: team/gated at .*: gated; .* set HF_TOKEN"),
    "team/pickled": ({}, "weights: there is no model.safetensors and no index; pickles are not loaded"),
    "team/empty": ({}, "weights: model.safetensors is empty"),
    "team/unknown": ({}, "architecture: .*not a causal LM that loads: .*nonesuch"),
    "7 blocks": ({"source": "team/good", "blocks": 7}, "architecture: llama, 6 blocks; the study says 7"),
    "team/base": ({}, "prompt: .*has no chat template; set chat_template: false"),
    "team/missing": ({}, "tensors: the weights are not this model's; tensors 9 missing, the first model.layers.4."),
    "team/adapter": ({}, "weights: adapter_config.json: adapters are not applied"),
    "team/encoder-decoder": ({}, "architecture: bart is an encoder-decoder"),
    "team/no-tokenizer": ({}, "tokenizer: the tokenizer "),
}


@pytest.fixture(scope="module")
def checked(served: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What one check says of a study of wrong models, a list of lines for each."""
    folder = tmp_path_factory.mktemp("checked")
    (folder / "world").mkdir()
    names = {f"m{number}": key for number, key in enumerate(WRONG)}
    models = [STANZA | {"name": name, "source": key} | WRONG[key][0] for name, key in names.items()]
    study = make_world(folder / "world").study(models=models, concept="empathy_in_action", scorers=["lexical"])
    environment = {"HF_ENDPOINT": served.endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0"}
    command = [str(Path(sys.executable).parent / "probesteer"), "check", "--configfile", str(study)]
    done = subprocess.run(command, cwd=folder / "world", capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 2
    said: dict[str, list[str]] = {key: [] for key in WRONG}
    for line in done.stderr.strip().splitlines():
        said[names[re.search(r"\b(m\d+): ", line)[1]]].append(line)
    return said


@pytest.mark.parametrize("model", WRONG)
def test_what_is_wrong_with_a_model_is_one_line_and_its_weights_are_not_downloaded(model, checked, served):
    assert len(checked[model]) == 1 and re.search(f"m\\d+: {WRONG[model][1]}", checked[model][0]), checked[model]
    assert served.sent[f"{model}/model.safetensors"] <= 2 * 100_001, "headers alone are read"


def test_a_truncated_download_is_one_line(check, hub, tmp_path):
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    download = "import sys; from huggingface_hub import snapshot_download; snapshot_download('team/cut', revision=sys.argv[1])"
    subprocess.run([sys.executable, "-c", download, COMMIT], check=True, env={**os.environ, **environment})
    done = check({"source": "team/cut"})
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(errors) == 1, done.stderr
    assert re.search(
        r"m: weights: model.safetensors is damaged: \d+ of \d+ bytes; delete .*/model.safetensors and fetch", errors[0]
    )


@pytest.mark.slow
def test_a_run_stops_before_any_job_where_a_model_cannot_be_had(fresh, hub, tmp_path):
    for bad, says in (
        ({"source": "team/gated"}, "set HF_TOKEN"),
        ({"source": "team/none"}, "no such repository"),
        ({"layers": [99]}, "has no layer 99"),
    ):
        study = fresh.study(models=[STANZA | bad, STANZA | {"name": "good"}], steering_layers=[], layers=[-1, 3])
        done = fresh.snakemake("--configfile", study, HF_ENDPOINT=hub, HF_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="0")
        assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr
        assert not (fresh.folder / "results/models").exists() and not (fresh.folder / "results/activations").exists()


def test_the_judge_is_looked_at_too(check):
    judge = {"model": STANZA | {"name": "j", "source": "team/gated"}}
    done = check(judge=judge)
    assert done.returncode == 2 and "j: access: team/gated" in done.stderr


def test_a_model_that_the_study_does_not_have_is_one_line(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["check", "--models", "nonesuch"]) == 2
    assert "model nonesuch: not in the study; it has llama" in capsys.readouterr().err


def test_a_token_opens_a_gated_model_and_is_not_shown(check):
    done = check({"source": "team/gated"}, HF_TOKEN="hf_open")
    assert done.returncode == 0, done.stderr
    assert "hf_open" not in done.stdout + done.stderr


def test_a_hub_that_cannot_be_reached_is_said_and_is_no_problem(check):
    done = check(HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "the hub cannot be asked" in done.stdout and done.stdout.strip().endswith("NOT CHECKED: m: everything, all: disk")


def test_room_on_disk_and_gpu_is_compared_with_what_is_needed(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(Path("config/studies/paper.yaml"))
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10**9))
    assert next(preflight.room(study, 2 * 10**9)).status == preflight.PROBLEM
    monkeypatch.setattr(preflight.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(preflight.torch.cuda, "device_count", lambda: 1)
    for free, status in ((16 * 10**9, preflight.PROBLEM), (80 * 10**9, preflight.OK)):
        monkeypatch.setattr(preflight.torch.cuda, "mem_get_info", lambda _device, free=free: (free, free))
        assert [finding.status for finding in preflight.room(study, 0)] == [preflight.OK, status]
