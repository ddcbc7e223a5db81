"""A finished study is what its report was made from, or the file and the value are named."""

import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest
from conftest import World
from mutations import campaign

from probesteer.cli import main
from probesteer.errors import InputError
from probesteer.report.differences import differences, text_differences
from probesteer.report.glossary import meaning, sections
from probesteer.report.manifest import PARTS
from probesteer.report.verify import verify_report
from probesteer.study import load_study
from probesteer.study.paths import DEMO
from probesteer.study.sections import Compare, GameOptions


def test_an_untouched_copy_elsewhere_raises_no_alarm_and_one_without_activations_says_so(world: World, capsys):
    study = world.folder / "results/small"
    assert main(["verify", str(study)]) == 0
    said = capsys.readouterr()
    assert "are as recorded" in said.out and said.err == ""
    shutil.rmtree(world.folder / "results/activations")
    assert main(["verify", str(study / "council")]) == 0
    assert "NOT COMPARED" in capsys.readouterr().err


def test_a_changed_value_of_every_kind_is_found_with_its_file_and_its_place(world: World):
    rows = list(campaign(world.folder / "results/small", 11, seed=1))
    assert len({row["kind"] for row in rows}) == 11
    assert [row for row in rows if not row["named"]] == []


@pytest.mark.slow
def test_so_are_twenty_more(world: World):
    assert [row for row in campaign(world.folder / "results/small", 22, seed=2) if not row["named"]] == []


def test_a_verified_study_is_left_as_it_was_and_a_finding_ends_with_exit_code_2(world: World, capsys):
    study = world.folder / "results/small"
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    verdict = study / "council/tables/verdict.csv"
    verdict.write_text(verdict.read_text().replace("llama,", "llama2,"))
    assert main(["verify", str(study)]) == 2
    said = capsys.readouterr().err
    assert "results/small/council/tables/verdict.csv: row 1: model is 'llama2'; 'llama' is expected" in said
    verdict.write_bytes(before[verdict])
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"results": 1}', "\\xff", "[" * 10**5])
def test_what_is_no_manifest_is_said_in_a_line(tmp_path, capsys, text):
    (tmp_path / "manifest.json").write_text(text)
    assert main(["verify", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not a manifest, or damaged" in said


@pytest.mark.parametrize(
    "named",
    [
        {"results": {"results/../../gone": "0"}},
        {"costs": {"results/activations/../../../gone.parquet": {}}},
        {"costs": {"/tmp/gone.parquet": {}}},
    ],
)
def test_a_manifest_names_no_file_outside_of_its_study(tmp_path, named):
    outside = {part: {} for part in PARTS} | named
    (tmp_path / "manifest.json").write_text(json.dumps(outside))
    with pytest.raises(InputError, match="not a manifest"):
        verify_report(tmp_path)


def test_what_is_no_report_or_is_not_where_it_ran_is_said(world: World, tmp_path):
    with pytest.raises(InputError, match="name the folder of a finished study"):
        verify_report(tmp_path)
    shutil.copytree(world.folder / "results", tmp_path / "results")
    assert any("resources/concepts" in line for line in verify_report(tmp_path / "results/small").findings)


def test_every_table_and_column_of_a_report_has_its_meaning(finished: World):
    known = sections()
    folder = finished.folder / "results/small/council/tables"
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            header = next(csv.reader(file))
        assert [column for column in header if meaning(column) is None] == [], path.name
    everything = {"compare": Compare(transfer=True, causes=True), "games": GameOptions()}
    assert {*load_study(DEMO).model_copy(update=everything).tables} <= {*known["tables"]}
    details = pq.read_table(finished.folder / "results/small/detection/model=llama/detection.parquet", partitioning=None)
    several = {row["metric"] for row in details.to_pylist() if row["of"]}
    assert several <= set(known["metrics"])
    assert all(text.endswith(".") for section in known.values() for text in section.values())


def test_a_difference_names_row_column_and_both_values(tmp_path):
    for name, rows in (("a", "model,auroc\nm,0.5\nn,0.91\n"), ("b", "model,auroc\nm,0.5\nn,0.910001\n")):
        (tmp_path / f"{name}.csv").write_text(rows)
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    assert list(differences(one, other)) == ["row 2 (model n): auroc is '0.91'; '0.910001' is expected"]
    assert list(differences(one, other, exact=False)) == []
    assert list(text_differences(b"a\nAUROC 0.97 here", "a\nAUROC 0.91 here")) == [
        "line 2: 'AUROC 0.97 here' stands there; 'AUROC 0.91 here' is expected"
    ]
