"""What an audit of the two source works found, row by row: the names of these tests are what the project does about each."""

import json
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ORGANISMS, ROOT, shipped_pairs

from probesteer.behaviour.effects import mean_success, of_arm, success_rates
from probesteer.behaviour.power import detectable_change
from probesteer.behaviour.trends import trends
from probesteer.concepts.duplicates import near_duplicate_clusters
from probesteer.concepts.words import ablate, load_words
from probesteer.detection.activations import cache_rows, read_layer
from probesteer.detection.design import Design
from probesteer.detection.heldout import evaluate
from probesteer.detection.robustness import left_out, residualised, scored
from probesteer.detection.selection import PERMUTATIONS, merged_folds, select
from probesteer.detection.summary import detection_rows
from probesteer.detection.surface import form, surface_scores
from probesteer.directions.controls import control_directions
from probesteer.directions.methods import METHODS, mean_difference
from probesteer.directions.probe import Probe
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.capture import pooled_activations
from probesteer.lm.generate import generate
from probesteer.lm.hooks import steering
from probesteer.lm.load import render_prompt
from probesteer.lm.preflight import preflight
from probesteer.lm.request import Request, push_rows
from probesteer.report.checks import engineer_variance
from probesteer.report.evidence import Evidence
from probesteer.report.history import add_report, read_reports, reassess, report_of
from probesteer.report.published import replication
from probesteer.report.sceptic import devil_leak
from probesteer.stats import auroc_interval
from probesteer.study.load import load_study
from probesteer.study.model import Model
from probesteer.study.paths import DEMO
from probesteer.study.sections import Criteria, Sampling


