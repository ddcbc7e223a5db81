"""The shipped concepts: pairs that are written, matched, and told apart by what they say alone."""

import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT, shipped_pairs

from probesteer.cli import main
from probesteer.concepts.concept import load_concept
from probesteer.concepts.words import ablate, load_words, word_pattern
from probesteer.errors import InputError

EMPATHY = ROOT / "resources/concepts/empathy_in_action"
CONCEPTS = [EMPATHY, ROOT / "resources/concepts/empathy_grammar"]
TOP_SCENARIOS = {"food_delivery", "the_listener", "the_maze", "the_protector", "the_duel"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


@pytest.mark.parametrize("folder", CONCEPTS, ids=lambda folder: folder.name)
def test_a_concept_has_the_five_scenarios_with_pairs_in_both_splits(folder):
    concept, concept_pairs = load_concept(folder), shipped_pairs(folder.name)
    assert set(concept.scenarios) == TOP_SCENARIOS == {pair.scenario for pair in concept_pairs}
    assert len(concept_pairs) >= 60
    assert {(pair.scenario, pair.split) for pair in concept_pairs} == {
        (s, split) for s in TOP_SCENARIOS for split in ("train", "test")
    }
    assert all(set(scenario.rubric) == {0, 1, 2} and scenario.user_prompt() for scenario in concept.scenarios.values())


FORMALITY = ROOT / "resources/concepts/formality"


def test_the_control_concept_says_the_same_in_as_many_words_in_another_register():
    concept, formal = load_concept(FORMALITY), shipped_pairs("formality")
    assert {(pair.scenario, pair.split) for pair in formal} == {
        (s, split) for s in concept.scenarios for split in ("train", "test")
    }
    for pair in formal:
        shorter, longer = sorted(len(text.split()) for text in (pair.positive, pair.negative))
        assert longer <= 1.15 * shorter, pair.id
        assert not re.search(r"n't|'s|'re|'m\b", pair.positive.replace("Thursday's", "")), pair.id
        assert "'" in pair.negative or "gotta" in pair.negative.lower(), pair.id
    used = {word for pair in formal for side in (pair.positive, pair.negative) for word in words(side)}
    assert set(load_words(FORMALITY / "ablation_words.txt")) <= used


@pytest.mark.parametrize("folder", sorted(EMPATHY.parent.iterdir()), ids=lambda folder: folder.name)
def test_no_prompt_holds_a_word_that_the_scorer_counts(folder):
    concept = load_concept(folder)
    for prompt in [*concept.prompts().values(), *concept.system_prompts.model_dump().values()]:
        held = [w for w in concept.positive_words + concept.negative_words if word_pattern(w).search(prompt.lower())]
        assert held == [], prompt


FORMS = {
    "reach": "reach reaches reached reaching",
    "hug": "hug hugs hugged hugging",
    "stop": "stops stopped stopping",
    "stress": "stresses stressed stressing",
    "care": "cares cared caring",
    "worry": "worry worries worried worrying",
    "play": "plays played playing",
    "agree": "agrees agreed agreeing",
    "die": "dies died dying",
    "go": "goes going",
    "quit": "quits quitting",
    "feel": "feels feeling",
    "Monday": "monday mondays",
}
OTHERS = {
    "reach": "reacher",
    "hug": "huge hugger",
    "stop": "stopper",
    "stress": "stres",
    "care": "careful carer",
    "feel": "feell",
}


@pytest.mark.parametrize("word", FORMS)
def test_regular_inflections_count_and_other_words_do_not(word):
    assert [form for form in FORMS[word].split() if not word_pattern(word).fullmatch(form)] == []
    assert [form for form in OTHERS.get(word, "").split() if word_pattern(word).search(form)] == []


def test_a_phrase_counts_inflected_and_over_line_breaks():
    for form in ("reaching out", "reached\nout", "reaches  out"):
        assert word_pattern("reach out").fullmatch(form)
    assert not word_pattern("reach out").search("reach outer space")
    assert ablate("Reaching out", ["reach", "reach out"], "0")[1] == 1, "the longer one first"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ('Answer as {"answer": ...}', "is none of {objective} and {pressure}"),
        ("{objective} {0}", "{0} is none of"),
        ("{objective!r}", "{objective} is none of"),
        ("{", "Single '{'"),
        ("}", "Single '}'"),
    ],
)
def test_a_prompt_with_other_braces_is_refused_when_the_concept_is_read(prompt, says, tmp_path):
    concept = yaml.safe_load((EMPATHY / "concept.yaml").read_text())
    concept["scenarios"]["the_maze"]["prompt"] = prompt
    (tmp_path / "concept.yaml").write_text(yaml.safe_dump(concept))
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        load_concept(tmp_path)
    assert "scenarios.the_maze.prompt" in str(caught.value)
    concept["scenarios"]["the_maze"]["prompt"] = "{objective} Answer as {{answer}}."
    (tmp_path / "concept.yaml").write_text(yaml.safe_dump(concept))
    assert load_concept(tmp_path).scenarios["the_maze"].user_prompt().endswith("Answer as {answer}.")


