"""Ratings by the rubric: from a local model, from an endpoint that fails now and then, and against human ratings."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ORGANISMS, ROOT

from probesteer.behaviour import judging
from probesteer.behaviour.judging import endpoint_rater, question, rubric_evidence
from probesteer.behaviour.kappa import agreement
from probesteer.cli import main
from probesteer.concepts.concept import load_concept
from probesteer.errors import InputError
from probesteer.lm.judge import rate

CONCEPT = ROOT / "resources/concepts/empathy_in_action"
TEXTS = pd.DataFrame(
    {
        "model": "m",
        "layer": 3,
        "scenario": "the_maze",
        "alpha": [-1.0, 0.0, 1.0, 1.0],
        "sample": [0, 0, 0, 1],
        "text": ["I run on.", "I look.", "I stay with her.", "I stay with her."],
    }
)


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[tuple[str, list]]:
    """A chat-completions endpoint: rates by a word of the answer, after the planned failures; remembers what it was asked."""
    monkeypatch.setattr(judging, "FIRST_WAIT", 0.01)
    seen: list = []
    failures: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, self.headers.get("Authorization")))
            failure = failures.pop(0) if failures else None
            answer = body["messages"][-1]["content"].split("<answer>")[1]
            content = "The level is 2." if "stay" in answer else "0" if "run" in answer else "1"
            reply = json.dumps({"choices": [{"message": {"content": "no idea" if failure == "words" else content}}]})
            self.send_response(failure if isinstance(failure, int) else 200)
            self.end_headers()
            self.wfile.write(b"{broken" if failure == "broken" else reply.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen, failures
    server.shutdown()


def test_an_endpoint_rates_each_distinct_text_once(endpoint, monkeypatch):
    url, seen, _ = endpoint
    monkeypatch.setenv(judging.KEY_VARIABLE, "secret")
    assert rubric_evidence(TEXTS, load_concept(CONCEPT), endpoint_rater(url, "judge")) == [-1, 0, 1, 1]
    assert len(seen) == 3 and {key for _, key in seen} == {"Bearer secret"}
    assert seen[0][0]["model"] == "judge" and seen[0][0]["temperature"] == 0


@pytest.mark.parametrize("failures", [[429], [500, 503], ["broken"], ["words"]])
def test_an_endpoint_that_fails_now_and_then_is_asked_again(endpoint, failures):
    url, seen, planned = endpoint
    planned += failures
    assert endpoint_rater(url, "judge")([question(load_concept(CONCEPT), "the_maze", "I stay.")]) == [2]
    assert len(seen) == len(failures) + 1


@pytest.mark.parametrize(("failures", "message"), [([401], "HTTP 401"), (["words"] * 9, "an answer without a level")])
def test_an_endpoint_that_goes_on_failing_is_one_line(endpoint, failures, message):
    url, _, planned = endpoint
    planned += failures
    with pytest.raises(InputError, match=message):
        endpoint_rater(url, "judge")([question(load_concept(CONCEPT), "the_maze", "I stay.")])


def test_a_local_judge_gives_the_likeliest_level(organism):
    model, tokenizer = organism
    prompts = ["I put the old man before", "It is late"]
    levels = ["the", "exit", "."]
    ratings = rate(model, tokenizer, prompts, levels)
    for prompt, rating in zip(prompts, ratings, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
        firsts = [tokenizer(level, add_special_tokens=False)["input_ids"][0] for level in levels]
        assert rating == int(np.argmax([logits[token].item() for token in firsts]))
    with pytest.raises(InputError, match="begin with one token"):
        rate(model, tokenizer, prompts, ["the", "the"])


def test_kappa_is_that_of_sign_and_rating():
    scores = TEXTS.assign(evidence=[-3, 0, 2, 1])
    ratings = TEXTS.assign(rating=[0, 1, 2, 2])
    assert agreement(scores, ratings)["kappa"] == 1
    crossed = agreement(scores, ratings.assign(rating=[2, 1, 0, 0]))
    assert crossed["kappa"] < 0 and crossed["texts"] == 4
    with pytest.raises(InputError, match="no row in common"):
        agreement(scores, ratings.assign(model="other"))


def test_the_verbs_of_rating(tmp_path, capsys, endpoint):
    texts, scores, ratings = tmp_path / "texts.parquet", tmp_path / "scores.parquet", tmp_path / "ratings.csv"
    TEXTS.to_parquet(texts)
    score = ["score", str(texts), "--scorer", "rubric", "--output", str(scores)]
    assert main(score) == 2
    assert "needs --concept" in capsys.readouterr().err
    assert main([*score, "--concept", str(CONCEPT), "--endpoint", endpoint[0], "--judge-name", "judge"]) == 0
    assert pd.read_parquet(scores)["positive"].tolist() == [False, False, True, True]
    TEXTS.assign(rating=[0, 1, 2, 2]).to_csv(ratings)
    assert main(["agreement", str(scores), str(ratings)]) == 0
    assert "kappa 1.000" in capsys.readouterr().out
    TEXTS.assign(rating=[0, 1, 2, 5]).to_csv(ratings)
    assert main(["agreement", str(scores), str(ratings)]) == 2
    assert "row 4: rating 5 is not 0, 1 or 2" in capsys.readouterr().err


def test_a_study_rates_with_a_model_of_its_own(world):
    judge = {"model": {"name": "qwen2", "source": str(ORGANISMS / "qwen2")}}
    study = world.study(scorers=["grammar", "rubric"], judge=judge)
    jobs = world.plan(study)
    assert jobs["judge"] == 1 and jobs["model"] == 1 and "steer_1" not in jobs
    world.run(study)
    scores = pd.read_parquet(world.folder / "results/small/scores/model=llama/scorer=rubric/scores.parquet", partitioning=None)
    assert set(scores["evidence"]) <= {-1, 0, 1} and len(scores) > 0
