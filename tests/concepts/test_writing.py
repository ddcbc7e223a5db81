"""Pairs from language models behind an endpoint that fails now and then: complete, resumed, billed once, balanced, split."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from probesteer.cli import main
from probesteer.concepts import writing
from probesteer.concepts.concept import load_concept
from probesteer.concepts.pairs import load_pairs
from probesteer.concepts.writing import Generator, Request, balanced
from probesteer.files.tables import read_table

CONCEPT = ROOT / "resources/concepts/empathy_in_action"
WORDS = [line.split()[0] for line in (CONCEPT / "ablation_words.txt").read_text().splitlines() if line[:1].isalpha()]


class Endpoint:
    """Speaks the chat-completions and the messages protocol; a fifth of the requests fail, each in one of five ways.

    As the providers do, it answers a repeated idempotency key with the answer that it billed.
    """

    FAILURES = ("429", "500", "hang", "malformed", "empty")

    def __init__(self, share: float) -> None:
        self.billed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.asked: list[dict] = []
        self.delay = 0.0
        draws, answers, lock = random.Random(0), {}, threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers["Idempotency-Key"]
                time.sleep(endpoint.delay)
                with lock:
                    failure = draws.choice(endpoint.FAILURES) if draws.random() < share else ""
                    endpoint.failed[failure] += bool(failure)
                    endpoint.asked.append(body)
                    if failure in ("", "malformed", "empty") and key not in answers:
                        endpoint.billed[key] += not failure
                        if not failure:
                            answers[key] = " ".join(draws.choices(WORDS, k=60)) + ". And **so** on it goes here."
                if failure == "hang":
                    time.sleep(2)
                text = "" if failure == "empty" else answers.get(key, "")
                if "messages" in self.path:
                    rest = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
                    usage = {"usage": {"input_tokens": 1, "output_tokens": 1}}
                    reply: dict = {**rest, **usage, "content": [{"type": "text", "text": text}]}
                else:
                    message = {"role": "assistant", "content": text}
                    choice = {"index": 0, "finish_reason": "stop", "message": message}
                    reply = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                data = b'{"choices": [' if failure == "malformed" else json.dumps(reply).encode()
                try:
                    self.send_response(int(failure) if failure.isdigit() else 200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Retry-After", "0")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:
                    pass  # the client gave up waiting

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-a")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-b")
    found = Endpoint(share=0.2)
    yield found
    found.server.shutdown()


def arguments(endpoint: Endpoint, pairs: int = 50) -> list[str]:
    generators = [f"openai:first@{endpoint.url}/v1", f"anthropic:second@{endpoint.url}"]
    study = {"study": "s", "concept": "empathy_in_action", "writing": {"generators": generators, "pairs": pairs}}
    study |= {"models": [{"name": "llama", "source": "resources/organisms/llama"}], "steering_layers": []}
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return ["write-pairs", "--study", "study.yaml"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Where pairs are written, in a folder that sees the repository's resources."""
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results/s/written"


def test_fifty_pairs_with_a_fifth_of_failures_end_complete_and_no_request_is_billed_twice(endpoint, here, monkeypatch):
    monkeypatch.setattr(writing, "TIMEOUT", 1.0)
    assert main(arguments(endpoint)) == 0
    assert set(endpoint.failed) >= set(Endpoint.FAILURES)
    assert len(endpoint.billed) == 100 and set(endpoint.billed.values()) == {1}
    pairs = load_pairs(here / "pairs.jsonl")
    assert len(pairs) == 50 and Counter(pair.generator for pair in pairs) == {"first": 25, "second": 25}
    for scenario in {pair.scenario for pair in pairs}:
        assert sum(pair.split == "test" for pair in pairs if pair.scenario == scenario) == 3
    for pair in pairs:
        shorter, longer = sorted(len(text.split()) for text in (pair.positive, pair.negative))
        assert longer <= 1.15 * shorter and "*" not in pair.positive + pair.negative
    rows = [read_table(path).to_pylist()[0] for path in (here / "responses").glob("*.parquet")]
    assert len(rows) == 100 and {"generator", "prompt_digest", "time", "text", "side", "scenario"} == set(rows[0])
    concept = load_concept(CONCEPT)
    systems = Counter(body.get("system") or body["messages"][0]["content"] for body in endpoint.asked)
    assert set(systems) == {concept.system_prompts.positive, concept.system_prompts.negative}
    asked = len(endpoint.asked)
    assert main(arguments(endpoint)) == 0 and len(endpoint.asked) == asked


