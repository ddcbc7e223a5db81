"""Pairs of a user's own: any column names, JSONL, CSV or Parquet, and an error that names the row."""

import csv
import hashlib
import json
import random
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import World, shipped_pairs

from probesteer.concepts import download as download_module
from probesteer.concepts.card import cluster_names, data_card
from probesteer.concepts.download import download
from probesteer.concepts.duplicates import NEAR, NEAR_ORDERED, linked, longest_common, near_duplicate_clusters, shingles
from probesteer.concepts.pairs import load_pairs
from probesteer.detection.activations import cache_rows, row_groups
from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.lm.capture import Captured
from probesteer.study import PairsFile

SHIPPED = shipped_pairs("empathy_grammar")
COLUMNS = {"positive": "warm", "negative": "cold", "scenario": "where"}
ROWS = [{"warm": pair.positive, "cold": pair.negative, "where": f"At {pair.scenario}!", "note": "x"} for pair in SHIPPED]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_with_foreign_columns_is_the_same_pairs_in_every_format(suffix, tmp_path):
    pairs = load_pairs(write(tmp_path / f"mine{suffix}", ROWS), COLUMNS)
    assert [(pair.positive, pair.negative) for pair in pairs] == [(pair.positive, pair.negative) for pair in SHIPPED]
    assert (pairs[0].id, pairs[0].scenario) == ("row-1", f"At {SHIPPED[0].scenario}!")
    for scenario in {pair.scenario for pair in pairs}:
        splits = [pair.split for pair in pairs if pair.scenario == scenario]
        assert abs(splits.count("test") - 0.3 * len(splits)) <= 1
    assert sum(pair.split == "test" for pair in pairs) == round(0.3 * len(pairs))


def test_splits_that_are_files_of_their_own_are_read_as_one(tmp_path):
    train, test = write(tmp_path / "train.csv", ROWS[:40]), write(tmp_path / "test.jsonl", ROWS[40:])
    pairs = load_pairs({train: "train", test: "test"}, COLUMNS)
    assert [(pair.positive, pair.negative) for pair in pairs] == [(pair.positive, pair.negative) for pair in SHIPPED]
    assert [pair.split for pair in pairs] == ["train"] * 40 + ["test"] * (len(ROWS) - 40)
    assert (pairs[0].id, pairs[40].id) == ("train-1", "test-1")
    with pytest.raises(InputError, match=r"test.jsonl: fewer than 2 pairs of split 'test'"):
        load_pairs({train: "train", test: "train"}, COLUMNS)
    write(test, ROWS[39:])
    with pytest.raises(InputError, match=r"test.jsonl, line 1: .* occurs already in .*train.csv, row 40"):
        load_pairs({train: "train", test: "test"}, COLUMNS)


@pytest.mark.parametrize(
    "given, says",
    [
        ({}, "give file, or files"),
        ({"file": "a.csv", "files": [{"file": "b.csv"}]}, "give file, or files"),
        ({"files": [{"file": "a.csv", "split": "train"}, {"file": "b.csv"}]}, "split is given for some files"),
        ({"files": [{"file": "a.csv"}, {"file": "a.csv"}]}, "a.csv is given twice"),
        ({"files": [{"file": "a.txt"}]}, "a.txt ends in none of"),
        ({"files": [{"file": "results/a.csv", "url": "https://x/a.csv"}]}, "url comes with sha256"),
        ({"files": [{"file": "a.csv"}], "sha256": "0" * 64}, "url and sha256 stand with each of the files"),
    ],
)
def test_files_of_pairs_that_contradict_each_other_are_one_line(given, says):
    with pytest.raises(ValueError, match=says):
        PairsFile.model_validate(given)


def some_rows(count: int = 10, **columns: str) -> list[dict]:
    """Rows of short pairs; a column is a format of the row's number."""
    texts = {"positive": "one side of {}", "negative": "the other side of {}", **columns}
    return [{name: text.format(number) for name, text in texts.items()} for number in range(count)]


def test_scenarios_and_ids_are_text_of_any_script_and_none_are_merged(tmp_path):
    names = ["école", "工作", "case 工作", "case 家庭", "case_"]
    rows = [
        row | {"scenario": names[number % 5], "id": f"{names[number % 5]} {number}"} for number, row in enumerate(some_rows(20))
    ]
    pairs = load_pairs(write(tmp_path / "mine.csv", rows), {})
    assert {pair.scenario for pair in pairs} == set(names) and [pair.id for pair in pairs] == [row["id"] for row in rows]