def test_a_new_concept_is_a_skeleton_that_is_refused_until_it_is_filled_in(fresh, monkeypatch, capsys):
    monkeypatch.chdir(fresh.folder)
    assert main(["new-concept", "curiosity"]) == 0 and "resources/concepts/curiosity" in capsys.readouterr().out
    folder = fresh.folder / "resources/concepts/curiosity"
    assert {path.name for path in folder.iterdir()} == {"concept.yaml", "pairs.jsonl", "ablation_words.txt"}
    assert len(yaml.safe_load((folder / "concept.yaml").read_text())["scenarios"]) == 3
    study = fresh.study(concept="curiosity", scenarios=None, scorers=["lexical"])
    for name in ("concept.yaml", "ablation_words.txt", "pairs.jsonl"):
        assert main(["check", "--static", "--configfile", str(study)]) == 2
        assert (said := capsys.readouterr().err).count("\n") == 1 and f"{name}: " in said and "text of the skeleton" in said
        text = (folder / name).read_text()
        (folder / name).write_text(re.sub("(?i)replace this", lambda found: f"what {found.start()} is", text))
    assert main(["check", "--static", "--configfile", str(study)]) == 0
    for name, says in (("curiosity", "is there already"), ("../up", "letters, digits")):
        assert main(["new-concept", name]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.slow
def test_a_control_concepts_direction_is_tried_on_the_concept(fresh):
    fresh.run(fresh.study(control_concept="formality", steering_layers=[], layers=[-1, 2, 3], ablations=1))
    tables = fresh.folder / "results/small/council/tables"
    detection = pd.read_csv(tables / "detection.csv").set_index("layer")
    assert (detection["cos_control_concept"].abs() < 0.9).all() and detection["control_concept_auroc"].between(0, 1).all()
    row = pd.read_csv(tables / "checks.csv").set_index("check").loc["control concept"]
    other, above, lower = detection.loc[3, ["control_concept_auroc", "above_control_concept", "above_control_concept_lower"]]
    assert above == pytest.approx(detection.loc[3, "auroc"] - max(other, 1 - other))
    assert (row["status"] == "PASS") == (lower > 0 and max(other, 1 - other) < 0.9)
    caches = list((fresh.folder / "results/activations/model=llama").glob("concept=*/*.parquet"))
    assert sorted(path.parent.name for path in caches) == ["concept=empathy_grammar", "concept=formality"]


def test_a_control_concept_that_is_missing_or_the_same_is_one_line(fresh):
    for name, says in (("nonesuch", "concept nonesuch"), ("empathy_grammar", "it is the concept itself")):
        done = fresh.snakemake("-n", "--configfile", fresh.study(control_concept=name))
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr
