"""What the verbs score, effects and agreement read, refuse and say: tables that people bring."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probesteer.behaviour.agreement import agreement_with
from probesteer.behaviour.coherence import judge_coherence
from probesteer.behaviour.effects import dose_response, of_arm, success_intervals, success_rates
from probesteer.behaviour.outcomes import with_unrated
from probesteer.cli import main
from probesteer.errors import InputError
from probesteer.report.checks import engineer_ratings
from probesteer.report.evidence import Evidence
from probesteer.study.sections import Criteria

KEYS = ["model", "layer", "scenario", "alpha", "sample"]


def study_scores(samples: int = 5) -> pd.DataFrame:
    """Scores as a study writes them: a probe arm, a control arm that scores the opposite, a baseline, a prompted arm."""
    rows = [
        {"arm": arm, "model": "7", "layer": layer, "scenario": "s", "alpha": alpha, "sample": sample, "evidence": evidence}
        for arm, layer, alpha, evidence in (
            ("probe", 3, 1.0, 1),
            ("probe", 3, -1.0, -1),
            ("random-1", 3, 1.0, -1),
            ("random-1", 3, -1.0, 1),
            ("baseline", 3, 0.0, 0),
            ("prompted-positive", None, 0.0, 1),
        )
        for sample in range(samples)
    ]
    table = pd.DataFrame(rows).assign(text="a text")
    table["positive"], table["negative"] = table["evidence"] > 0, table["evidence"] < 0
    return table.assign(coherent=True, coherent_published=True)


def agreement(scores: pd.DataFrame, ratings: pd.DataFrame) -> dict:
    """The row of scores and ratings, and how many of these are of other texts."""
    table, unmatched = agreement_with(scores, {"ratings": ratings})
    return {**table.iloc[0], "unmatched": unmatched}


def test_ratings_meet_the_scores_of_their_own_arm():
    scores = study_scores()
    ratings = scores.assign(rating=scores["evidence"] + 1)
    probe = ratings[ratings["arm"] == "probe"]
    without_arm = agreement(scores, probe.drop(columns="arm"))
    assert (without_arm["kappa"], without_arm["texts"]) == (1, len(probe))
    assert agreement(scores, ratings)["texts"] == len(scores) and agreement(scores, ratings)["kappa"] == 1


def test_an_unsteered_text_counts_once_however_many_layers_it_stands_at():
    scores = study_scores()
    layers = pd.concat([scores.assign(layer=layer) for layer in range(10)])
    ratings = layers[layers["arm"].isin(["probe", "baseline"])]
    found = agreement(layers, ratings.assign(rating=ratings["evidence"] + 1)[[*KEYS, "rating"]])
    assert (found["texts"], found["unmatched"]) == (10 * 10 + 5, 0)


def test_a_text_that_is_rated_twice_is_refused():
    scores = study_scores()
    twice = pd.concat([scores.assign(rating=1)] * 2)
    with pytest.raises(InputError, match=r"ratings ratings: arm probe, model 7, layer 3, .* is there twice"):
        agreement(scores, twice)
    with pytest.raises(InputError, match=r"scores: .* is there twice"):
        agreement(pd.concat([scores] * 2), scores.assign(rating=1))


def test_models_named_as_numbers_or_na_are_names(tmp_path, capsys):
    scores = pd.concat([study_scores(), study_scores().assign(model="NA")])
    scores.to_parquet(tmp_path / "scores.parquet")
    rated = scores[scores["arm"] == "probe"]
    rated.assign(rating=rated["evidence"] + 1)[[*KEYS, "rating"]].to_csv(tmp_path / "ratings.csv", index=False)
    assert main(["agreement", str(tmp_path / "scores.parquet"), str(tmp_path / "ratings.csv")]) == 0
    assert "scores and human: ratings: kappa 1.000 [0.644, 1.000], alpha 1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ratings", "says"),
    [
        ("model,layer,scenario,alpha,sample,rating\n", "there are no ratings"),
        ("model,layer,scenario,alpha,sample,rating\nm,mid,s,0,0,1\n", "row 1: layer mid is not a number"),
        ("model,layer,scenario,alpha,sample,rating\nm,3,s,,0,1\n", "row 1: alpha empty is not a number"),
        ("model,layer,scenario,alpha,sample,rating,rating\nm,3,s,0,0,1,1\n", "the column 'rating' is given twice"),
        ("model,layer,scenario,alpha,sample,rating\nm,3,s,0,0\n", "row 1: as many fields as the header has, 6, are expected"),
        ("model,layer\nm,3\n", "column scenario is missing"),
        ("model,layer,scenario,alpha,sample,rating\nm,3,s,0,0,2.5\n", "row 1: rating 2.5 is not 0, 1 or 2"),
        (b"model\xff", "not UTF-8 text"),
    ],
)
def test_ratings_that_are_none_are_one_line(ratings, says, tmp_path, capsys):
    study_scores().to_parquet(tmp_path / "scores.parquet")
    (tmp_path / "ratings.csv").write_bytes(ratings if isinstance(ratings, bytes) else ratings.encode())
    assert main(["agreement", str(tmp_path / "scores.parquet"), str(tmp_path / "ratings.csv")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_score_and_effects_say_what_they_wrote(tmp_path, capsys):
    texts, scores, effects = tmp_path / "texts.parquet", tmp_path / "scores.parquet", tmp_path / "effects.csv"
    study_scores().assign(text=["I help you."] * 15 + ["I win."] * 15).drop(columns=["positive"]).to_parquet(texts)
    assert main(["score", str(texts), "--scorer", "lexical", "--concept", "empathy_in_action", "--output", str(scores)]) == 0
    assert f"wrote 30 rows to {scores}: 0.500 positive, 0.500 negative" in capsys.readouterr().out
    assert main(["effects", str(scores), "--rule", "strict", "--output", str(effects)]) == 0
    assert "wrote 1 rows" in (said := capsys.readouterr().out) and "15 texts of other arms or no layer left out" in said
    row = pd.read_csv(effects).iloc[0]
    assert row["success_rate_lower"] <= row["success_rate"] <= row["success_rate_upper"]


def table(tmp_path, frame: pd.DataFrame) -> str:
    frame.to_parquet(tmp_path / "in.parquet")
    return str(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: pd.concat([t, t.head(1)], ignore_index=True), "row 30: arm probe, model 7, layer 3.0, scenario s"),
        (lambda t: t.head(0), "there are no rows"),
        (lambda t: t.assign(layer=np.nan), "no row has a layer and a rating"),
        (lambda t: t.assign(alpha=t["alpha"].where(t.index > 2)), "row 0: alpha is"),
        (lambda t: t.assign(alpha=t["alpha"].replace(1, np.inf)), "row 0: alpha is inf"),
        (lambda t: t.assign(nll="low"), "column nll holds"),
        (lambda t: t[t["alpha"] != 0], "model 7, layer 3, scenario s: no rows with alpha 0"),
    ],
)
def test_effects_refuse_what_they_cannot_count(change, says, tmp_path, capsys):
    assert main(["effects", table(tmp_path, change(study_scores())), "--rule", "strict", "--output", "none.csv"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and "np." not in error


def test_score_reads_categories_and_refuses_other_bytes_and_repeated_columns(tmp_path, capsys):
    categories = study_scores().astype({"model": "category", "scenario": "category"}).assign(nll=0.5)
    out = str(tmp_path / "out.parquet")
    assert main(["score", table(tmp_path, categories), "--scorer", "published", "--output", out]) == 0
    assert main(["score", table(tmp_path, categories.assign(nll="low")), "--scorer", "published", "--output", out]) == 2
    assert "column nll holds" in capsys.readouterr().err
    plain = pa.table({"model": ["m"], "layer": [1], "scenario": ["s"], "alpha": [0.0], "sample": [0], "text": ["t"]})
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00"), pa.py_buffer(b"\xff\xfe"))
    for extra, says in (
        (plain.set_column(5, "text", bad), "column text holds what is not UTF-8 text"),
        (plain.append_column("text", plain["text"]), "column text is given twice"),
    ):
        pq.write_table(extra, tmp_path / "in.parquet")
        assert main(["score", str(tmp_path / "in.parquet"), "--scorer", "published", "--output", out]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def test_an_output_that_is_the_input_or_a_folder_is_one_line_and_changes_nothing(tmp_path, capsys):
    path = table(tmp_path, study_scores())
    before = (tmp_path / "in.parquet").read_bytes()
    for verb in (["score", path, "--scorer", "published"], ["effects", path, "--rule", "strict"]):
        assert main([*verb, "--output", path]) == 2
        assert "the output is the input" in capsys.readouterr().err
        (tmp_path / "mine").mkdir(exist_ok=True)
        assert main([*verb, "--output", str(tmp_path / "mine")]) == 2
        assert capsys.readouterr().err.endswith(f"{tmp_path / 'mine'}: Is a directory\n")
    assert (tmp_path / "in.parquet").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.parquet", "mine"]


def test_the_bound_of_coherence_does_not_move_with_the_number_of_layers():
    rng = np.random.default_rng(0)
    words = "the light is low and I put the old man before the route today"
    texts = pd.DataFrame({"arm": "baseline", "model": "m", "layer": 0, "scenario": "s", "alpha": 0.0, "sample": range(50)})
    prompted = texts.assign(arm="prompted-positive", layer=np.nan)
    one = pd.concat([texts, prompted], ignore_index=True)
    one = one.assign(text=words, nll=rng.gamma(2, size=100), nll_std=1.0)
    ten = pd.concat([one, *(one[one["arm"] == "baseline"].assign(layer=layer) for layer in range(1, 10))])
    assert judge_coherence(ten)["coherent"][: len(one)].tolist() == judge_coherence(one)["coherent"].tolist()


def test_what_a_judge_failed_on_is_counted_and_left_out_of_the_rates():
    scores = study_scores()
    failed = (scores["arm"] == "probe") & (scores["alpha"] == 1) & (scores["sample"] < 2)
    scores[["positive", "negative", "evidence"]] = scores[["positive", "negative", "evidence"]].astype(object)
    scores.loc[failed, ["positive", "negative", "evidence"]] = None
    rates = with_unrated(dose_response(of_arm(scores)), scores).set_index("alpha")
    assert rates["samples"].to_dict() == {-1: 5, 0: 5, 1: 3} and rates["unrated"].to_dict() == {-1: 0, 0: 0, 1: 2}
    assert rates.loc[1, "positive"] == 1
    two_layers = pd.concat([rates.reset_index(), rates.reset_index().assign(layer=4)])
    for unrated, status in ((0, "PASS"), (1, "WARN"), (9, "FAIL")):
        table = two_layers.assign(unrated=unrated * (two_layers["alpha"] == 0))
        [check] = engineer_ratings(Evidence(Criteria(), pd.DataFrame(), pd.DataFrame(), rates=table))
        assert check.status == status and check.evidence == f"{unrated} of {21 + unrated} texts have no rating"


def test_success_has_an_interval_over_samples():
    rng = np.random.default_rng(0)
    scores = pd.concat([study_scores(40).query("arm == 'probe'"), study_scores(40).query("arm == 'baseline'")])
    scores["positive"] = rng.random(len(scores)) < 0.5
    scores["negative"] = ~scores["positive"]
    row = success_rates(scores, "strict").iloc[0]
    assert row["success_rate_lower"] < row["success_rate_upper"]
    assert success_intervals(scores[scores["sample"] == 0], "strict").isna().all(axis=None), "one sample says nothing of others"
    sure = study_scores(40).query("arm in ['probe', 'baseline']")
    assert success_intervals(sure, "strict").to_numpy().tolist() == [[1.0, 1.0]]
