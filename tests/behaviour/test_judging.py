"""Ratings by the rubric: from a local model, from an endpoint that fails now and then, and against human ratings."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ORGANISMS, ROOT

from probesteer.behaviour import judging
from probesteer.behaviour.effects import rated
from probesteer.behaviour.judging import endpoint_rater, level, question, rate_texts, rubric_evidence
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
            content = {"words": "no idea", "echo": f"{self.headers.get('Authorization')} 2"}.get(failure, content)
            reply = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            if failure == "dropped":
                return self.connection.close()
            self.send_response(failure if isinstance(failure, int) else 200)
            for number in range(9999 if failure == "many headers" else 0):
                self.send_header(f"X-{number}", "x" * 99)
            if failure == 307:
                self.send_header("Location", f"http://{self.headers['Host']}/v1/other")
            self.send_header("Content-Length", str(len(reply) + 9 * (failure == "short")))
            self.end_headers()
            self.wfile.write(b"{broken".ljust(len(reply)) if failure == "broken" else reply)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen, failures
    server.shutdown()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where answers are kept."""
    return tmp_path / "rubric/scores.answers.jsonl"


ASKED = question(load_concept(CONCEPT), "the_maze", "I stay.")


def test_an_endpoint_rates_each_distinct_text_once(endpoint, kept, monkeypatch):
    url, seen, _ = endpoint
    monkeypatch.setenv(judging.KEY_VARIABLE, "secret")
    assert rubric_evidence(TEXTS, load_concept(CONCEPT), endpoint_rater(url, "judge", kept)) == [-1, 0, 1, 1]
    assert len(seen) == 3 and {key for _, key in seen} == {"Bearer secret"}
    assert seen[0][0]["model"] == "judge" and seen[0][0]["temperature"] == 0


@pytest.mark.parametrize("failures", [[429], [500, 503], ["broken"], ["words"], ["dropped"], ["short"], ["many headers"]])
def test_an_endpoint_that_fails_now_and_then_is_asked_again(endpoint, kept, failures):
    url, seen, planned = endpoint
    planned += failures
    assert endpoint_rater(url, "judge", kept)([ASKED]) == [2]
    assert len(seen) == len(failures) + 1


@pytest.mark.parametrize(
    ("failures", "message"), [([401], "HTTP 401"), ([307], "HTTP 307"), (["words"] * 9, "an answer that names no level")]
)
def test_an_endpoint_that_goes_on_failing_is_one_line(endpoint, kept, failures, message):
    url, _, planned = endpoint
    planned += failures
    with pytest.raises(InputError, match=message):
        endpoint_rater(url, "judge", kept)([ASKED])


def test_one_failed_question_loses_nothing_and_what_was_answered_is_not_asked_again(endpoint, kept):
    url, seen, planned = endpoint
    planned += [400]
    concept = load_concept(CONCEPT)
    assert rubric_evidence(TEXTS, concept, endpoint_rater(url, "judge", kept)) == [None, 0, 1, 1]
    scored = rate_texts(TEXTS, concept, lambda asked: [None, 1, 2])
    assert scored["positive"].isna().tolist() == [True, False, False, False] and rated(scored)["positive"].dtype == bool
    asked = len(seen)
    kept.write_text(kept.read_text() + '{"half a li')
    assert rubric_evidence(TEXTS, concept, endpoint_rater(url, "judge", kept)) == [-1, 0, 1, 1]
    assert len(seen) == asked + 1
    assert endpoint_rater(url, "another", kept)([ASKED]) == [2], "another judge is asked for itself"
    assert len(seen) == asked + 2


def test_an_endpoint_that_answers_nothing_more_is_given_up_and_its_answers_are_kept(endpoint, kept):
    url, seen, planned = endpoint
    planned += [None, *[403] * 99]
    with pytest.raises(InputError, match=r"HTTP 403; 1 answers are kept in .*run again"):
        endpoint_rater(url, "judge", kept)([f"{ASKED}{number}" for number in range(20)])
    assert len(seen) == 1 + judging.MOST_FAILURES


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", 2),
        ("The level is 2.", 2),
        ("On the 0-2 scale: 2", 2),
        ("**1**", 1),
        ("Level=0", 0),
        ("(2) stays, which is 2", 2),
        ("10", None),
        ("-1", None),
        ("1.5", None),
        ("2/2", None),
        ("0 or 1", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_a_level_is_the_one_that_stands_as_a_whole_token(answer, expected):
    assert level(answer) == expected


@pytest.mark.parametrize(
    "url", ["http://a b/v1", "http://user:secret@host/v1", "http://[::1/v1", "http:///v1", f"http://{'a' * 300}.x/v1"]
)
def test_an_endpoint_that_cannot_be_one_is_one_line(url, kept, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(judging, "FIRST_WAIT", 0.0)
    TEXTS.to_parquet(tmp_path / "texts.parquet")
    asked = ["--concept", str(CONCEPT), "--endpoint", url, "--judge-name", "j", "--output", str(tmp_path / "scores.parquet")]
    assert main(["score", str(tmp_path / "texts.parquet"), "--scorer", "rubric", *asked]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("error:") == 1
        and "Traceback" not in error
        and "secret" not in error
        and not (tmp_path / "scores.parquet").exists()
    )


def test_the_key_goes_to_no_other_host_and_is_not_shown_though_it_is_sent_back(endpoint, kept, monkeypatch, capfd):
    url, seen, planned = endpoint
    monkeypatch.setenv(judging.KEY_VARIABLE, "key-that-is-secret")
    planned += [307, "echo"]
    assert endpoint_rater(url, "judge", kept)([ASKED, f"{ASKED} again"]) == [None, 2]
    assert len(seen) == 2, "the redirect to this very server was not followed"
    assert "secret" not in kept.read_text() + "".join(capfd.readouterr())


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


@pytest.mark.slow
def test_a_study_rates_with_a_model_of_its_own(world):
    judge = {"model": {"name": "qwen2", "source": str(ORGANISMS / "qwen2")}}
    study = world.study(scorers=["grammar", "rubric"], judge=judge)
    jobs = world.plan(study)
    assert jobs["judge"] == 1 and jobs["model"] == 1 and "steer_1" not in jobs
    world.run(study)
    scores = pd.read_parquet(world.folder / "results/small/scores/model=llama/scorer=rubric/scores.parquet", partitioning=None)
    assert set(scores["evidence"]) <= {-1, 0, 1} and len(scores) > 0
