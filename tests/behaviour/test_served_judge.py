"""A judge behind a real server: SmolLM2-135M-Instruct, served by `transformers serve`."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import torch
from conftest import ROOT, SMOLLM2, needs_smollm2

from probesteer.behaviour.endpoint import SYSTEM, Answers, endpoint_rater, level
from probesteer.behaviour.judging import question
from probesteer.concepts.concept import load_concept
from probesteer.lm.gguf import convert
from probesteer.lm.load import load_model
from probesteer.study.model import Model

STARTS_WITHIN = 180  # seconds
pytestmark = [
    pytest.mark.slow,
    needs_smollm2,
    pytest.mark.skipif(not importlib.util.find_spec("fastapi"), reason="`transformers serve` needs fastapi and uvicorn"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("judge") / "weights"
    convert(Model(name="judge", source=str(SMOLLM2)), SMOLLM2, folder)
    return folder


@pytest.fixture(scope="module")
def url(weights: Path) -> Iterator[str]:
    """Of the served model, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    transformers = str(Path(sys.executable).with_name("transformers"))
    serve = [transformers, "serve", str(weights), "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    log = weights.with_name("server.log")
    with log.open("w") as said:
        server = subprocess.Popen(serve, stdout=said, stderr=said, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            for _ in range(STARTS_WITHIN):
                assert server.poll() is None, log.read_text()
                with suppress(httpx2.HTTPError):
                    if httpx2.get(f"http://127.0.0.1:{port}/health").is_success:
                        break
                time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


def test_what_a_served_model_answers_is_its_likeliest_answer_and_is_kept(url, weights, tmp_path):
    concept = load_concept(ROOT / "resources/concepts/empathy_in_action")
    asked = [question(concept, "the_maze", text) for text in ("I stay with her and carry her bag.", "I run to the exit alone.")]
    kept = tmp_path / "answers.jsonl"
    levels = endpoint_rater(url, str(weights), kept)(asked)
    answers = list(Answers(kept).kept.values())
    assert levels == [level(answer) for answer in answers] and levels != [None, None]
    model, tokenizer = load_model(str(weights), device="cpu")
    for text, answer in zip(asked, answers, strict=True):
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            own = model.generate(**ids, do_sample=False, max_new_tokens=8)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(own, skip_special_tokens=True).strip() == answer.strip()
