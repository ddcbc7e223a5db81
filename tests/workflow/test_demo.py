"""The embedded default study: what its report must show, on pairs that no setting was tuned on."""

import pandas as pd
from browser import needs_browser
from conftest import World
from pictures import take
from scipy.stats import spearmanr

PLANTED = ["llama", "qwen2"]


def table(world: World, name: str) -> pd.DataFrame:
    return pd.read_csv(world.folder / f"results/organisms/council/tables/{name}.csv")


def test_planted_organisms_are_detected_at_a_middle_block_and_not_in_the_embeddings(demo):
    auroc = table(demo, "detection").pivot(index="model", columns="layer", values="auroc")
    assert (auroc.loc[PLANTED, [2, 3]].max(axis=1) >= 0.95).all()
    assert (auroc.loc[PLANTED, -1] <= 0.85).all()


def test_label_permutation_is_at_chance_and_the_planted_cosine_is_there(demo):
    detection = table(demo, "detection")
    assert detection["permutation_auroc"].between(0.45, 0.55).all()
    planted = detection[detection["model"].isin(PLANTED) & (detection["layer"] == 3)]
    assert (planted["cos_planted"] > 0.5).all()


def test_the_rate_rises_with_alpha_in_every_scenario(demo):
    rates = table(demo, "dose_response")
    for (model, scenario), own in rates[rates["alpha"].abs() <= 0.1].groupby(["model", "scenario"]):
        if model in PLANTED:
            assert spearmanr(own["alpha"], own["positive"]).statistic > 0, (model, scenario)


def test_texts_break_down_at_the_extremes_by_the_models_own_likelihood(demo):
    rates = table(demo, "dose_response")
    extremes = rates[rates["alpha"].abs() == rates["alpha"].abs().max()]
    coherent = extremes.groupby(["model", "alpha"])["coherent"].mean()
    assert (coherent[PLANTED] < 0.3).all()


def test_the_verdicts_are_those_of_the_construction(demo):
    verdicts = table(demo, "verdict").set_index("model")
    assert (verdicts.loc[PLANTED, ["detected", "steerable", "specific"]] == "yes").all(axis=None)
    assert (verdicts.loc[PLANTED, "verdict"] == "GREEN").all()
    assert (table(demo, "specificity").set_index("model").loc[PLANTED, "p"] <= 0.05).all()
    assert verdicts.loc["control", ["verdict", "detected", "steerable"]].tolist() == ["RED", "no", "no"]
    unspecific = verdicts.loc["unspecific"]
    assert unspecific[["verdict", "detected", "steerable", "specific"]].tolist() == ["AMBER", "yes", "yes", "no"]
    assert unspecific["why"].startswith("steerable at block 3, not shown specific (p 0.") and pd.isna(
        unspecific["failed_checks"]
    )


def test_the_negative_control_obeys_its_system_prompt(demo):
    prompting = table(demo, "prompting").set_index("model").loc["control"]
    assert prompting["rate_positive"] > 0.9 and prompting["rate_negative"] < 0.1 and prompting["change_lower"] > 0.5


def test_the_demo_says_little_and_ends_with_its_verdicts_and_where_the_report_is(demo):
    assert len(demo.said.splitlines()) <= 58  # `make` itself says two more
    assert "100% of 55 jobs" in demo.said
    ends = [f"{verdict:7} {model}" for model, verdict in table(demo, "verdict")[["model", "verdict"]].to_numpy()]
    assert "\n".join([*ends, "council report: results/organisms/council/report.html"]) in demo.said


def test_a_second_run_of_the_demo_says_that_there_is_nothing_to_do(demo):
    done = demo.snakemake("--profile", "profiles/local")
    assert done.returncode == 0 and "Nothing to be done" in done.stderr + done.stdout
    assert len((done.stderr + done.stdout).splitlines()) < 10


@needs_browser
def test_the_pictures_of_the_documentation_are_taken_of_a_run(demo, tmp_path):
    take(demo.folder / "results/organisms/council", tmp_path)
    for name, size in (("report", (1400, 1130)), ("explorer", (1200, 760))):
        header = (tmp_path / f"{name}.png").read_bytes()[:24]
        assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == size
