"""What is read token by token is what the probe reads, of texts, of chats and of a model while it runs."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from probesteer.cli import main
from probesteer.directions import Probe, save_probe
from probesteer.errors import InputError
from probesteer.files.cards import write_card
from probesteer.lm.capture import pooled_activations
from probesteer.lm.reading import Monitor, neutral_projection, read_ids, read_text

TEXT = "The light is low. I turn to the old man first and to the next order later."
CHAT = [
    {"role": "system", "content": "You are a courier."},
    {"role": "user", "content": "The old man fell. The next order waits."},
    {"role": "assistant", "content": "I turn to the old man first."},
]


def probe_of(model, layer: int = 1, digest: str = "d" * 64) -> Probe:
    direction = np.random.default_rng(1).standard_normal(model.config.hidden_size).astype(np.float32)
    return Probe(layer, direction / np.linalg.norm(direction), 2.0, 10.0, {"model": digest})


@pytest.mark.parametrize("layer", [-1, 0, 2])
def test_the_mean_over_content_is_the_probes_own_projection(layer, tiny):
    model, tokenizer = tiny
    probe = probe_of(model, layer)
    tokens = read_text(model, tokenizer, probe, TEXT)
    mean = np.mean([token.projection for token in tokens if token.content])
    pooled = pooled_activations(model, tokenizer, [TEXT], [layer])[0, 0]
    assert mean == pytest.approx(float(pooled @ probe.direction), abs=1e-5)
    assert not tokens[0].content and "".join(token.text for token in tokens[1:]).replace(" ", "") in TEXT.replace(" ", "")


def test_a_chat_is_read_as_its_model_sees_it_and_every_token_has_its_speaker(organism):
    model, tokenizer = organism
    tokens = read_text(model, tokenizer, probe_of(model), CHAT)
    ids = tokenizer(tokenizer.apply_chat_template(CHAT, tokenize=False), add_special_tokens=False)["input_ids"]
    assert [token.id for token in tokens] == ids
    for turn in CHAT:
        said = "".join(token.text for token in tokens if token.role == turn["role"])
        assert said.split() == turn["content"].split()
    assert {token.role for token in tokens} <= {"system", "user", "assistant", "template"}


def test_scores_are_separations_from_neutral_texts(organism):
    model, tokenizer = organism
    probe = probe_of(model)
    neutral = neutral_projection(model, tokenizer, probe)
    for token in read_text(model, tokenizer, probe, TEXT, neutral):
        assert token.score == pytest.approx((token.projection - neutral) / 2.0)


def test_a_monitor_reads_while_the_model_generates_and_leaves_nothing_behind(tiny):
    model, tokenizer = tiny
    probe, inputs = probe_of(model), tokenizer([TEXT, TEXT], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    steps: list[tuple[int, ...]] = []
    with torch.inference_mode(), Monitor(model, probe, lambda step: steps.append(tuple(step.shape))) as seen:
        written = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    projections = seen.projections()
    assert projections.shape == (2, written.shape[1] - 1) and steps[0][1] == inputs["input_ids"].shape[1]
    assert np.allclose(projections[0], read_ids(model, probe, written[0, :-1].tolist()), atol=1e-4)
    with torch.inference_mode():
        model(**inputs)
    assert len(seen.steps) == len(steps) == 5


def test_a_direction_of_the_embeddings_cannot_be_monitored(tiny):
    with pytest.raises(InputError, match="embeddings"):
        Monitor(tiny[0], probe_of(tiny[0], -1))


@pytest.fixture
def files(organism, tmp_path):
    """A probe file and its model's card."""
    model, _tokenizer = organism
    save_probe(probe_of(model, 3), tmp_path / "probe.safetensors")
    card = {"name": "llama", "source": model.name_or_path, "digest": "d" * 64, "revision": None, "dtype": "float32"}
    write_card(tmp_path / "card.json", {**card, "trust_remote_code": False})
    return tmp_path


def run(folder, text: str, name: str, output: str, *more: str) -> int:
    (folder / name).write_text(text, encoding="utf-8")
    arguments = [folder / "probe.safetensors", folder / name, "--model", folder / "card.json", "--output", folder / output]
    return main(["read", *map(str, arguments), *more])


def test_a_text_becomes_a_table(files, capsys):
    assert run(files, TEXT, "t.txt", "t.csv") == 0
    with (files / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in rows if row["content"] == "True"]
    assert f"{len(rows)} tokens, mean score {np.mean(scores):+.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[31mred \u202eleft"])
def test_a_chat_becomes_a_heat_map_in_which_hostile_text_stays_text(hostile, files):
    assert run(files, json.dumps([{"role": "user", "content": f"{hostile} the old man"}]), "c.json", "c.html") == 0
    page = (files / "c.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|link|iframe)|https?://", page) and not re.search(r"[\x1b\u202e]", page)
    assert "old" in re.sub(r"<[^>]+>", "", page)


def test_bad_input_is_one_line_and_nothing_is_written(files, capsys):
    write_card(files / "other.json", {"name": "other", "source": "x", "digest": "e" * 64})
    bad = [
        ("t.txt", TEXT, ["--output", str(files / "t.pdf")]),
        ("t.json", "{}", []),
        ("t.json", '[{"role": "user"}]', []),
        ("t.txt", TEXT, ["--model", str(files / "other.json")]),
    ]
    for name, text, more in bad:
        assert run(files, text, name, "t.csv", *more) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(files.glob("*.csv")) and not list(files.glob("*.pdf"))