def texts(
    pairs: int = 60, hidden: int = 16, effect: float = 0.0, layers: int = 3, seed: int = 0
) -> tuple[dict[int, np.ndarray], Design]:
    """Activations by layer of pairs in four scenarios, and their design; the effect is in the last layer."""
    rng = np.random.default_rng(seed)
    labels, group = np.tile([True, False], pairs), np.repeat(np.arange(pairs), 2)
    activations = {layer: rng.standard_normal((2 * pairs, hidden)) for layer in range(layers)}
    activations[layers - 1][:, 0] += effect * labels
    return activations, Design(labels, group, group % 2 == 0, (group // 2) % 4)


# Detection


def test_capture_hidden_states_and_steering_share_one_site_on_every_architecture(tiny):
    model, tokenizer = tiny
    text, layer = "I put the old man before the route.", 1
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    push = np.zeros(model.config.hidden_size, dtype=np.float32)
    push[2] = 3
    captured = pooled_activations(model, tokenizer, [text], [layer], pooling="last")[0, 0]
    next_block_gets: list[np.ndarray] = []

    def watch(_module, args, kwargs):
        next_block_gets.append((args[0] if args else kwargs["hidden_states"])[0, -1].numpy())

    handle = decoder_blocks(model)[layer + 1].register_forward_pre_hook(watch, with_kwargs=True)
    with torch.inference_mode():
        plain = model(ids, output_hidden_states=True).hidden_states[layer + 1][0, -1].numpy()
        with steering(decoder_blocks(model), push_rows(model, [Request(text, layer, push, 1.0)])):
            model(ids)
    handle.remove()
    np.testing.assert_allclose(captured, plain, atol=1e-5)
    np.testing.assert_allclose(next_block_gets[1] - plain, push, atol=1e-5)


def test_the_layer_is_chosen_by_nested_cross_validation_on_training_pairs_alone():
    activations, design = texts(effect=3.0)
    chosen = select(activations, design)
    assert chosen.layer == 2 and chosen.nested_auroc > 0.85
    ruined = {layer: np.where(design.train[:, None], values, 100 * np.arange(16)) for layer, values in activations.items()}
    other = select(ruined, design)
    assert other.layer == 2 and other.nested_auroc == chosen.nested_auroc
    tied = select({5: activations[2], 7: activations[2]}, design)
    assert tied.layer == 5, "ties go to the earliest block"


def test_the_accuracy_threshold_comes_from_training_projections():
    activations, design = texts(effect=6.0)
    shifted = activations[2].copy()
    shifted[design.test, 0] += 100
    result = evaluate(shifted, *astuple(design))
    assert result.accuracy.estimate == 0.5 and result.accuracy_test_midpoint.estimate > 0.9


def test_auroc_has_a_clustered_interval_and_a_bound_at_one():
    labels = np.tile([True, False], 15)
    assert auroc_interval(labels * 1.0, labels, np.repeat(np.arange(15), 2))[1] == pytest.approx(0.9065, abs=1e-4)
    rng = np.random.default_rng(0)
    scores = np.repeat(rng.standard_normal(20), 2) + 0.1 * rng.standard_normal(40) + np.tile([0.3, 0], 20)
    paired = auroc_interval(scores, np.tile([True, False], 20), np.repeat(np.arange(20), 2))
    single = auroc_interval(scores, np.tile([True, False], 20), np.arange(40))
    assert paired[2] - paired[1] < single[2] - single[1], "pairs that move together leave less doubt"


def test_nulls_are_refitting_cluster_permutations_matched_directions_and_corrections():
    clusters = np.repeat(np.arange(16), 12)  # six copies of a pair each
    significant = {"cluster": 0, "pair": 0}
    for seed in range(60):
        activations, design = texts(pairs=96, seed=seed, layers=1)
        copies = {0: activations[0][clusters * 2 + ~design.labels]}
        for unit, groups in (("cluster", clusters), ("pair", np.repeat(np.arange(96), 2))):
            copied = Design(design.labels, groups, clusters % 2 == 0, clusters // 2)
            significant[unit] += select(copies, copied).p <= 0.05
    assert significant["cluster"] <= 6 < 2 * 6 <= significant["pair"], "copies are no independent evidence"
    activations, design = texts(pairs=24, seed=3)
    chosen = select(activations, design)
    assert all(layer.p <= layer.p_max for layer in chosen.by_layer.values())
    result = evaluate(activations[0] * np.r_[50.0, np.ones(15)], *astuple(design))
    assert result.matched_auroc.upper - result.matched_auroc.lower != pytest.approx(
        result.random_auroc.upper - result.random_auroc.lower, abs=1e-3
    )


def test_surface_baselines_stand_beside_the_probe_and_a_telling_keyword_cannot_be_green():
    rng = np.random.default_rng(0)
    words = ["kind", "gold"]
    fillers = ["the light is low", "a bell rings", "it is late", "the wall is old"]
    said = [f"{' '.join(rng.permutation(fillers))} {words[i % 2]}" for i in range(80)]
    labels, groups = np.tile([True, False], 40), np.repeat(np.arange(40), 2)
    design = Design(labels, groups, groups % 2 == 0, groups)
    found = {name: scored(scores, design).estimate for name, scores in surface_scores(said, design, words).items()}
    assert found["keyword count"] == found["TF-IDF of words"] == 1.0
    assert 0.2 < found["length"] < 0.8
    blurred = [ablate(text, words, str(i))[0] for i, text in enumerate(said)]
    assert scored(surface_scores(blurred, design, words)["keyword count"], design).estimate < 0.8


def test_splits_are_grouped_by_scenario_and_near_duplicate_cluster_and_scenarios_and_generators_are_left_out():
    a, b = "one two three four five six seven eight nine", "ten eleven twelve thirteen fourteen fifteen sixteen"
    assert near_duplicate_clusters([(a,), (b,), (f"{a} more",), ("nothing in common here at all",)]).tolist() == [0, 1, 0, 2]
    folds, clusters = np.array(["x", "x", "y", "y", "z", "z"]), np.array([0, 0, 0, 1, 2, 2])
    assert merged_folds(folds, clusters).tolist() == [0, 0, 0, 0, 1, 1], "a cluster that spans two scenarios joins them"
    activations, design = texts(effect=4.0)
    names = {"scenario": design.folds.astype(str), "generator": np.where(design.groups % 3 == 0, "one", "two")}
    rows = list(left_out(activations[2], design, names))
    assert {(row["metric"], row["of"]) for row in rows} == {
        *(("without_scenario", name) for name in "0123"),
        ("without_generator", "one"),
        ("without_generator", "two"),
    }
    assert all(row["estimate"] > 0.9 and row["lower"] < row["estimate"] for row in rows)
    for leaks, status in ((0, "PASS"), (2, "WARN"), (3, "FAIL")):
        council = pd.DataFrame([{"model": "m", "leaking_groups": leaks, "test_groups": 30}])
        assert [check.status for check in devil_leak(Evidence(Criteria(), council, pd.DataFrame()))] == [status]


def test_pooling_leaves_out_position_zero_and_geometry_says_how_many_dimensions_carry_the_direction(organism):
    model, tokenizer = organism
    captured = pooled_activations(model, tokenizer, ["I look around."], [0])[0, 0]
    with torch.inference_mode():
        hidden = model(torch.tensor([tokenizer("I look around.")["input_ids"]]), output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(captured, hidden[1:].mean(0).numpy(), atol=1e-5)
    activations, design = texts(effect=50.0)
    spiked = evaluate(activations[2], *astuple(design))
    assert spiked.participation_ratio.estimate < 1.1 and spiked.top_share.estimate > 0.9
    assert spiked.split_cosine.estimate > 0.99


def test_dprime_is_held_out_and_the_published_one_is_bounded_and_high_for_noise_too():
    activations, design = texts(pairs=30, hidden=256)
    noise = evaluate(activations[0], *astuple(design))
    assert 1.5 < noise.dprime_published.estimate < 2, "in-sample over the total SD: near 2 whatever the labels"
    assert abs(noise.dprime.estimate) < 1
    assert noise.dprime_null.lower < noise.dprime.estimate < noise.dprime_null.upper


def test_the_permutation_null_is_a_distribution_of_a_thousand_refits():
    null = select(*texts()).by_layer[0].null
    assert len(null) == PERMUTATIONS >= 1000
    assert abs(np.mean(null) - 0.5) < 0.03 and np.std(null) > 0.02


def test_purity_has_a_null_and_several_seeds():
    activations, design = texts()
    noise, planted = (evaluate(of, *astuple(design)) for of in (activations[0], texts(effect=20.0)[0][2]))
    assert noise.purity_p.estimate > 0.05 and noise.purity.estimate <= noise.purity_null.upper + 0.05
    assert planted.purity.estimate > 0.95 and planted.purity_p.estimate < 0.01


def test_sums_are_pooled_in_float32_and_the_engineer_fails_on_what_does_not_vary(organism):
    model, tokenizer = organism
    half = type(model)(model.config).half().eval()
    half.load_state_dict(model.state_dict())
    long = "I put the old man before the route. " * 12
    assert pooled_activations(half, tokenizer, [long]).dtype == np.float32
    row = {"model": "m", "std_positive": np.nan, "std_negative": 1.0, "separation": 5.0}
    evidence = Evidence(Criteria(), pd.DataFrame([row]), pd.DataFrame())
    assert [check.status for check in engineer_variance(evidence)] == ["FAIL"]
    constant = evidence.council.assign(std_positive=0.0)
    assert [check.status for check in engineer_variance(replace(evidence, council=constant))] == ["FAIL"]


# Steering


def generations(rates: dict[float, float], arm: str = "probe", scenario: str = "s", samples: int = 20) -> pd.DataFrame:
    """Scores of a scenario whose positive rate at each alpha is as given; alpha 0 is the baseline's."""
    rows = [
        {
            "arm": "baseline" if alpha == 0 else arm,
            **{"model": "m", "layer": 1, "scenario": scenario, "alpha": alpha, "sample": sample},
            **{"positive": sample < rate * samples, "negative": sample >= rate * samples},
            **{"coherent": True, "coherent_published": True},
        }
        for alpha, rate in rates.items()
        for sample in range(samples)
    ]
    return pd.DataFrame(rows)


def test_alpha_has_units_and_the_dose_is_reported_in_three():
    probe = Probe(1, np.array([1.0, 0.0], dtype=np.float32), 2.0, 8.0, {})
    assert [probe.push(3, unit) for unit in ("absolute", "separation", "residual")] == [3, 6, 24]
    assert load_study(ROOT / DEMO).alpha_unit == "residual"  # the same dose for every model


def test_success_is_split_by_sign_strict_and_never_a_zero_effect_or_a_broken_text():
    flat = generations({-5: 0.5, 0: 0.5, 5: 0.5})
    assert success_rates(flat, "published")["success_rate"].item() == 0.5
    assert success_rates(flat, "strict")[["success_rate", "success_positive", "success_negative"]].to_numpy().tolist() == [
        [0] * 3
    ]
    broken = flat.assign(coherent=flat["alpha"] == 0, positive=(flat["alpha"] > 0) | flat["positive"])
    assert success_rates(broken, "strict")["success_rate"].item() == 0


def test_ceiling_and_floor_cells_are_marked_and_leave_the_averages():
    both = pd.concat(
        [
            generations({-5: 1.0, 0: 1.0, 5: 1.0}, scenario="stuck"),
            generations({-5: 0.1, 0: 0.5, 5: 0.9}, scenario="free"),
        ]
    )
    success = success_rates(both, "strict").assign(scorer="s")
    assert success.set_index("scenario")["stuck"].to_dict() == {"free": "", "stuck": "ceiling"}
    mean = mean_success(success).iloc[0]
    assert mean["success_rate"] == 1 and mean["all_scenarios"] == 0.5 and mean["scenarios"] == 1


def test_the_chat_template_is_on_by_default_and_the_baseline_must_be_coherent(organism):
    assert Model(name="m", source=str(ORGANISMS / "llama")).chat_template
    assert "<|assistant|>" in render_prompt(organism[1], "s", "u")
    assert Criteria().baseline_coherent == 0.5  # its gate is tested with the verdicts


def test_one_baseline_serves_all_layers_and_the_power_of_the_sample_count_is_printed():
    study = load_study(ROOT / "config/studies/paper.yaml")
    model = study.models[0]
    baselines = [cell for cell in study.all_cells(model) if cell.arm == "baseline"]
    assert len(baselines) == len(study.scenarios) < len(study.scenarios) * len(study.steering_layers_of(model))
    few, many = (detectable_change((-1, 0, 1), 2, samples, 1, 19, Criteria()) for samples in (10, 100))
    assert 0.2 <= many < few <= 0.95


def test_every_sweep_has_control_arms_of_the_same_length_that_are_judged_apart():
    study = load_study(ROOT / DEMO)
    arms = {cell.arm for cell in study.cells("llama", 3, study.alphas)}
    assert arms == {"probe", *study.controls.arms()} and {"random-1", "flipped-9"} <= arms
    flipped = {cell.alpha for cell in study.cells("llama", 3, [-9, -3, -1, 0, 2, 3]) if cell.arm == "flipped-1"}
    assert flipped <= {-3, -1, 2, 3}
    activations, design = texts(effect=3.0)
    labels = design.labels
    direction, _ = mean_difference(activations[2][labels], activations[2][~labels])
    controls = control_directions([direction], activations[2], labels, design.groups, ["random-1", "flipped-1"], 0)
    assert all(np.linalg.norm(control) == pytest.approx(1, abs=1e-5) for control in controls.values())
    assert abs(controls["random-1"] @ direction) < 1e-5 < abs(controls["flipped-1"] @ direction) < 0.9
    mixed = pd.concat([generations({-5: 0.1, 0: 0.5, 5: 0.9}), generations({-5: 0.9, 5: 0.1}, arm="random-1")])
    assert trends(of_arm(mixed), 5)["rate_change"].item() == pytest.approx(0.8)
    assert trends(of_arm(mixed, "random-1"), 5)["rate_change"].item() == pytest.approx(-0.8)


def test_words_are_matched_whole_without_echoes_and_judges_and_humans_can_be_compared():
    from probesteer.behaviour.agreement import agreement_with
    from probesteer.behaviour.scoring import lexical

    assert lexical("helpless careful", "") == 0
    assert lexical("please help the person who is sorry", "please help the person who is sorry") == 0
    scores = generations({-5: 0.2, 0: 0.5, 5: 0.8}).assign(evidence=lambda table: np.where(table["positive"], 1, -1))
    found, _ = agreement_with(scores, {"person": scores.assign(rating=scores["evidence"] + 1)})
    assert found["kappa"].tolist() == [1]


def test_only_new_tokens_are_decoded(organism):
    prompt = "The light is low. I put"
    text = generate(*organism, [Request(prompt)], 8, temperature=0)[0]
    whole = organism[1](prompt + text)["input_ids"]
    assert text and not text.startswith("The light") and len(whole) >= len(organism[1](prompt)["input_ids"]) + 1


def test_every_sampling_setting_is_explicit_and_the_models_defaults_are_not_used(organism):
    model, tokenizer = organism
    assert set(Sampling().model_dump()) == {"temperature", "top_p", "top_k", "max_new_tokens"}
    plain = generate(model, tokenizer, [Request("I put")], 12, temperature=0.7)
    before = model.generation_config.top_k, model.generation_config.repetition_penalty
    model.generation_config.top_k, model.generation_config.repetition_penalty = 1, 3.0
    assert generate(model, tokenizer, [Request("I put")], 12, temperature=0.7) == plain
    model.generation_config.top_k, model.generation_config.repetition_penalty = before


def test_every_quoted_example_names_its_cell_and_sample(finished):
    examples = pd.read_csv(finished.folder / "results/small/council/tables/examples.csv")
    assert {"model", "layer", "scenario", "alpha", "sample", "text"} <= set(examples) and len(examples)


# Process


def test_criteria_are_hashed_and_a_change_prints_the_old_verdict_beside_the_new(tmp_path):
    study, path = load_study(ROOT / DEMO), tmp_path / "reports.jsonl"
    verdicts = pd.DataFrame({"model": ["llama"], "verdict": ["RED"]})
    first = report_of(study, verdicts)
    assert reassess(first, []).empty
    for _ in range(2):
        add_report(first, path)
    assert read_reports(path) == [first], "the same report again changes nothing"
    eased = study.model_copy(update={"criteria": study.criteria.model_copy(update={"auroc": 0.5})})
    assert eased.digest() != study.digest()
    second = report_of(eased, verdicts.assign(verdict="GREEN"))
    rows = reassess(second, read_reports(path))
    assert rows.set_index("name")[["old", "new"]].to_numpy().tolist() == [[0.9, 0.5], ["RED", "GREEN"]]
    add_report(second, path)
    assert reassess(second, read_reports(path)).equals(rows), "a report that is written again still says what it changed"


def test_every_number_of_the_report_comes_from_a_table_row(finished):
    council = finished.folder / "results/small/council"
    report = (council / "report.md").read_text()
    for name in ("detection", "council", "details", "trends", "controls", "success", "checks", "verdict"):
        assert f"tables/{name}.csv" in report and (council / f"tables/{name}.csv").stat().st_size > 0


def test_weights_are_pinned_safetensors_seeds_are_keyed_and_secrets_are_never_written(finished):
    card = json.loads(next((finished.folder / "results/models/llama").glob("*.json")).read_text())
    assert len(card["digest"]) == 64
    secret = "hf_secret_for_the_audit"
    done = finished.snakemake("--configfile", "config/studies/small.yaml", "--forcerun", "aggregate", HF_TOKEN=secret)
    assert done.returncode == 0, done.stderr[-2000:]
    written = [path for path in (finished.folder / "results").rglob("*") if path.is_file()]
    assert written and not any(secret.encode() in path.read_bytes() for path in written)


def test_the_published_numbers_stand_beside_ours_with_the_reason_where_they_part(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(ROOT / "config/studies/paper.yaml")
    row = {"auroc": 0.9, "auroc_lower": 0.8, "auroc_upper": 0.95, "accuracy": 0.8, "separation": 2.0}
    row |= {"accuracy_test_midpoint": 0.85, "accuracy_test_median": 0.83, "cv_auroc": 0.9}
    detection = pd.DataFrame([{"model": "qwen2.5-7b", "layer": layer, **row} for layer in (15, 16)])
    table = replication(study.models, detection.assign(auroc=[0.7, 0.9]), pd.DataFrame())
    printed = table[(table["model"] == "qwen2.5-7b") & (table["claim"] == "auroc") & (table["at"] == "layer 16")].iloc[0]
    assert (printed["printed"], printed["by_published_rule"], printed["ours"]) == (1.0, 0.7, 0.9), "one block apart"
    assert "block before" in printed["why"]


def test_a_preflight_looks_at_access_weights_architecture_disk_and_gpu_before_anything_is_queued(monkeypatch):
    """Every refusal has a test of its own beside the loopback hub."""
    monkeypatch.chdir(ROOT)
    found = preflight(load_study(DEMO))
    assert {finding.what for finding in found} == {
        "access",
        "weights",
        "architecture",
        "tensors",
        "tokenizer",
        "prompt",
        "disk",
    }
    assert {finding.status for finding in found} == {"ok"}


# Detection on the cache that a study writes


def test_a_detection_table_holds_every_row_a_sceptic_asks_for(finished):
    cache = next((finished.folder / "results/activations").rglob("*.parquet"))
    words = load_words(ROOT / "resources/concepts/empathy_grammar/ablation_words.txt")
    rows = pd.DataFrame(detection_rows(cache, [-1, 3], 0, words))
    assert {"selected_layer", "selection_p", "nested_auroc"} <= set(rows[rows["layer"].isna()]["metric"])
    assert set(rows[rows["metric"] == "method_auroc"]["of"]) == set(METHODS)
    assert len(set(rows[rows["metric"] == "surface_auroc"]["of"])) == 7
    assert {"ablated_auroc", "residualised_auroc", "without_scenario", "layer_cosine"} <= set(rows["metric"])
    layer, ablated = read_layer(cache, 3), read_layer(cache, 3, ablation=1)
    assert len(layer.texts) == len(ablated.texts) and layer.texts != ablated.texts


def test_ablation_replaces_listed_words_on_both_sides_by_draws_that_differ():
    pairs = shipped_pairs("empathy_in_action")[:3]
    rows = cache_rows(pairs, ["a", "b", "c"], ["stay", "run"], 2)
    assert [row.ablation for row in rows] == [0] * 6 + [1] * 6 + [2] * 6
    assert ablate("They stayed. Running!", ["stay", "run"], "0")[1] == 2
    draws = {ablate("stay " * 20, ["stay", "run", "kind"], str(seed))[0] for seed in range(5)}
    assert len(draws) == 5


def test_length_that_tells_the_sides_apart_is_taken_out():
    rng = np.random.default_rng(0)
    labels, groups = np.tile([True, False], 40), np.repeat(np.arange(40), 2)
    said = ["word " * (30 + 20 * label + rng.integers(10)) for label in labels]
    activations = rng.standard_normal((80, 8)) + 3 * np.log([len(text) for text in said])[:, None]
    at = labels, groups, groups % 2 == 0, groups // 2 % 4
    assert evaluate(activations, *at).auroc.estimate > 0.9
    assert evaluate(residualised(activations, form(said), at[2]), *at).auroc.estimate < 0.8
