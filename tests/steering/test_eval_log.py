"""Transcripts for `inspect view`: read back by Inspect's own library; one line where it is not installed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from probesteer.cli import main
from probesteer.files.tables import write_row_groups
from probesteer.games.policies import empathic, task_focused
from probesteer.lm.request import Request
from probesteer.steering.episodes import Episode, Seat


@pytest.fixture
def transcripts(tmp_path) -> Path:
    """An unsteered game by who does the task, and a steered one by who helps."""
    tables = []
    for arm, layer, alpha, policy in [("baseline", None, 0.0, task_focused), ("probe", 3, 0.5, empathic)]:
        episode = Episode(Seat("the_duel", "default", 7, "", Request(""), True, 0))
        while not episode.game.over:
            episode.step(f"I see. {policy(episode.game)}", np.zeros(len(episode.legal())))
        named = {"arm": arm, "model": "m", "layer": layer, "game": "the_duel", "alpha": alpha}
        own = pa.Table.from_pylist([{**named, **turn} for turn in episode.turns])
        layers = pa.array([layer] * len(own), pa.int32())
        tables.append(own.set_column(own.column_names.index("layer"), "layer", layers))
    unified = pa.unify_schemas([table.schema for table in tables], promote_options="permissive")
    path = tmp_path / "transcripts.parquet"
    write_row_groups((table.cast(unified) for table in tables), path, {}, dict)
    return path


def test_inspect_reads_the_episodes_with_their_scores(transcripts, tmp_path, capsys):
    log = pytest.importorskip("inspect_ai.log")
    output = tmp_path / "games.eval"
    assert main(["eval-log", str(transcripts), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"wrote {output}: 2 episodes\n"
    read = log.read_eval_log(str(output))
    assert read.status == "success" and read.eval.model == "probesteer/m"
    unsteered, steered = read.samples
    assert [one.scores["deeds"].value for one in read.samples] == [0, 2]
    assert steered.id == "arm=probe layer=3 game=the_duel variant=default alpha=0.5 seed=7"
    assert unsteered.metadata["layer"] is None and "layer" not in unsteered.id
    shown, said = unsteered.messages[:2]
    assert shown.role == "user" and shown.content.startswith("The Duel. ") and said.content == 'I see. {"action": "shoot"}'
    assert said.metadata["outcome"] == "done" and json.loads(said.metadata["action"]) == {"action": "shoot"}
    assert {score.name: score.metrics["mean"].value for score in read.results.scores} == {"deeds": 1.0, "reached": 0.5}
    assert main(["eval-log", str(transcripts), "--output", str(output), "--arm", "probe"]) == 0
    assert [one.metadata["arm"] for one in log.read_eval_log(str(output)).samples] == ["probe"]


@pytest.mark.parametrize(
    ("name", "arm", "line"),
    [("games.json", "probe", "Inspect's log ends with .eval"), ("games.eval", "prob", "no episodes of the arm 'prob'")],
)
def test_what_cannot_be_written_is_one_line(transcripts, tmp_path, capsys, name, arm, line):
    if name.endswith(".eval"):
        pytest.importorskip("inspect_ai")
    assert main(["eval-log", str(transcripts), "--output", str(tmp_path / name), "--arm", arm]) == 2
    assert line in capsys.readouterr().err and not (tmp_path / name).exists()


def test_without_inspect_is_one_line(transcripts, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "inspect_ai" else find(name, *rest))
    assert main(["eval-log", str(transcripts), "--output", str(tmp_path / "games.eval")]) == 2
    err = capsys.readouterr().err
    assert "inspect-ai is not installed" in err and err.count("\n") == 1 and not (tmp_path / "games.eval").exists()
