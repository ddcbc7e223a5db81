"""What a block promises, and that the promise is kept where the truth is known."""

import numpy as np
import pandas as pd
import pytest
from conftest import World

from probesteer.behaviour.scoring import score
from probesteer.concepts import check_study, pair_set
from probesteer.concepts.card import write_pair_tables
from probesteer.concepts.data import activations_path, study_concept
from probesteer.detection import forecast
from probesteer.detection.activations import capture_pairs, read_layer
from probesteer.detection.design import Design
from probesteer.detection.forecast import choose, cross_validated, forecast_model
from probesteer.detection.selection import select
from probesteer.directions.methods import mean_difference
from probesteer.directions.sites import block_of
from probesteer.files.cards import read_card
from probesteer.files.tables import read_table
from probesteer.lm.generate import generate
from probesteer.lm.jobs import write_model_card
from probesteer.lm.load import load_card, render_prompt
from probesteer.lm.request import Request
from probesteer.report.views import measured_slope, with_forecast
from probesteer.study import Study, load_study

PUSH, SAMPLES = 0.2, 6  # mean residual norms; per scenario, each way


def forecasted(world: World, organism: str) -> Study:
    """A study of an organism at the block that is chosen for it, as far as its forecast."""
    models = [{"name": organism, "source": f"resources/organisms/{organism}"}]
    study = check_study(load_study(world.study(models=models, steering_layers="auto", layers=None, ablations=0)))
    model, pairs = study.models[0], pair_set(study)
    write_model_card(study, model, model.name)
    table, card = study.paths.pairs(pairs.concept, pairs.key), study.paths.data_card(pairs.concept, pairs.key)
    write_pair_tables(pairs, table, card)
    capture_pairs(study, model, pairs)
    forecast_model(study, model)
    return study


def rate_changes(study: Study) -> dict[int, float]:
    """By block, the rate of texts that put the person first under a push along its direction, less that under the opposite."""
    model, concept = study.models[0], study_concept(study)
    loaded = load_card(read_card(study.paths.card(model.name, model.key)))
    prompts = {name: render_prompt(loaded[1], concept.system_prompts.neutral, user) for name, user in concept.prompts().items()}
    found = {}
    for block in range(model.block_count()):
        cache = read_layer(activations_path(study, model, pair_set(study)), block)
        direction, push = mean_difference(*cache.training_sides())[0], PUSH * float(cache.norms.mean())
        axes = [(way, name, sample) for way in (1, -1) for name in prompts for sample in range(SAMPLES)]
        asked = [Request(prompts[name], block, direction, way * push, (0, name, sample)) for way, name, sample in axes]
        texts = pd.DataFrame(axes, columns=["alpha", "scenario", "sample"])
        texts = texts.assign(text=generate(*loaded, asked, 60, 0.7), model="m", layer=block)
        positive = score(texts, "grammar", concept.prompts()).groupby("alpha")["positive"].mean()
        found[block] = float(positive[1] - positive[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("organism", ["llama", "qwen2", "phi3"])
def test_the_chosen_block_is_within_one_of_the_one_that_moves_most(fresh, monkeypatch, organism):
    monkeypatch.chdir(fresh.folder)
    study = forecasted(fresh, organism)
    changes = rate_changes(study)
    chosen = block_of(study, study.models[0], "auto")
    assert abs(chosen - max(changes, key=lambda block: changes[block])) <= 1 and changes[chosen] > 0.4, changes
    table = read_table(study.paths.forecast(organism)).to_pandas().set_index("layer")
    assert table["gain"].corr(pd.Series(changes)) > 0.8


def test_a_forecast_has_a_row_per_block_and_one_choice(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    monkeypatch.setattr(forecast, "PAIRS", 8)
    study = forecasted(fresh, "llama")
    table = read_table(study.paths.forecast("llama")).to_pandas().set_index("layer")
    assert table.index.tolist() == [0, 1, 2, 3, 4, 5] and block_of(study, study.models[0], "auto") == 3
    np.testing.assert_allclose(table["gain"], table["slope"] * table["residual_norm"])
    assert table.loc[3, "slope_lower"] > 0 and (table["slope_lower"] <= table["slope"]).all()


def test_its_auroc_is_the_one_that_detection_chooses_by():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(80) % 2 == 0, np.arange(80) // 2
    activations = rng.standard_normal((80, 5)) + labels[:, None] * 0.4
    design = Design(labels, groups.astype(str), groups < 28, (groups % 4).astype(str))
    own = select({0: activations}, design, count=3).by_layer[0].cv_auroc
    assert cross_validated(activations, design) == pytest.approx(own)


def test_what_moves_most_is_chosen_among_what_reads_nearly_best():
    assert choose([0.7, 0.96, 1.0, 0.99], [9, 3, 1, -2]) == 1
    assert choose([0.7, 0.94, 1.0, 0.99], [9, 3, 1, -2]) == 2
    assert choose([0.7, 0.7], [-1, -1]) == 0 and choose([float("nan"), 0.5], [9, 1]) == 1


def test_both_slopes_are_of_log_odds_per_residual_norm():
    rates = pd.DataFrame({"model": "m", "layer": 3, "scenario": ["a", "b"] * 3, "alpha": [-1, -1, 0, 0, 1, 1], "samples": 20})
    rates = rates.assign(positive_coherent=[0.1, 0.2, 0.4, 0.5, 0.4, 0.6], coherent=[0.8, 0.8, 1, 1, 0.8, 0.6])
    rates["dose_residual"] = rates["alpha"] * 0.25
    direct = (np.log(20.5 / 8.5) - np.log(6.5 / 26.5)) / 0.5
    assert measured_slope(rates) == pytest.approx(direct)
    promised = pd.DataFrame({"model": ["m"] * 2, "layer": [2, 3], "gain": [1.0, 5.0], "gain_lower": 0.0, "gain_upper": 9.0})
    trends = pd.DataFrame({"model": ["m"], "layer": [3]})
    (row,) = with_forecast(trends, promised, rates, 5.0).to_dict("records")
    assert row["forecast_slope"] == 5 and row["measured_slope"] == pytest.approx(direct) and row["forecast_slope_upper"] == 9
    assert with_forecast(trends, promised.head(0), rates, 5.0) is trends
