"""Fetching from a hub on loopback: what is there is kept, what is wrong is not; whole studies of many architectures."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ORGANISMS, ROOT, World
from hub import COMMIT, Hub, Repository
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.lm.load import load_model
from probesteer.study import Model, Paths

PROBESTEER = str(Path(sys.executable).parent / "probesteer")
ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ARCHITECTURES = {
    "llama": ("llama", {}),
    "llama-3.1": ("llama", {"rope_parameters": {**ROPE, "original_max_position_embeddings": 128, "rope_theta": 500_000.0}}),
    "qwen2": ("qwen2", {}),
    "phi3": ("phi3", {}),
    "phi": ("phi", {}),
    "mistral": ("mistral", {}),
    "gemma": ("gemma", {"head_dim": 8}),
    "gpt_neox": ("gpt_neox", {}),
}


def save_checkpoint(folder: Path, kind: str, hidden: int = 32, **options: object) -> Path:
    """A random checkpoint of an architecture with the organisms' tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=768,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **options,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="1MB")
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: save_checkpoint(root / name, kind, **options) for name, (kind, options) in ARCHITECTURES.items()}


@pytest.fixture
def hub(checkpoints: dict[str, Path], tmp_path: Path) -> Iterator[Hub]:
    large = save_checkpoint(tmp_path / "large", "llama", hidden=256)
    hub = Hub({f"team/{name}": Repository(folder) for name, folder in {**checkpoints, "large": large}.items()})
    hub.endpoint = hub.start()
    yield hub
    hub.stop()


def environment(hub: Hub, cache: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def stanza(source: str) -> dict:
    return {"name": "m", "source": source, "revision": COMMIT, "blocks": 2, "parameters_b": 0.001}


def receipt_of(folder: Path, source: str = "team/large") -> Path:
    return folder / Paths("s").receipt("m", Model(**stanza(source)).key)


def fetch(hub: Hub, folder: Path, source: str = "team/large", **more: str) -> subprocess.Popen[str]:
    study = {"study": "s", "concept": "empathy_in_action", "models": [stanza(source)], "steering_layers": []}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    if not (folder / "resources").exists():
        (folder / "resources").symlink_to(ROOT / "resources")
    command = [PROBESTEER, "fetch", "--study", "study.yaml", "--model", "m"]
    variables = {**os.environ, **environment(hub, folder / "cache"), **more}
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_fetch_keeps_its_files_and_ends_with_the_right_digests(hub, tmp_path):
    shards = list(hub.repositories["team/large"].folder.glob("*.safetensors"))
    total = sum(path.stat().st_size for path in shards)

    def sent() -> int:
        return sum(hub.sent[path.name] for path in shards)

    hub.bytes_per_second = total / 8
    first = fetch(hub, tmp_path)
    while sent() < total * 0.6:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.kill()
    first.communicate()
    assert len(shards) >= 6 and not receipt_of(tmp_path).exists()
    time.sleep(1)
    hub.sent.clear()
    hub.bytes_per_second = float("inf")
    again = fetch(hub, tmp_path)
    assert again.wait(timeout=120) == 0, again.communicate()
    assert 0 < sent() < 0.8 * total
    receipt = json.loads(receipt_of(tmp_path).read_text())
    assert receipt["revision"] == COMMIT
    for path in shards:
        assert receipt["files"][path.name] == {"size": path.stat().st_size, "sha256": file_digest(path)}
    assert set(receipt["files"]) >= {"config.json", "tokenizer.json"}


@pytest.mark.slow
def test_a_file_that_is_not_the_hubs_is_not_kept(hub, tmp_path):
    done = fetch(hub, tmp_path)
    assert done.wait(timeout=120) == 0
    cached = next((tmp_path / "cache").rglob("snapshots/*/*.safetensors"))
    whole = cached.read_bytes()
    for bad, says in ((whole[:-1000], "bytes"), (whole[:-1] + bytes([whole[-1] ^ 1]), "another SHA-256")):
        cached.resolve().write_bytes(bad)
        wrong = fetch(hub, tmp_path)
        error = wrong.communicate(timeout=120)[1].strip().splitlines()
        assert wrong.returncode == 2 and f"{cached.name} is not the hub's file" in error[-1] and says in error[-1]
        assert fetch(hub, tmp_path).wait(timeout=120) == 0 and cached.read_bytes() == whole


@pytest.mark.slow
def test_without_a_hub_what_the_cache_holds_is_taken(hub, tmp_path):
    assert fetch(hub, tmp_path, "team/llama").wait(timeout=120) == 0
    path = receipt_of(tmp_path, "team/llama")
    receipt = path.read_text()
    for away in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        path.unlink()
        done = fetch(hub, tmp_path, "team/llama", **away)
        assert done.wait(timeout=120) == 0, done.communicate()
        assert path.read_text() == receipt
    other = fetch(hub, tmp_path, "team/qwen2", HF_HUB_OFFLINE="1")
    assert "cannot be reached and its cache does not hold" in other.communicate(timeout=120)[1] and other.returncode == 2


@pytest.mark.slow
def test_temporary_weights_are_deleted_after_use_and_come_back_for_what_is_new(hub, fresh: World, tmp_path):
    few = {
        "models": [stanza("team/qwen2")],
        "scenarios": ["the_maze"],
        "layers": [-1, 1],
        "steering_layers": [1],
        "ablations": 0,
    }
    few |= {"sampling": {"max_new_tokens": 8}, "resources": {"temp_weights": True}}
    variables = environment(hub, tmp_path / "cache")

    def run(**options: object) -> dict[Path, bytes]:
        done = fresh.snakemake("--keep-incomplete", "--configfile", fresh.study(**few, **options), **variables)
        assert done.returncode == 0, done.stderr[-3000:]
        assert not list((fresh.folder / "results/weights").rglob("*.safetensors"))
        return fresh.cells() | {path: path.read_bytes() for path in (fresh.folder / "results/activations").rglob("*.parquet")}

    before = run()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert fresh.plan(fresh.folder / "config/studies/small.yaml") == {}
    after = run(alphas=[-5, 0, 2.5, 5])
    assert {path: after[path] for path in before} == before and len(after) > len(before)


@pytest.mark.slow
def test_a_study_of_eight_architectures_runs_from_folders_and_from_the_hub(checkpoints, hub, fresh: World, tmp_path):
    stanzas = [
        stanza(f"team/{name}") | {"name": name} if number % 2 else {"name": name, "source": str(folder)}
        for number, (name, folder) in enumerate(checkpoints.items())
    ]
    few = {"scenarios": ["the_maze"], "layers": [-1, 0, 1], "steering_layers": [1], "samples": 2, "ablations": 0}
    few |= {"scorers": ["grammar"]}
    study = fresh.study("many", models=stanzas, **few, sampling={"max_new_tokens": 8}, controls={"random": 1, "flipped": 0})
    done = fresh.snakemake("--configfile", study, **environment(hub, tmp_path / "cache"))
    assert done.returncode == 0, done.stderr[-3000:]
    cells = pd.read_csv(fresh.folder / "results/many/council/tables/cells.csv")
    assert cells["verified_cells"].tolist() == [4 + 4] * len(ARCHITECTURES)
    models = pd.read_csv(fresh.folder / "results/many/council/tables/models.csv")
    assert models["architecture"].nunique() == len(ARCHITECTURES) - 1  # two are Llamas
    assert (models["revision"] == COMMIT).sum() == len(ARCHITECTURES) // 2


def test_quantised_loading_without_its_library_is_one_line(checkpoints, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match="int8 needs bitsandbytes"):
        load_model(str(checkpoints["llama"]), dtype="int8")
