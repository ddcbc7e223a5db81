"""What alpha 1 is in the units kl and coherence: searched for, written, and pushed by."""

from dataclasses import replace
from math import log

import pandas as pd
import pytest
from conftest import World

from probesteer.cli import main
from probesteer.concepts import check_study, pair_set
from probesteer.concepts.card import write_pair_tables
from probesteer.concepts.data import study_concept
from probesteer.detection.activations import capture_pairs
from probesteer.detection.fit import fit_probe
from probesteer.directions.sites import load_site
from probesteer.dosing import dose
from probesteer.dosing.dose import find_doses, less_coherent, log_worst, nats_of, search
from probesteer.errors import InputError
from probesteer.files.cards import read_card
from probesteer.files.tables import read_table
from probesteer.lm.jobs import write_model_card
from probesteer.lm.load import load_card
from probesteer.steering.sweep import Sweep
from probesteer.study import Study, load_study


def prepared(world: World, **options: object) -> Study:
    """A study of llama in this folder, as far as its first probe."""
    study = check_study(load_study(world.study(ablations=0, **options)))
    model, pairs = study.models[0], pair_set(study)
    write_model_card(study, model, model.name)
    paths = study.paths
    write_pair_tables(pairs, paths.pairs(pairs.concept, pairs.key), paths.data_card(pairs.concept, pairs.key))
    capture_pairs(study, model, pairs)
    fit_probe(study, model, 3)
    return study


@pytest.mark.parametrize("start", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_the_search_finds_where_nats_are_as_many_as_asked_for(start, power):
    asked = []

    def act(push: float) -> tuple[float, float]:
        asked.append(push)
        return 0.2 * push**power, 0.7 * (push / 4) ** power

    push, effect = search(act, log(1.0), start, 0.02, log_worst)
    assert max(effect) == pytest.approx(1, abs=0.03) and push == pytest.approx(5 ** (1 / power), rel=0.03)
    assert len(asked) == len(set(asked)) <= 14 and push == float(f"{push:.3g}")


def test_the_search_finds_where_the_worse_way_leaves_65_percent_coherent():
    def shares(push: float) -> tuple[float, float]:
        return 1 / (1 + (push / 8) ** 6), 1 / (1 + (push / 5) ** 6)

    push, (better, worse) = search(shares, -dose.COHERENT, 20.0, 0.05, less_coherent)
    assert worse == pytest.approx(0.65, abs=0.05) and better > worse and 4 < push < 5


def test_a_dose_that_no_push_has_is_refused():
    with pytest.raises(InputError, match=r"no push up to .* has the dose; choose another alpha_unit"):
        search(lambda push: (0.0, 0.0), log(1.0), 1.0, 0.02, log_worst)


def test_the_dose_in_kl_moves_the_worst_tokens_by_one_nat_and_is_what_alpha_1_pushes(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    study = prepared(fresh, alpha_unit="kl", alphas=[-1, 0, 0.5, 1])
    model = study.models[0]
    find_doses(study, model, 3)
    (row,) = read_table(study.paths.dose("llama", 3)).to_pylist()
    probe, card = load_site(study, model, 3), read_card(study.paths.card(model.name, model.key))
    sweep = Sweep.of(study, study_concept(study), model)
    both = nats_of(load_card(card), sweep, card, probe)(row["push"])
    assert both == (row["positive"], row["negative"]) and max(both) == pytest.approx(1, abs=0.03)
    assert [probe.push(alpha, "kl") for alpha in (-1, 0.5)] == [-row["push"], 0.5 * row["push"]]
    cells = study.cells("llama", 3, study.alphas)
    other = replace(probe, doses={"kl": 1.01 * row["push"]})
    before, after = (sweep.fingerprints(cells, card, one) for one in (probe, other))
    assert not set(before.values()) & set(after.values())


def test_the_push_of_a_unit_that_was_not_found_is_refused(fresh, monkeypatch):
    monkeypatch.chdir(fresh.folder)
    study = prepared(fresh, alpha_unit="kl")
    with pytest.raises(InputError, match=r"dose.parquet: no such file"):
        load_site(study, study.models[0], 3)
    probe = load_site(study.model_copy(update={"alpha_unit": "separation"}), study.models[0], 3)
    with pytest.raises(InputError, match="alpha_unit kl: not known at layer 3"):
        probe.push(1, "kl")


@pytest.mark.slow
def test_a_study_finds_its_block_and_its_doses_and_the_ends_of_its_grid_are_where_text_breaks(fresh, monkeypatch, capsys):
    options = {"steering_layers": "auto", "alphas": "auto", "layers": None, "samples": 24, "sampling": {"max_new_tokens": 40}}
    path = fresh.study("found", **options, alpha_unit="coherence", ablations=0, controls={"random": 0, "flipped": 0})
    planned = fresh.plan(path)
    assert planned["forecast"] == planned["dose"] == planned["steer_1"] == planned["probe"] == 1
    fresh.run(path)
    assert fresh.plan(path) == {}
    report = fresh.folder / "results/found/council/tables"
    forecast, doses, rates, trends = (
        pd.read_csv(report / f"{name}.csv") for name in ("forecast", "doses", "dose_response", "trends")
    )
    assert forecast.loc[forecast["steered"], "layer"].tolist() == rates["layer"].unique().tolist() == [3]
    push = doses.set_index("unit")["push"]
    assert rates.groupby("alpha")["dose_absolute"].first()[0.5] == pytest.approx(push["coherence"] / 2)
    coherent = rates.groupby("alpha")["coherent"].mean()
    assert all(0.5 <= coherent[end] <= 0.95 for end in (-1, 1)) and coherent[[-1, 1]].mean() < coherent[0] - 0.1
    assert all(coherent[half] > coherent[0] - 0.05 for half in (-0.5, 0.5))
    assert trends["forecast_slope_lower"].gt(0).all() and trends["measured_slope"].gt(0).all()
    monkeypatch.chdir(fresh.folder)
    study = load_study(path)
    lost = study.paths.forecast("llama")
    lost.unlink()
    assert main(["aggregate", "--study", str(study.paths.saved)]) == 2
    assert str(lost) in capsys.readouterr().err
