"""Comparisons in the DAG: a further model adds its own jobs and pairs, and every target is one job."""

import resource

import pandas as pd
import pytest
from conftest import World

ORGANISM = "resources/organisms/{}"
SMALL = {"steering_layers": [], "scenarios": ["the_maze"], "layers": [2, 4], "compare": {"transfer": True, "maps": 19}}


def models(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "source": ORGANISM.format(name)} for name in names]


@pytest.mark.slow
def test_a_further_model_adds_only_its_own_pairs_and_the_report_has_them_all(fresh: World):
    fresh.run(fresh.study(models=models("llama", "qwen2"), **SMALL))
    council = fresh.folder / "results/small/council"
    first = pd.read_csv(council / "tables/transfer.csv").set_index(["source", "target", "method"])
    assert len(first) == 2 * 4 and (council / "figures/transfer.png").exists()
    study = fresh.study(models=models("llama", "qwen2", "control"), **SMALL)
    planned = fresh.plan(study)
    assert planned["corpus"] == planned["readings"] == planned["detect"] == planned["activations"] == 1
    assert planned["transfer"] == 3
    fresh.run(study)
    logs = [(fresh.folder / f"results/small/logs/transfer/{name}.log").read_text() for name in ("llama", "qwen2", "control")]
    carried = [line for log in logs for line in log.splitlines() if line.endswith("carried")]
    assert sorted(carried) == [
        "control into llama: carried",
        "control into qwen2: carried",
        "llama into control: carried",
        "qwen2 into control: carried",
    ]
    table = pd.read_csv(council / "tables/transfer.csv").set_index(["source", "target", "method"])
    assert len(table) == 6 * 4 and (table.loc[first.index, "cosine"] == first["cosine"]).all()
    agreement = pd.read_csv(council / "tables/agreement.csv")
    assert agreement[agreement["selected"]].shape[0] == 3
    assert not set(table[table["transfers"] == "yes"].index.get_level_values("target")) & {"control"}
    assert fresh.plan(study) == {}


@pytest.mark.slow
def test_a_hundred_models_are_a_hundred_jobs_that_are_planned_in_seconds(fresh: World):
    many = [{"name": f"m{number}", "source": ORGANISM.format("llama")} for number in range(100)]
    path = fresh.study(models=many, **SMALL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    jobs = fresh.plan(path)
    assert jobs["transfer"] == jobs["corpus"] == 100
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 15  # its own CPU time: others run beside it


@pytest.mark.slow
def test_what_causes_the_behaviour_and_what_is_left_or_moved_of_another_concept_are_reported(fresh: World):
    options = {**SMALL, "compare": {"causes": True}, "control_concept": "formality", "steering_layers": [3]}
    options |= {"layers": [2, 3, 4], "correlation": True}
    fresh.run(fresh.study(models=models("llama"), **options))
    tables = fresh.folder / "results/small/council/tables"
    causes = pd.read_csv(tables / "causes.csv")
    total = causes[(causes["kind"] == "total") & (causes["positions"] == "response")].iloc[0]
    assert total["effect_lower"] > 0
    read = causes.query("kind == 'denoising' and site == 'attention' and positions == 'response'").set_index("layer")["share"]
    assert read.idxmax() == 4  # the first to read the planted block
    assert set(causes.loc[causes["kind"] == "ablation", "layer"]) == {2, 3, 4, -1}
    independence = pd.read_csv(tables / "independence.csv")
    assert set(independence["what"]) == {"empathy_grammar", "formality"}
    moved = independence.dropna(subset=["reading_change"]).set_index("what")
    assert moved.loc["empathy_grammar", "reading_change_lower"] > 0 and moved.index.is_unique
    assert set(moved.index) == {"empathy_grammar", "formality"} and moved["reading_change_upper"].notna().all()
    assert "formality" in set(pd.read_csv(tables / "emergence.csv")["what"])
