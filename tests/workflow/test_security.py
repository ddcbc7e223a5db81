"""What a study or a concept says never runs and never leaves results/ and resources/, whatever it says."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ORGANISMS, ROOT, World

from probesteer.concepts.concept import Concept
from probesteer.errors import InputError
from probesteer.study import Study, parse_study

PAYLOADS = ["$(touch pwned)", "a; touch pwned", "'\"; touch pwned #", "a\ntouch pwned", "../../pwned", "/tmp/pwned", "-pwned"]
WORST = "$(touch pwned) `touch pwned`; touch pwned '\" && touch pwned #"
ADDRESS = {"url": "http://127.0.0.1:9/x.csv", "sha256": "0" * 64}
FULL = {
    "study": "full",
    "concept": "empathy_in_action",
    "control_concept": "formality",
    "pairs": {
        "file": "resources/mine.csv",
        **ADDRESS,
        "columns": {"positive": "p", "negative": "n"},
        "title": "T",
        "description": "D",
        "words": ["sorry"],
        "factors": {"tone": {"title": "T", "levels": ["warm", "plain"]}},
    },
    "writing": {"generators": ["openai:m@https://x/v1"]},
    "scenarios": ["the_maze"],
    "models": [{"name": "m", "source": "owner/name", "revision": "main", "blocks": 2, "parameters_b": 1.0}],
    "steering_layers": "auto",
    "alphas": "auto",
    "scorers": ["rubric"],
    "judge": {"endpoint": "https://x/v1", "name": "j"},
    "ratings": ["resources/rater.csv"],
    "games": {"play": ["the_maze"]},
}


def strings(value: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of every string in a nested value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, (*path, index))
    elif isinstance(value, str):
        yield path


def replaced(value: dict, path: tuple, text: str) -> dict:
    changed = copy.deepcopy(value)
    *front, last = path
    place: object = changed
    for key in front:
        place = place[key]  # type: ignore[index]
    place[last] = text  # type: ignore[index]
    return changed


def free_strings(schema: dict) -> set[str]:
    """The options whose value is text without a list of choices, of every section."""
    found = set()
    for part in [schema, *schema.get("$defs", {}).values()]:
        for name, field in part.get("properties", {}).items():
            kinds = [field, *field.get("anyOf", [])]
            kinds += [kind.get("items") or kind.get("additionalProperties") or {} for kind in kinds]
            found |= {name for kind in kinds if isinstance(kind, dict) and kind.get("type") == "string" and "enum" not in kind}
    return found


def test_every_text_of_a_study_is_tried():
    tried = {next(key for key in reversed(path) if isinstance(key, str)) for path in strings(FULL)}
    columns = {"positive", "negative"}
    short = {"games"}  # for what they play
    assert free_strings(Study.model_json_schema()) - short <= tried - columns | {"columns"}


def accepted(payload: str) -> dict:
    """The full study with a payload in every text that takes it."""
    study = FULL
    for path in strings(FULL):
        try:
            changed = replaced(study, path, payload)
            parse_study(changed, [])
        except InputError:
            continue
        study = changed
    return study


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_and_places_take_no_payload(payload):
    study = accepted(payload)
    assert study["study"] == "full" and study["models"][0]["name"] == "m"
    assert study["pairs"]["file"] == "resources/mine.csv" and study["pairs"]["title"] == payload
    folder = {**FULL, "pairs": {**FULL["pairs"], "file": f"{payload}.csv"}}
    with pytest.raises(InputError, match="below results/ or resources/"):
        parse_study(folder, [])


@pytest.mark.parametrize(
    "file",
    [
        "results/../x.csv",
        "/etc/x.csv",
        "profiles/default/config.yaml",
        "results/x.yaml",
        "resources/.x.csv",
        "resources//x.csv",
        "resources/{model}.csv",
        "resources/x.csv\n",
        "resources/-x.csv/../../y.csv",
    ],
)
def test_a_download_has_its_place(file):
    with pytest.raises(InputError, match=r"below results/ or resources/|ends in none of \.jsonl, \.csv, \.tsv, \.parquet"):
        parse_study({**FULL, "pairs": {**FULL["pairs"], "file": file}}, [])


@pytest.mark.parametrize(
    "name", ["slurm", "weights", "logs", "models", "activations", "pairs", "benchmarks", "-x", "a/b", ".."]
)
def test_a_study_has_a_name_that_is_free(name):
    with pytest.raises(InputError, match="study"):
        parse_study({**FULL, "study": name}, [])


def test_no_value_of_a_study_reaches_a_shell_command(fresh: World):
    path = fresh.folder / "study.yaml"
    path.write_text(yaml.safe_dump(study := accepted(WORST)))
    for rated in study["ratings"]:
        (fresh.folder / rated).touch()
    done = fresh.snakemake("-n", "-p", "--configfile", path)
    assert done.returncode == 0, done.stderr[-2000:]
    commands = [line for line in (done.stdout + done.stderr).splitlines() if "probesteer " in line]
    assert commands and not any("pwned" in command for command in commands)
    assert not list(fresh.folder.rglob("pwned*"))


def test_every_placeholder_of_a_shell_command_is_quoted():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for line in path.read_text().splitlines():
            if line.strip().startswith('"probesteer '):
                assert all(name.endswith(":q") for name in re.findall(r"\{(.+?)\}", line)), (path, line)


def outside(folder: Path) -> dict[Path, bytes]:
    """Every file but results, resources and Snakemake's records."""
    own = ("results", "resources", ".snakemake")
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] not in own
    }


@pytest.mark.slow
def test_a_whole_run_with_payloads_in_every_text_writes_where_it_may_and_runs_nothing_else(fresh: World):
    model = fresh.folder / WORST.replace("/", "_")
    shutil.copytree(ORGANISMS / "llama", model)
    concept_file = fresh.folder / "resources/concepts/empathy_grammar/concept.yaml"
    concept = yaml.safe_load(concept_file.read_text())
    for number, where in enumerate(list(strings(concept))):
        if where[0] not in ("scorers", "positive_words", "negative_words") and "{" not in str(where):
            changed = replaced(concept, where, f"{WORST} {number}")  # texts of a list must differ
            Concept.model_validate(changed)
            concept = changed
    concept_file.write_text(yaml.safe_dump(concept))
    pairs = [json.loads(line) for line in (fresh.folder / "resources/concepts/empathy_grammar/pairs.jsonl").open()]
    mine = fresh.folder / f"{WORST}.jsonl"
    mine.write_text("".join(json.dumps({**pair, "voice": WORST, "generator": WORST}) + "\n" for pair in pairs))
    given = {"file": mine.name, "title": WORST, "description": WORST, "words": [WORST, "sorry"]}
    study = fresh.study(
        models=[{"name": "llama", "source": model.name}], pairs=given, alphas=[0, 5], samples=2, layers=[3], scorers=["grammar"]
    )
    before = outside(fresh.folder)
    fresh.run(study)
    assert outside(fresh.folder) == before and not list(fresh.folder.rglob("pwned*"))