def test_the_rule_writes_pairs_that_a_study_then_reads(endpoint, fresh):
    writing = {"generators": [f"openai:first@{endpoint.url}/v1"], "pairs": 20}
    study = fresh.study(concept="empathy_in_action", writing=writing, steering_layers=[], scorers=["lexical"])
    done = fresh.snakemake("write_pairs", "--configfile", study)
    assert done.returncode == 0, done.stderr[-2000:]
    written = {"file": "results/small/written/pairs.jsonl"}
    study = fresh.study(concept="empathy_in_action", pairs=written, steering_layers=[], scorers=["lexical"])
    assert fresh.plan(study)["detect"] == 1
    assert "secret" not in "".join(path.read_text() for path in (fresh.folder / "results").rglob("*.log"))


def test_a_killed_run_goes_on_with_what_is_missing(endpoint, here):
    endpoint.delay = 0.1
    program = str(Path(sys.executable).parent / "probesteer")
    process = subprocess.Popen([program, *arguments(endpoint, 20)], env=os.environ)
    while len(list((here / "responses").glob("*.parquet"))) < 15:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    endpoint.delay = 0.0
    kept = {path: path.read_bytes() for path in (here / "responses").glob("*.parquet")}
    assert main(arguments(endpoint, 20)) == 0
    assert len(load_pairs(here / "pairs.jsonl")) == 20
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(endpoint.billed) == 40 and set(endpoint.billed.values()) == {1}


def test_a_key_that_is_missing_or_refused_is_one_line_and_is_never_shown(endpoint, here, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(arguments(endpoint)) == 2
    error = capsys.readouterr().err
    assert error.strip().splitlines()[-1].startswith("probesteer write-pairs: error: openai: ") and "secret" not in error


@pytest.fixture
def echo() -> Iterator[tuple[str, list[str]]]:
    """A provider that sends the key back, at /echo, or to another place, at /away; and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            key = self.headers.get("x-api-key") or self.headers.get("Authorization")
            data = json.dumps({"error": {"type": "e", "message": f"Incorrect API key provided: {key}"}}).encode()
            self.send_response(307 if "away" in self.path else 401)
            self.send_header("Location", f"http://{self.headers['Host'].replace('127.0.0.1', 'localhost')}/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("where", ["echo", "away"])
def test_a_key_is_not_shown_though_it_is_sent_back_and_goes_to_no_other_host(provider, where, echo, endpoint, here):
    arguments(endpoint, 2)
    study = yaml.safe_load(Path("study.yaml").read_text())
    study["writing"]["generators"] = [f"{provider}:m@{echo[0]}/{where}"]
    Path("study.yaml").write_text(yaml.safe_dump(study))
    program = str(Path(sys.executable).parent / "probesteer")
    for debug in ([], ["--debug"]):
        command = [program, *debug, "write-pairs", "--study", "study.yaml"]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and "secret" not in said and ("Traceback" in said) == bool(debug)
        assert "***" in said
    assert echo[1] and not any("elsewhere" in path for path in echo[1])


def test_sides_are_cut_to_one_length_at_the_end_of_a_sentence_or_left_out():
    assert balanced("One two three. Four five six.", "One two three.") == ("One two three.", "One two three.")
    assert balanced("# Title\n- **One** two.", "Three four five.") == ("Title One two.", "Three four five.")
    assert balanced("one two three four five six seven eight", "One two.") is None


def test_a_request_has_one_key_and_generators_are_named_by_provider_and_model():
    generator = Generator.parse("openai:gpt@http://127.0.0.1/v1")
    assert generator == Generator("openai", "gpt", "http://127.0.0.1/v1")
    first = Request(generator, "s", 0, "positive", "sys", "user")
    assert first.key != Request(generator, "s", 1, "positive", "sys", "user").key
    with pytest.raises(ValueError):
        Generator.parse("someone:else")
