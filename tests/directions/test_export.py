"""A direction that is carried away says what it is, reads back the same, and is refused for other weights."""

import gguf
import numpy as np
import pytest
import torch
from conftest import ORGANISMS
from safetensors import safe_open

from probesteer.cli import main
from probesteer.directions import Probe, load_probe, save_probe
from probesteer.files.cards import write_card
from probesteer.lm.export import export

DIGEST = "a" * 64
DECLARED = {"operation", "site", "layer", "layer_base", "sign", "norm", "dose", "dose_is", "model", "arm", "made_by"}


def written(folder, layer: int = 3):
    """A probe file and the card of its model."""
    rng = np.random.default_rng(0)
    direction, control = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 64)).astype(np.float32))
    metadata = {"model": DIGEST, "data": "b", "method": "mean_difference", "pooling": "mean"}
    save_probe(Probe(layer, direction, 2.5, 30.0, metadata, {"flipped-1": control}), folder / "probe.safetensors")
    card = {
        "name": "llama",
        "digest": DIGEST,
        "source": str(ORGANISMS / "llama"),
        "blocks": 6,
        "architecture": "LlamaForCausalLM",
    }
    write_card(folder / "card.json", card)
    return folder / "probe.safetensors", folder / "card.json"


def test_a_control_vector_is_read_back_by_the_gguf_package(tmp_path):
    probe, card = written(tmp_path)
    declared = export(probe, card, tmp_path / "v.gguf", dose=(2.0, "separation"))
    file = gguf.GGUFReader(tmp_path / "v.gguf")
    (tensor,) = file.tensors
    assert tensor.name == "direction.3" and np.array_equal(tensor.data, load_probe(probe, 3).direction)
    assert file.fields["general.architecture"].contents() == "controlvector"
    assert file.fields["controlvector.model_hint"].contents() == "llama"
    assert file.fields["controlvector.layer_count"].contents() == 5
    told = {name.removeprefix("probesteer."): field.contents() for name, field in file.fields.items() if "probesteer." in name}
    assert told == declared and set(declared) >= DECLARED
    assert (declared["dose"], declared["layer"], declared["layer_base"], declared["model"]) == ("5.0", "3", "0", DIGEST)


@pytest.mark.parametrize("arm", ["probe", "flipped-1"])
def test_safetensors_and_pt_hold_the_same_unit_vector_and_say_the_same(arm, tmp_path):
    probe, card = written(tmp_path)
    declared = export(probe, card, tmp_path / "v.safetensors", arm=arm)
    assert export(probe, card, tmp_path / "v.pt", arm=arm) == declared
    own = load_probe(probe, 3).of(arm)
    exported = load_probe(tmp_path / "v.safetensors", "auto")
    assert exported.layer == 3 and np.allclose(exported.direction, own, atol=1e-7) and exported.separation == 2.5
    with safe_open(tmp_path / "v.safetensors", "numpy") as file:
        assert file.metadata().items() >= {**declared, "site": "resid_post[3]"}.items()
    pickled = torch.load(tmp_path / "v.pt", weights_only=True)
    assert np.array_equal(pickled.pop("direction").numpy(), exported.direction) and pickled == declared
    assert np.linalg.norm(exported.direction) == pytest.approx(1, abs=1e-6)


def test_block_0_is_refused_as_a_control_vector_and_nothing_is_written(tmp_path, capsys):
    probe, card = written(tmp_path, layer=0)
    assert main(["export", str(probe), "--model", str(card), "--output", str(tmp_path / "v.gguf")]) == 2
    assert "block 0" in capsys.readouterr().err and not (tmp_path / "v.gguf").exists()
    assert main(["export", str(probe), "--model", str(card), "--output", str(tmp_path / "v.pt")]) == 0


@pytest.mark.parametrize("ending", ["gguf", "safetensors", "pt"])
def test_a_model_of_another_digest_is_refused_unless_forced(ending, tmp_path, capsys):
    probe, card = written(tmp_path)
    write_card(card, {"name": "other", "digest": "c" * 64, "source": "x", "blocks": 6})
    command = ["export", str(probe), "--model", str(card), "--output", str(tmp_path / f"v.{ending}")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "aaaaaaaaaaaa" in error and "cccccccccccc" in error and error.count("\n") == 1
    assert not (tmp_path / f"v.{ending}").exists()
    assert main([*command, "--force"]) == 0


def test_an_unknown_ending_or_unit_is_one_line(tmp_path, capsys):
    probe, card = written(tmp_path)
    for more in (["--output", str(tmp_path / "v.onnx")], ["--output", str(tmp_path / "v.pt"), "--unit", "kl"]):
        assert main(["export", str(probe), "--model", str(card), *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"probe.safetensors", "card.json"}


def test_what_is_no_probe_and_what_is_no_card_is_said(tmp_path, capsys):
    probe, card = written(tmp_path)
    for given, of, says in ((card, card, "not a probe file"), (probe, tmp_path / "KEY.json", "results/models/NAME")):
        assert main(["export", str(given), "--model", str(of), "--output", str(tmp_path / "v.pt")]) == 2
        assert says in capsys.readouterr().err and not (tmp_path / "v.pt").exists()
