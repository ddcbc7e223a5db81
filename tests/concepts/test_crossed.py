"""Crossed pairs: a factor's levels are read and kept, a situation's pairs are one observation, and errors name the row."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT

from probesteer.concepts.card import cluster_names, data_card, read_pairs, write_pair_tables
from probesteer.concepts.concept import load_concept
from probesteer.concepts.data import PairSet, pair_set, study_concept, with_scenarios
from probesteer.concepts.pairs import Pair, load_pairs
from probesteer.detection.activations import cache_rows, read_layer, row_groups
from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.files.tables import write_row_groups
from probesteer.lm.capture import Captured
from probesteer.plan import least_p
from probesteer.study import PairsFile, Study
from probesteer.study.sections import levels

LEVELS = {"tone": ["warm", "plain"]}
MODEL = {"name": "m", "source": "a/b", "revision": "0" * 40, "blocks": 2, "parameters_b": 1.0}
WORDS = np.random.default_rng(0).permuted(np.tile(np.arange(400), (200, 1)), axis=1)[:, :12]


def lines(situations: int = 6, **changes: object) -> list[dict]:
    """Every situation told four times: two pairs, one a tone; no text is like another."""
    rows = []
    for number in range(2 * situations):
        told, tone = number // 2, LEVELS["tone"][number % 2]
        sides = (" ".join(f"w{word}" for word in WORDS[2 * number + side]) for side in (0, 1))
        row = {"id": f"p{number}", "situation": f"s{told}", "scenario": f"c{told % 2}", "voice": "a", "tone": tone}
        row |= {"split": "train" if told < situations / 2 else "test"} | dict(zip(("positive", "negative"), sides, strict=True))
        rows.append(row | changes)
    return rows


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(situations: int = 6) -> list[Pair]:
    return [Pair(**{k: v for k, v in row.items() if k != "tone"}, factors={"tone": row["tone"]}) for row in lines(situations)]


def test_a_factors_column_becomes_the_pairs_level(tmp_path):
    loaded = load_pairs(write(tmp_path / "pairs.jsonl", lines()), None, LEVELS)
    assert loaded == pairs() and [pair.factors for pair in loaded[:2]] == [{"tone": "warm"}, {"tone": "plain"}]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tone": "cold"}, r"pairs.jsonl, line 3: tone: 'cold' is none of its levels warm and plain"),
        ({"tone": None}, r"line 3: tone: None is none of its levels warm and plain"),
        ({"tone": ["warm"]}, r"line 3: tone: \['warm'\] is none of its levels"),
        ({"tones": "warm"}, r"line 3: tones: unknown key"),
        ({"factors": {"tone": "warm"}}, r"line 3: factors: unknown key"),
        ({"situation": "s4"}, r"line 9: situation 's4' is in both splits; its pairs are held out together"),
        ({"situation": " "}, r"line 3: situation is blank"),
    ],
)
def test_a_bad_row_of_crossed_pairs_is_named(change, says, tmp_path):
    rows = lines()
    rows[2] |= change
    with pytest.raises(InputError, match=says):
        load_pairs(write(tmp_path / "pairs.jsonl", rows), None, LEVELS)


def test_a_pair_without_its_level_and_a_column_that_is_no_factor_are_named(tmp_path):
    path = write(tmp_path / "pairs.jsonl", lines())
    with pytest.raises(InputError, match=r"line 1: pace: required key is missing; its levels are slow and fast"):
        load_pairs(path, None, LEVELS | {"pace": ["slow", "fast"]})
    with pytest.raises(InputError, match=r"line 1: tone: unknown key"):
        load_pairs(path)


def test_each_split_needs_pairs_of_each_level(tmp_path):
    rows = [row for row in lines() if not (row["split"] == "test" and row["tone"] == "plain")]
    with pytest.raises(InputError, match="fewer than 2 pairs of split 'test' with tone 'plain', which is crossed"):
        load_pairs(write(tmp_path / "pairs.jsonl", rows), None, LEVELS)


def test_a_situation_is_one_cluster_with_its_near_duplicates():
    own = pairs()
    assert cluster_names(own) == [f"p{2 * (number // 2)}" for number in range(12)]
    own[11] = own[11].model_copy(update={"positive": own[0].positive + " more"})
    assert cluster_names(own)[10:] == ["p0", "p0"], "through a near-duplicate of one of its pairs"
    alone = [pair.model_copy(update={"situation": None}) for pair in pairs()]
    assert cluster_names(alone) == [pair.id for pair in alone]


def test_the_card_counts_situations_and_levels_where_there_are_some():
    card = data_card(pairs(), cluster_names(pairs())).set_index("split")
    assert card.loc["train", ["pairs", "clusters", "situations", "tone_warm", "tone_plain"]].tolist() == [6, 3, 3, 3, 3]
    plain = [pair.model_copy(update={"situation": None, "factors": {}}) for pair in pairs()]
    assert not {"situations", "tone_warm"} & set(data_card(plain, cluster_names(plain)))


def test_tables_and_caches_carry_the_level(tmp_path):
    path = write(tmp_path / "pairs.jsonl", lines())
    of = PairSet("c", {path: None}, None, (file_digest(path),), (), 0, LEVELS, None)
    write_pair_tables(of, tmp_path / "pairs.parquet", tmp_path / "data.parquet")
    read, clusters = read_pairs(tmp_path / "pairs.parquet")
    assert read == pairs() and clusters == cluster_names(read)
    assert of.key != of._replace(factors={}).key, "the levels name what is made from them"
    window = Captured({"mean": np.zeros((24, 1, 2))}, np.ones((24, 1)), 0)
    write_row_groups(row_groups([window], cache_rows(read, clusters, [], 0), [0], "mean"), tmp_path / "cache.parquet")
    cache = read_layer(tmp_path / "cache.parquet", 0)
    assert cache.factors["tone"][:4].tolist() == ["warm", "warm", "plain", "plain"]
    assert cache.design.groups[:4].tolist() == ["p0"] * 4


@pytest.mark.parametrize("scenarios", [True, False])
def test_a_users_situations_are_held_out_whole(scenarios, tmp_path):
    rows = [{k: v for k, v in row.items() if k not in ("split", "id")} for row in lines(20)]
    rows = [row if scenarios else {k: v for k, v in row.items() if k != "scenario"} for row in rows]
    renamed = [{"about": row.pop("situation"), **row} for row in rows]
    loaded = load_pairs(write(tmp_path / "mine.jsonl", renamed), {"situation": "about"}, LEVELS)
    assert sum(pair.split == "test" for pair in loaded) == 12
    for column in ("split", "scenario"):
        assert len({(pair.situation, getattr(pair, column)) for pair in loaded}) == 20, "of a situation it is one"


def test_a_factor_has_a_name_of_its_own_and_two_levels():
    factors = {"tone": {"title": "Tone", "levels": ["warm", "plain"]}}
    with pytest.raises(ValueError, match="voice is the name of another column of pairs; choose another one"):
        PairsFile(file="mine.jsonl", factors={"voice": factors["tone"]})
    with pytest.raises(ValueError, match="warm is given twice"):
        PairsFile(file="mine.jsonl", factors={"tone": {"title": "Tone", "levels": ["warm", "warm"]}})
    with pytest.raises(ValueError, match="at most 2 items"):
        PairsFile(file="mine.jsonl", factors={"tone": {"title": "Tone", "levels": ["warm", "plain", "curt"]}})


def test_a_concept_names_its_factors_and_its_pairs_carry_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("resources/concepts/crossed")
    folder.mkdir(parents=True)
    concept = yaml.safe_load((ROOT / "resources/concepts/empathy_grammar/concept.yaml").read_text())
    concept["factors"] = {"tone": {"title": "Tone", "levels": ["warm", "plain"]}}
    (folder / "concept.yaml").write_text(yaml.safe_dump(concept))
    write(folder / "pairs.jsonl", lines(8))
    assert levels(load_concept(folder).factors) == LEVELS
    study = Study(study="x", concept="crossed", models=[MODEL], steering_layers=[])
    of = pair_set(study)
    assert of.factors == LEVELS and of.load() == pairs(8)
    assert least_p(study) == 2.0**-7, "eight situations, of which all flips together change nothing"
    own = {"file": str(folder / "pairs.jsonl"), "factors": {"tone": {"title": "Register", "levels": ["plain", "warm"]}}}
    mine = Study.model_validate({**study.model_dump(), "pairs": own})
    assert pair_set(mine).factors == {"tone": ["plain", "warm"]} and pair_set(mine).load()[0].factors == {"tone": "warm"}
    assert study_concept(with_scenarios(mine)).factors["tone"].title == "Register"
    without = Study.model_validate({**study.model_dump(), "pairs": own | {"factors": {}}})
    assert pair_set(without).load()[0].factors == {}, "a file of one's own may have any other columns"