@pytest.mark.parametrize("each", [1, 2, 3])
def test_the_held_out_share_is_that_of_the_file_however_small_its_scenarios(each, tmp_path):
    rows = [row | {"scenario": str(number // each)} for number, row in enumerate(some_rows(100))]
    pairs = load_pairs(write(tmp_path / "mine.csv", rows), {})
    assert sum(pair.split == "test" for pair in pairs) == 30


def test_separators_inside_of_a_json_string_and_a_byte_order_mark_are_no_lines(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = some_rows(positive="one\u2028side\u0085of {}")
    path.write_text("\ufeff" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    assert [pair.positive for pair in load_pairs(path, {})] == [row["positive"] for row in rows]


def test_an_id_may_be_its_own_text(tmp_path):
    rows = [row | {"id": row["positive"]} for row in some_rows()]
    assert len(load_pairs(write(tmp_path / "mine.csv", rows), {})) == 10


@pytest.mark.parametrize(("name", "delimiter"), [("mine.CSV", ","), ("mine.tsv", "\t"), ("mine.JSONL", "")])
def test_the_format_is_that_of_the_suffix_in_any_case(name, delimiter, tmp_path):
    rows = some_rows()
    lines = [delimiter.join(line) for line in ([*rows[0]], *(row.values() for row in rows))]
    (tmp_path / name).write_text("\n".join(lines if delimiter else map(json.dumps, rows)))
    assert len(load_pairs(tmp_path / name, {})) == 10


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.csv", "positive,negative,positive\na,b,c\n", "the column 'positive' is given twice"),
        ("mine.csv", "positive,negative\na,b,c\n", "row 1: as many fields as the header has, 2, are expected"),
        ("mine.csv", "positive,negative\na\n", "row 1: as many fields as the header has, 2, are expected"),
        ("mine.csv", "positive;negative\na;b\n", "';' separates its columns; ',' is expected"),
        (
            "mine.csv",
            "warm,cold\na,b\n",
            "row 1: there is no column 'positive'; there are warm, cold; pairs.columns says which",
        ),
        (
            "mine.jsonl",
            '{"positive": "a", "positive": "b", "negative": "c"}',
            "line 1: .* .positive is given twice",
        ),
        ("mine.jsonl", '{"positive": [{"role": "user"}], "negative": "c"}', "line 1: positive holds a list; text is expected"),
        ("mine.jsonl", '{"positive": NaN, "negative": "c"}', "line 1: positive: required key is missing"),
        ("mine.jsonl", "[" * 5000, "line 1: not a JSON object"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(name, content, says, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        load_pairs(tmp_path / name, {})


def alike(first: str, second: str) -> bool:
    """Whether two texts are near-duplicates, by the definition."""
    a, b = shingles(first), shingles(second)
    words, others = first.split(), second.split()
    common = longest_common(words, others)
    return len(a & b) >= NEAR * len(a | b) or common >= NEAR_ORDERED * (len(words) + len(others) - common)


def test_the_longest_common_subsequence_is_that_of_dynamic_programming():
    draw = random.Random(1)
    for _ in range(50):
        first, second = (draw.choices("abcd", k=draw.randint(0, 80)) for _ in range(2))
        row = [0] * (len(second) + 1)
        for item in first:
            before, row = row, [0]
            for place, other in enumerate(second):
                row.append(before[place] + 1 if item == other else max(before[place + 1], row[-1]))
        assert longest_common(first, second) == row[-1]


def test_a_template_with_every_fifth_word_changed_is_one_cluster():
    draw = random.Random(0)
    templates = [pair.positive.split()[:40] for pair in shipped_pairs("empathy_in_action")[:6]]
    filled = [
        tuple(
            " ".join(f"w{draw.randrange(10**6)}" if place % 5 == 4 else word for place, word in enumerate(template))
            for _side in range(2)
        )
        for template in templates
        for _copy in range(6)
    ]
    assert near_duplicate_clusters(filled).tolist() == [number // 6 for number in range(36)]


@pytest.mark.parametrize(
    ("concept", "clusters", "leaking"), [("empathy_in_action", 50, 0), ("formality", 20, 0), ("empathy_grammar", 120, 0)]
)
def test_the_shipped_pairs_do_not_collapse(concept, clusters, leaking):
    own = shipped_pairs(concept)
    found = cluster_names(own)
    train, test = ({name for pair, name in zip(own, found, strict=True) if pair.split == split} for split in ("train", "test"))
    assert (len(set(found)), len(train & test)) == (clusters, leaking)


def test_near_duplicates_are_those_of_a_comparison_of_all_pairs():
    draw = random.Random(0)
    base = [draw.choices("abcdefgh", k=draw.randint(1, 30)) for _ in range(6)]

    def text() -> str:
        words = list(draw.choice(base))
        for _ in range(draw.randint(0, 3)):
            words[draw.randrange(len(words))] = draw.choice("abcdefgh")
        return " ".join(words[: draw.randint(1, 40)])

    for _ in range(20):
        groups = [(text(), text()) for _ in range(25)]
        near = [(i, j) for i, j in combinations(range(25), 2) if any(alike(a, b) for a in groups[i] for b in groups[j])]
        left, right = np.array(near, dtype=int).reshape(-1, 2).T
        assert near_duplicate_clusters(groups).tolist() == linked(left, right, 25).tolist()


def test_an_opening_that_all_texts_share_costs_nothing_and_makes_no_duplicates():
    draw = random.Random(0)
    opening, words = "In a town by the sea there lived a baker who", [f"w{number}" for number in range(500)]
    groups = [(f"{opening} {' '.join(draw.choices(words, k=60))}",) for _ in range(3000)]
    start = time.process_time()
    assert len(set(near_duplicate_clusters(groups))) == 3000 and time.process_time() - start < 10


def test_bytes_in_parquet_are_no_text(tmp_path):
    with pytest.raises(InputError, match="row 1: negative holds a bytes; text is expected"):
        load_pairs(write(tmp_path / "mine.parquet", [{"positive": "a", "negative": b"b"}]), {})


def test_without_scenarios_four_parts_stand_for_them(tmp_path):
    rows = [{"positive": pair.positive, "negative": pair.negative} for pair in SHIPPED]
    pairs = load_pairs(write(tmp_path / "mine.csv", rows), {})
    assert {pair.scenario for pair in pairs} == {"part-1", "part-2", "part-3", "part-4"}
    assert {(pair.scenario, pair.split) for pair in pairs} >= {("part-1", "train"), ("part-4", "test")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"warm": "  "}, "row 3: positive is blank"),
        ({"cold": ROWS[2]["warm"]}, "row 3: .* occurs already in row 3"),
        ({"warm": ROWS[0]["warm"]}, "row 3: .* occurs already in row 1"),
    ],
)
def test_a_bad_row_is_named(change, says, tmp_path):
    rows = [dict(row) for row in ROWS]
    rows[2] |= change
    with pytest.raises(InputError, match=says):
        load_pairs(write(tmp_path / "mine.csv", rows), COLUMNS)


def test_a_missing_column_and_a_broken_file_are_one_line(tmp_path):
    path = write(tmp_path / "mine.csv", ROWS)
    with pytest.raises(InputError, match="row 1: there is no column 'hot'; there are warm, cold, where, note"):
        load_pairs(path, COLUMNS | {"positive": "hot"})
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a readable parquet file"):
        load_pairs(broken, COLUMNS)
    with pytest.raises(InputError, match="No such file"):
        load_pairs(tmp_path / "none.csv", COLUMNS)


def test_the_data_card_tells_length_and_format_apart():
    plain = [pair.model_copy(update={"positive": "a b c d", "negative": "a b"}) for pair in SHIPPED]
    card = data_card(plain, cluster_names(plain)).set_index("split").loc["train"]
    assert card["words_positive"] == 4 and card["words_negative"] == 2 and card["longer_positive"] == 1
    assert card["formatted_positive"] == 0 and card["clusters"] == 1
    marked = [pair.model_copy(update={"positive": f"**{pair.positive}**"}) for pair in SHIPPED]
    assert data_card(marked, cluster_names(marked))["formatted_positive"].tolist() == [1, 1]


def test_each_side_can_have_a_generator_of_its_own(tmp_path):
    rows = [{**row, "by": "a" if number % 2 else "", "writer": "b"} for number, row in enumerate(ROWS)]
    columns = {**COLUMNS, "generator_positive": "by", "generator_negative": "writer", "generator": "note"}
    loaded = load_pairs(write(tmp_path / "mine.csv", rows), columns)
    assert [[pair.generator_of(side) for side in (True, False)] for pair in loaded[:2]] == [["x", "b"], ["a", "b"]]
    assert data_card(loaded, cluster_names(loaded))["generators"].tolist() == [3, 3]
    window = Captured({"mean": np.zeros((4, 1, 2))}, np.ones((4, 1)), 0)
    cached = row_groups([window], cache_rows(loaded[:2], ["a", "b"], [], 0), [0], "mean")
    assert next(cached)["generator"].to_pylist() == ["x", "b", "a", "b"]
    assert PairsFile(file="mine.csv", columns=columns).columns == columns


@pytest.mark.slow
def test_a_users_csv_runs_through_detection_with_one_stanza(fresh: World):
    write(fresh.folder / "mine.csv", ROWS)
    study = fresh.study(pairs={"file": "mine.csv", "columns": COLUMNS}, steering_layers=[], layers=[-1, 2, 3])
    fresh.run(study)
    council = fresh.folder / "results/small/council"
    detection = pd.read_csv(council / "tables/detection.csv").set_index("layer")
    assert detection.loc[3, "auroc"] > 0.9 and fresh.plan(study) == {}
    assert pd.read_csv(council / "tables/data.csv")["pairs"].sum() == len(ROWS)
    assert "mine.csv" in (council / "report.md").read_text()


def test_a_study_with_a_bad_file_of_pairs_ends_at_once_in_one_line(fresh: World):
    rows = [dict(row) for row in ROWS]
    rows[4]["cold"] = ""
    write(fresh.folder / "mine.csv", rows)
    done = fresh.snakemake("-n", "--configfile", fresh.study(pairs={"file": "mine.csv", "columns": COLUMNS}))
    assert done.returncode == 2 and "mine.csv, row 5: negative" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_pairs_with_an_address_and_a_digest_are_downloaded_and_checked(fresh: World, tmp_path):
    (tmp_path / "served").mkdir()
    served = write(tmp_path / "served/mine.csv", ROWS)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pairs = {
        "file": "resources/my pairs/mine.csv",
        "columns": COLUMNS,
        "url": f"http://127.0.0.1:{server.server_port}/mine.csv",
    }
    options = {"steering_layers": [], "layers": [-1, 3], "ablations": 0}
    done = fresh.snakemake("--configfile", fresh.study(pairs={**pairs, "sha256": "0" * 64}, **options))
    assert done.returncode != 0 and not (fresh.folder / "resources/my pairs/mine.csv").exists()
    assert "nothing was kept" in (fresh.folder / "results/small/logs/download/pairs.log").read_text()
    study = fresh.study(pairs={**pairs, "sha256": file_digest(served)}, **options)
    assert fresh.plan(study)["download"] == 1
    fresh.run(study)
    assert (fresh.folder / "resources/my pairs/mine.csv").read_bytes() == served.read_bytes() and fresh.plan(study) == {}
    parts = {"train": write(tmp_path / "served/train.csv", ROWS[:40]), "test": write(tmp_path / "served/test.csv", ROWS[40:])}
    address = pairs["url"].removesuffix("mine.csv")
    files = [
        {"file": f"resources/{part.name}", "url": address + part.name, "sha256": file_digest(part), "split": split}
        for split, part in parts.items()
    ]
    study = fresh.study(pairs={"files": files, "columns": COLUMNS}, **options)
    fresh.run(study)
    assert (fresh.folder / "resources/test.csv").exists() and fresh.plan(study) == {}
    server.shutdown()


@pytest.mark.parametrize(
    "content", [b"not,pairs\n1,2\n", b"<html>", b"kind,curt\n,\n"], ids=["other columns", "a page", "blank"]
)
def test_a_download_that_holds_no_pairs_is_not_kept(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download_module, "_receive", lambda url, path: path.write_bytes(content))
    given = PairsFile(
        file="resources/x/mine.csv",
        url="https://x/mine.csv",
        sha256=hashlib.sha256(content).hexdigest(),
        columns={"positive": "kind", "negative": "curt"},
    )
    with pytest.raises(InputError, match=r"https://x/mine.csv: mine.csv.*nothing was kept"):
        download(given, *given.downloads)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_download_has_a_size_and_a_time_limit(tmp_path, monkeypatch):
    source = tmp_path / "source.csv"
    source.write_bytes(b"x" * 1000)
    monkeypatch.setattr(download_module, "LARGEST", 999)
    with pytest.raises(ValueError, match="more than 999 bytes"):
        download_module._receive(source.as_uri(), tmp_path / "a")
    monkeypatch.setattr(download_module, "LARGEST", 1000)
    monkeypatch.setattr(download_module, "LONGEST", -1)
    with pytest.raises(ValueError, match="not there after"):
        download_module._receive(source.as_uri(), tmp_path / "b")
