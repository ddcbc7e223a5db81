"""Transcripts as Inspect's log, which `inspect view` opens: an episode is a sample, its turns are messages."""

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from probesteer.errors import InputError
from probesteer.files.tables import read_row_groups
from probesteer.files.whole import atomic
from probesteer.study.options import alpha_label

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

EPISODE = ["arm", "layer", "game", "variant", "alpha", "seed"]
OF_TURN = ["turn", "outcome", "action", "reason", "reward", "log_odds"]  # kept with each answer
EXTRA = "inspect-ai is not installed; get it with `pip install 'probesteer[inspect]'`"


def write_eval_log(transcripts: Path, output: Path, arm: str | None = None) -> int:
    """Write the episodes of a model's transcripts, or of one arm, to a .eval file; returns how many they are.

    They are in memory at once. Raises InputError where Inspect is not installed, and for a file that is no table of turns.
    """
    if output.suffix != ".eval":
        raise InputError(f"{output}: the name of Inspect's log ends with .eval")
    if importlib.util.find_spec("inspect_ai") is None:
        raise InputError(EXTRA)
    from inspect_ai.log import write_eval_log as write

    samples, model = [], ""
    for turns in read_row_groups(transcripts):
        if missing := {*EPISODE, *OF_TURN, "model", "observation", "answer", "score", "reached"} - {*turns.column_names}:
            raise InputError(f"{transcripts}: no transcripts of games, the column {min(missing)} is missing")
        table = turns.to_pandas()
        model = str(table["model"].iloc[0])
        own = table if arm is None else table[table["arm"] == arm]
        samples += [sample(episode) for _, episode in own.groupby(EPISODE, dropna=False, sort=False)]
    if not samples:
        raise InputError(f"{transcripts}: no episodes{'' if arm is None else f' of the arm {arm!r}'}")
    with atomic(output) as path:
        write(log_of(samples, model, transcripts), path, format="eval")
    return len(samples)


def sample(turns: pd.DataFrame) -> "EvalSample":
    """An episode: what was shown and answered, turn by turn, and the scores of its deeds."""
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    rows = turns.sort_values("turn").to_dict("records")
    first, last = rows[0], rows[-1]
    messages: list[Any] = []
    for row in rows:
        messages.append(ChatMessageUser(content=row["observation"]))
        known = {name: row[name] for name in OF_TURN if pd.notna(row[name])}
        messages.append(ChatMessageAssistant(content=row["answer"], metadata=known))
    where = {name: None if pd.isna(first[name]) else first[name] for name in EPISODE}
    named = {**where, "alpha": alpha_label(first["alpha"]), "layer": "" if where["layer"] is None else f"{first['layer']:g}"}
    return EvalSample(
        id=" ".join(f"{name}={value}" for name, value in named.items() if value != ""),
        epoch=1,
        input=first["observation"],
        target="",
        messages=messages,
        output=ModelOutput.from_content(first["model"], last["answer"]),
        scores={"deeds": Score(value=int(last["score"])), "reached": Score(value=bool(last["reached"]))},
        metadata=where,
    )


def log_of(samples: list["EvalSample"], model: str, transcripts: Path) -> "EvalLog":
    """A finished log with the means of its samples' scores."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalMetric, EvalResults, EvalScore, EvalSpec

    made = datetime.fromtimestamp(transcripts.stat().st_mtime, UTC).isoformat(timespec="seconds")
    spec = EvalSpec(
        created=made,
        task="probesteer/games",
        dataset=EvalDataset(name=transcripts.name, samples=len(samples), sample_ids=[one.id for one in samples]),
        model=f"probesteer/{model}",
        config=EvalConfig(),
    )
    scores = []
    for name in ("deeds", "reached"):
        mean = sum(float(one.scores[name].as_float()) for one in samples if one.scores) / len(samples)
        scores.append(EvalScore(name=name, scorer=name, metrics={"mean": EvalMetric(name="mean", value=mean)}))
    results = EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=scores)
    return EvalLog(status="success", eval=spec, results=results, samples=samples)
