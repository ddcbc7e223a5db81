"""A study stands alone: what it leaves out has a default that is right for any model."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ORGANISMS, World
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from probesteer.concepts import check_study
from probesteer.study import Model, Study, load_study

LLAMA = {"name": "llama", "source": str(ORGANISMS / "llama")}


@pytest.fixture(scope="module")
def twelve_blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 12 blocks that is no organism."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=768, max_position_embeddings=512, initializer_range=0.2, **sizes)
    folder = tmp_path_factory.mktemp("checkpoint") / "twelve"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ORGANISMS / "llama").save_pretrained(folder)
    return folder


def five_lines(world: World, source: Path, *more: str) -> Path:
    path = world.folder / "config/studies/mine.yaml"
    lines = ["study: mine", "concept: empathy_in_action", "models:", f"  - {{name: m, source: {source}}}", *more]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_a_study_of_five_lines_detects_at_every_block_and_is_no_organisms(fresh: World, twelve_blocks):
    study = five_lines(fresh, twelve_blocks, "steering_layers: []")
    fresh.run(study)
    council = fresh.folder / "results/mine/council"
    assert pd.read_csv(council / "tables/detection.csv")["layer"].tolist() == list(range(-1, 12))
    report = (council / "report.md").read_text()
    assert report.startswith("# Council report: mine") and "by construction" not in report
    assert "The study steers no model." in report and fresh.plan(study) == {}


def test_the_same_with_steering_and_no_scorer_is_refused_in_one_line(fresh: World, twelve_blocks):
    for more in ([], ["steering_layers: [6]"]):
        done = fresh.snakemake("-n", "--configfile", five_lines(fresh, twelve_blocks, *more))
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        assert done.returncode == 2 and len(lines) == 1 and "no scorer is named; name one" in lines[0]


def test_steering_with_nothing_but_a_scorer_takes_shares_of_the_depth_and_relative_doses(fresh: World, twelve_blocks):
    jobs = fresh.plan(five_lines(fresh, twelve_blocks, "scorers: [lexical]"))
    assert jobs["steer_1"] == jobs["probe"] == 2
    study = load_study(fresh.folder / "config/studies/mine.yaml")
    assert study.steering_layers_of(study["m"]) == [4, 7] and study.alpha_unit == "separation"


@pytest.mark.parametrize(
    ("given", "blocks", "layers"),
    [([0.4, 0.6], 30, [12, 18]), ([0.5, 3], 6, [3]), ([0.01, 0.99], 24, [0, 23]), ([1.0], 2, [1])],
)
def test_a_share_of_the_depth_is_a_block(given, blocks, layers):
    model = Model(name="m", source="owner/m", revision="r", blocks=blocks, parameters_b=1)
    study = Study(study="s", concept="c", models=[model], steering_layers=given, scorers=["lexical"])
    assert study.steering_layers_of(study["m"]) == layers


def test_an_option_on_the_command_line_counts_for_the_demo_and_for_a_study(fresh: World):
    done = fresh.snakemake("-n", "--config", "steering_layers=[]", "control_concept=formality")
    assert done.returncode == 0 and "rule baseline" not in done.stdout and "concept=formality" in done.stdout + done.stderr
    study = fresh.study(name="small")
    assert fresh.plan(study, "--config", "steering_layers=[2, 3]")["steer_1"] == 2
    done = fresh.snakemake("-n", "--configfile", study, "--config", "seed=-1")
    assert done.returncode == 2 and "--config: seed: " in done.stderr


def test_a_study_does_not_inherit_from_the_demo(fresh: World):
    path = fresh.folder / "config/studies/alone.yaml"
    path.write_text(yaml.safe_dump({"study": "alone"}))
    done = fresh.snakemake("-n", "--configfile", path)
    assert done.returncode == 2 and "alone.yaml: concept: required option is missing (and 1 more)" in done.stderr


def test_scenarios_that_are_left_out_are_all_of_the_concepts(monkeypatch, fresh: World):
    monkeypatch.chdir(fresh.folder)
    study = check_study(Study(study="s", concept="formality", models=[LLAMA], steering_layers=[3], scorers=["lexical"]))
    assert study.scenario_names()[:2] == ["the_meeting", "the_heater"] and len(list(study.all_cells(study["llama"]))) > 0


@pytest.mark.slow
def test_pairs_of_ones_own_bring_their_own_title_and_words_or_none(fresh: World, twelve_blocks):
    pairs = (fresh.folder / "resources/concepts/empathy_in_action/pairs.jsonl").read_text()
    (fresh.folder / "mine.jsonl").write_text(pairs)
    study = five_lines(fresh, twelve_blocks, "steering_layers: []", "layers: [3]", "pairs: {file: mine.jsonl}")
    fresh.run(study)
    council = fresh.folder / "results/mine/council"
    report, details = (council / "report.md").read_text(), pd.read_csv(council / "tables/details.csv")
    assert "Concept: **pairs of mine.jsonl**." in report and "These pairs have no word list" in report
    assert "keyword count" not in set(details["of"]) and "ablated_auroc" not in pd.read_csv(council / "tables/detection.csv")
    named = "pairs: {file: mine.jsonl, title: Care, description: Cares., words: [sorry, score, coins]}"
    fresh.run(five_lines(fresh, twelve_blocks, "steering_layers: []", "layers: [3]", named))
    report, details = (council / "report.md").read_text(), pd.read_csv(council / "tables/details.csv")
    assert "Concept: **Care**. Cares." in report and "These pairs have no word list" not in report
    assert "keyword count" in set(details["of"]) and "ablated_auroc" in pd.read_csv(council / "tables/detection.csv")


def test_a_real_model_on_a_cpu_gets_all_cores_and_an_organism_one(fresh: World, twelve_blocks):
    done = fresh.snakemake("-n", "--configfile", five_lines(fresh, twelve_blocks, "scorers: [lexical]"))
    rules = (done.stdout + done.stderr).split("\nrule ")
    threads = {part.split(":")[0]: "threads: 2" in part for part in rules[1:]}
    model_rules = {"activations", "baseline", "forecast", "steer_1"}
    assert {rule for rule, two in threads.items() if two} == model_rules and len(threads) > 6
    done = fresh.snakemake("-n", "--configfile", fresh.study())
    assert "steer_1" in done.stdout + done.stderr and "threads:" not in done.stdout + done.stderr
