"""Ratings by the rubric: from a local model, and from an endpoint that fails now and then."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ORGANISMS, ROOT

from probesteer.behaviour import endpoint as asking
from probesteer.behaviour.effects import rated
from probesteer.behaviour.endpoint import Rater, endpoint_rater, level
from probesteer.behaviour.judging import ORDERS, question, rate_texts, rubric_evidence, rubric_levels
from probesteer.cli import main
from probesteer.concepts.concept import Concept, load_concept
from probesteer.errors import InputError
from probesteer.lm.judge import rate
from probesteer.patience import AgainError, patiently
from probesteer.study.experiment import Study

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


BIG = 10_000_000  # bytes of an answer that is no answer


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[tuple[str, list, list]]:
    """A chat-completions endpoint: rates by a word of the answer, after the planned failures; remembers what it was asked."""
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.01)
    seen: list = []
    failures: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((body, self.headers.get("Authorization")))
            failure = failures.pop(0) if failures else None
            answer = body["messages"][-1]["content"].split("<answer>")[1]
            content = "The level is 2." if "stay" in answer else "0" if "run" in answer else "1"
            echo = f"{self.headers.get('Authorization')} 2"
            content = {"words": "no idea", "both": "1 or 2", "silence": None, "echo": echo}.get(failure, content)
            reply = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            reply += b" " * (BIG * (failure == "big"))
            if failure == "dropped":
                return self.connection.close()
            self.send_response(failure if isinstance(failure, int) else 200)
            for number in range(9999 if failure == "many headers" else 0):
                self.send_header(f"X-{number}", "x" * 99)
            if failure == 307:
                self.send_header("Location", f"http://{self.headers['Host']}/v1/other")
            self.send_header("Content-Length", str(len(reply) + 9 * (failure == "short")))
            self.end_headers()
            with suppress(OSError):  # who asked may have gone
                self.send(b"{broken".ljust(len(reply)) if failure == "broken" else reply, failure)

        def send(self, reply: bytes, failure: object) -> None:
            if failure == "silent":
                time.sleep(1)
            for byte in reply if failure == "slow" else b"":
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
            self.wfile.write(b"" if failure == "slow" else reply)

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


def evidence(texts: pd.DataFrame, concept: Concept, rater: Rater) -> list[int | None]:
    return rubric_evidence(rubric_levels(texts, concept, rater))


def test_an_endpoint_rates_each_distinct_text_once_in_both_orders(endpoint, kept, monkeypatch):
    url, seen, _ = endpoint
    monkeypatch.setenv(asking.KEY_VARIABLE, "secret")
    assert evidence(TEXTS, load_concept(CONCEPT), endpoint_rater(url, "judge", kept)) == [-2, 0, 2, 2]
    assert len(seen) == 6 and {key for _, key in seen} == {"Bearer secret"}
    assert seen[0][0]["model"] == "judge" and seen[0][0]["temperature"] == 0


def test_a_judge_sees_neither_model_nor_dose_and_is_asked_in_an_order_that_knows_nothing_of_them(endpoint, kept):
    url, seen, _ = endpoint
    alphas = np.repeat([-4.0, 4.0], 20)
    texts = pd.DataFrame({"model": "modelname", "layer": 3, "scenario": "the_maze", "alpha": alphas, "sample": range(40)})
    texts["text"] = [f"I stay in room {number}." for number in range(40)]
    levels = rubric_levels(texts, load_concept(CONCEPT), endpoint_rater(url, "judge", kept))
    asked = [body["messages"][-1]["content"] for body, _ in seen]
    assert len(asked) == 80 and not any("modelname" in text or "4.0" in text for text in asked)
    room = [int(text.split("in room ")[1].split(".")[0]) for text in asked]
    assert 0.25 < np.mean(np.array(room[:40]) < 20) < 0.75, "the doses are mixed"
    up = [text.index("0: ") < text.index("2: ") for text in asked]
    assert sum(up) == 40 and list(levels) == list(ORDERS)


def test_where_the_orders_say_opposite_things_a_text_is_neither_and_where_one_is_missing_it_has_no_rating():
    levels = pd.DataFrame({"level": [2, 2, 0, 2, 1, None], "level_swapped": [2, 0, 0, 1, 1, 2]}, dtype="Int64")
    assert rubric_evidence(levels) == [2, 0, -2, 1, 0, None]


FAULTS = [[429], [500, 503], ["broken"], ["dropped"], ["short"], ["many headers"], [429, 429, 503, 429, 429, "dropped"]]


@pytest.mark.parametrize("failures", FAULTS)
def test_an_endpoint_that_fails_now_and_then_is_asked_again(endpoint, kept, failures):
    url, seen, planned = endpoint
    planned += failures
    assert endpoint_rater(url, "judge", kept)([ASKED]) == [2]
    assert len(seen) == len(failures) + 1


@pytest.mark.parametrize("failure", ["slow", "silent"])
def test_an_endpoint_that_takes_too_long_is_asked_again(endpoint, kept, failure, monkeypatch):
    monkeypatch.setattr(asking, "TIMEOUT", 0.4)
    url, seen, planned = endpoint
    planned.append(failure)
    started = time.monotonic()
    assert endpoint_rater(url, "judge", kept)([ASKED]) == [2]
    assert len(seen) == 2 and time.monotonic() - started < 5, "a byte at a time is no answer either"


def test_a_minute_of_429_is_waited_out_and_what_the_server_asks_for_is_waited(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    problems = iter([AgainError("HTTP 429", 7.0), AgainError("HTTP 429", 9e9), *[AgainError("HTTP 429")] * 4])

    def ask() -> str:
        for problem in problems:
            raise problem
        return "2"

    assert patiently(ask, "judge", asking.TRIES, 1.0) == "2"
    assert waits == [7, 60, 4, 8, 16, 32] and sum(2**tries for tries in range(asking.TRIES - 1)) > 60


@pytest.mark.parametrize("failure", ["words", "both", "silence", "big"])
def test_nonsense_is_kept_as_it_comes_marked_missing_and_not_asked_again(endpoint, kept, failure):
    url, seen, planned = endpoint
    planned.append(failure)
    asked = [ASKED, f"{ASKED} again"]
    assert endpoint_rater(url, "judge", kept)(asked) == [None, 2]
    assert endpoint_rater(url, "judge", kept)(asked) == [None, 2] and len(seen) == 2
    assert ("no idea" in kept.read_text()) == (failure == "words") and kept.stat().st_size < 1000


@pytest.mark.parametrize(
    ("failures", "message"), [([401], "HTTP 401"), ([307], "HTTP 307"), (["words"], "an answer that names no level")]
)
def test_an_endpoint_that_goes_on_failing_is_one_line(endpoint, kept, failures, message):
    url, _, planned = endpoint
    planned += failures
    with pytest.raises(InputError, match=message):
        endpoint_rater(url, "judge", kept)([ASKED])


def test_an_endpoint_that_is_down_is_one_line_and_scores_nothing(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.001)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match="ConnectError; 0 answers are kept"):
        endpoint_rater(url, "judge", kept)([f"{ASKED}{number}" for number in range(20)])
    assert not kept.exists()


def test_one_failed_question_loses_nothing_and_what_was_answered_is_not_asked_again(endpoint, kept):
    url, seen, planned = endpoint
    planned += [400]
    concept = load_concept(CONCEPT)
    found = evidence(TEXTS, concept, endpoint_rater(url, "judge", kept))
    missing = [number for number, value in enumerate(found) if value is None]
    assert [value for value in found if value is not None] == [
        value for number, value in enumerate([-2, 0, 2, 2]) if number not in missing
    ]
    asked = len(seen)
    kept.write_text(kept.read_text() + '{"half a li')
    assert evidence(TEXTS, concept, endpoint_rater(url, "judge", kept)) == [-2, 0, 2, 2]
    assert missing and len(seen) == asked + 1
    assert endpoint_rater(url, "another", kept)([ASKED]) == [2], "another judge is asked for itself"
    assert len(seen) == asked + 2


def test_what_a_judge_failed_on_is_missing_and_not_scored():
    failing = lambda asked: [None if "run on" in one else 2 for one in asked]  # noqa: E731
    scored = rate_texts(TEXTS, load_concept(CONCEPT), failing)
    assert scored["positive"].isna().tolist() == [True, False, False, False] and rated(scored)["positive"].dtype == bool


def test_an_endpoint_that_answers_nothing_more_is_given_up_and_its_answers_are_kept(endpoint, kept):
    url, seen, planned = endpoint
    planned += [None, *[403] * 99]
    with pytest.raises(InputError, match=r"HTTP 403; 1 answers are kept in .*run again"):
        endpoint_rater(url, "judge", kept)([f"{ASKED}{number}" for number in range(20)])
    assert len(seen) == 1 + asking.MOST_FAILURES


def test_an_endpoint_that_talks_nonsense_is_not_paid_for_all_of_it(endpoint, kept):
    url, seen, planned = endpoint
    planned += ["words"] * 99
    with pytest.raises(InputError, match=r"names no level, or several, 20 times in a row; 20 answers are kept"):
        endpoint_rater(url, "judge", kept)([f"{ASKED}{number}" for number in range(99)])
    assert len(seen) == asking.MOST_NONSENSE


@pytest.mark.parametrize(
    ("judge", "own"),
    [
        ({"model": {"name": "other", "source": str(ORGANISMS / "llama")}}, "llama"),
        ({"endpoint": "http://x/v1", "name": "Qwen/Qwen2.5-7B-Instruct"}, "qwen"),
        ({"endpoint": "http://x/v1", "name": "qwen2.5-7b-instruct"}, "qwen"),
    ],
)
def test_no_model_rates_itself(judge, own):
    hub = {"name": "qwen", "source": "Qwen/Qwen2.5-7B-Instruct", "revision": "0" * 40, "blocks": 28, "parameters_b": 7.6}
    models = [hub] if own == "qwen" else [{"name": "llama", "source": str(ORGANISMS / "llama")}]
    with pytest.raises(ValueError, match=f"judge: it is {own} of the study, and no model rates itself"):
        Study(study="s", concept="c", models=models, scorers=["rubric"], judge=judge)


def test_no_model_rates_its_own_file_of_texts(tmp_path, capsys):
    TEXTS.to_parquet(tmp_path / "texts.parquet")
    asked = [
        "--concept",
        str(CONCEPT),
        "--endpoint",
        "http://x/v1",
        "--judge-name",
        "m",
        "--output",
        str(tmp_path / "o.parquet"),
    ]
    assert main(["score", str(tmp_path / "texts.parquet"), "--scorer", "rubric", *asked]) == 2
    assert "judge m: it wrote texts that it is to rate" in capsys.readouterr().err


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
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.0)
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
    monkeypatch.setenv(asking.KEY_VARIABLE, "key-that-is-secret")
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
    assert "scores and human: ratings: kappa 1.000" in capsys.readouterr().out
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
    assert set(scores["evidence"]) <= {-2, -1, 0, 1, 2} and len(scores) > 0
