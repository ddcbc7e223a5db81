"""The report rests on nothing that was not made from what the study says: each foreign file is named."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import World

from probesteer.cli import main
from probesteer.files.seal import is_whole
from probesteer.files.tables import read_inputs, read_table, write_table

SCORES = "results/small/scores/model=llama/scorer=grammar/scores.parquet"


@pytest.fixture
def aggregate(world: World, monkeypatch, capsys):
    """Writes the report of the small study, options laid over it; returns what is said on failure."""
    monkeypatch.chdir(world.folder)

    def run(**options: object) -> str:
        study = json.loads(Path("results/small/study.json").read_text())
        Path("study.json").write_text(json.dumps(study | options))
        code = main(["aggregate", "--study", "study.json", "--output", "report"])
        _out, err = capsys.readouterr()
        assert code == (2 if err else 0) and err.count("\n") == bool(err)
        return err

    return run


def test_an_untouched_study_is_reported(aggregate):
    assert aggregate() == ""
    assert pd.read_csv("report/tables/cells.csv")["verified_cells"].tolist() == [24]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"method": "lda"}, "forecast.parquet"),
        ({"seed": 5}, "detection.parquet"),
        ({"samples": 2}, "cell.parquet"),
        ({"alpha_unit": "residual"}, "cell.parquet"),
        ({"ablations": 1}, "detection.parquet"),
    ],
)
def test_results_of_other_settings_are_refused(options, names, aggregate):
    assert f"{names}: missing, broken, or made from other inputs than the study's" in aggregate(**options)


def test_scores_whose_signs_are_flipped_are_refused(aggregate):
    table = read_table(Path(SCORES)).to_pandas()
    table[["positive", "negative"]] = table[["negative", "positive"]].to_numpy()
    table.to_parquet(SCORES)
    assert f"{SCORES}: " in aggregate()


def test_scores_without_a_scenario_are_refused(aggregate):
    table = read_table(Path(SCORES)).to_pandas()
    table[table["scenario"] != "the_duel"].to_parquet(SCORES)
    assert f"{SCORES}: " in aggregate()


@pytest.mark.parametrize(
    "name",
    [
        "small/texts/model=llama/texts.parquet",
        "small/effects/model=llama/trends.parquet",
        "small/effects/model=llama/controls.parquet",
        "small/detection/model=llama/detection.parquet",
        "pairs/*/*/data.parquet",
        "pairs/*/*/pairs.parquet",
    ],
)
def test_a_table_of_other_inputs_is_refused_though_it_is_sealed(name, aggregate):
    path = next(Path("results").glob(name))
    write_table(read_table(path), path, {**read_inputs(path), "numerics": -1})
    assert is_whole(path) and f"{path}: " in aggregate()


@pytest.mark.parametrize("name", ["models/llama/*.json", "small/**/probe.safetensors"])
def test_a_card_or_a_probe_that_was_edited_is_refused(name, aggregate):
    path = next(Path("results").glob(name))
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b'"dtype": "float32"', b'"dtype": "float64"').replace(b'"residual_norm":"', b'"residual_norm":"1')
    )
    assert f"{path}: " in aggregate()
