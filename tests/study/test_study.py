"""Studies, cells, fingerprints and tables."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pyarrow as pa
import pytest
import yaml
from conftest import ORGANISMS, ROOT
from pydantic import BaseModel

from probesteer.cli import main
from probesteer.concepts.data import activations_path, check_study, pair_set
from probesteer.errors import InputError
from probesteer.files.tables import is_fresh, read_cost, read_table, write_table
from probesteer.files.whole import atomic
from probesteer.jobs import settings_digest
from probesteer.plan import least_p, out_of_reach
from probesteer.steering.texts import read_cells
from probesteer.study import schema as options
from probesteer.study.cells import Cell
from probesteer.study.experiment import Study
from probesteer.study.load import load_study, parse_study
from probesteer.study.options import alpha_label

DEFAULT = ROOT / "config/config.yaml"
STUDIES = [DEFAULT, *sorted((ROOT / "config/studies").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("alpha", "label"),
    [(-0.0, "0"), (0, "0"), (3, "3"), (3.0, "3"), (-0.5, "-0.5"), (1e-5, "1e-05"), (0.1 + 0.2, "0.30000000000000004")],
)
def test_an_alpha_has_one_label_that_reads_back(alpha, label):
    assert alpha_label(alpha) == label
    assert float(label) == alpha


def test_cells_live_at_hive_style_paths():
    steered = Cell("probe", "m", "s", 3, -2.0).path(Path("r"))
    assert str(steered) == "r/arm=probe/model=m/layer=3/scenario=s/alpha=-2/cell.parquet"
    assert str(Cell("baseline", "m", "s").path(Path("r"))) == "r/arm=baseline/model=m/scenario=s/cell.parquet"


def test_the_baseline_stands_once_per_model_and_scenario():
    study = load_study(DEFAULT)
    cells = list(study.all_cells(study["llama"]))
    assert sum(cell.arm == "baseline" for cell in cells) == len(study.scenarios)
    assert all(cell.alpha != 0 for cell in cells if cell.arm == "probe")
    assert len({cell.path(study.paths.root) for cell in cells}) == len(cells)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid_by_model_and_by_schema(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("resources").symlink_to(ROOT / "resources")
    for model in yaml.safe_load(path.read_text())["models"]:
        if model["source"].startswith("results/"):  # where `make real` puts it
            shutil.copytree(ORGANISMS / "llama", model["source"], ignore=shutil.ignore_patterns("recipe.json"))
    load_study(path)
    schema = (path.parent / re.search(r"yaml-language-server: \$schema=(\S+)", path.read_text())[1]).resolve()
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema.read_text()))


def test_the_published_grids_are_those_of_the_paper_study():
    study = load_study(ROOT / "config/studies/paper.yaml")
    assert [len(study.alphas_of(model)) for model in study.models] == [11, 9, 7]
    assert study.sampling_of(study["phi-3-mini-4k"]).max_new_tokens == 150
    assert study.sampling_of(study["qwen2.5-7b"]).max_new_tokens == 200
    qwen = study["qwen2.5-7b"]
    assert {layer - 1 for layer in (8, 12, 16, 20, 24)} <= set(study.layers_of(qwen))
    cells = [cell for layer in study.steering_layers_of(qwen) for cell in study.cells(qwen.name, layer, study.alphas_of(qwen))]
    cells = [cell for cell in cells if cell.arm == "probe"]
    with_zero = len(cells) + len(study.scenarios) * len(study.steering_layers_of(qwen))
    assert with_zero * study.samples == 405


def test_schema_and_option_table_are_generated_from_the_model():
    assert (ROOT / options.SCHEMA).read_text() == options.schema_text(), "run `make docs`"
    assert (ROOT / options.OPTIONS).read_text() == options.options_text(), "run `make docs`"


def test_a_saved_study_reads_back_as_itself(tmp_path):
    study = load_study(DEFAULT)
    study.save(tmp_path / "study.json")
    loaded = load_study(tmp_path / "study.json")
    assert loaded == study and loaded.digest() == study.digest()


def test_activations_are_shared_by_what_names_them():
    study = load_study(DEFAULT)
    other = Study.model_validate({**study.model_dump(), "study": "other", "samples": 7})
    llama, qwen, pairs = study["llama"], study["qwen2"], pair_set(study)
    assert activations_path(study, llama, pairs) == activations_path(other, llama, pair_set(other))
    variants = (pairs, pairs._replace(sha256="other"), pairs._replace(ablations=0))
    assert len({activations_path(study, model, of) for model in (llama, qwen) for of in variants}) == 6
    assert study.paths.cells != other.paths.cells


def test_cells_are_read_with_typed_axes_from_an_explicit_list(tmp_path):
    cells = [Cell("probe", "m", "s", 3, -2.5), Cell("baseline", "m", "s")]
    for cell in [*cells, Cell("probe", "m", "s", 3, 99.0)]:
        write_table(pa.table({"sample": [0, 1]}), cell.path(tmp_path))
    table = read_cells(cells, tmp_path)
    assert table["alpha"].to_pylist() == [-2.5, -2.5, 0.0, 0.0]
    assert table["layer"].to_pylist() == [3, 3, None, None]
    assert table.schema.field("layer").type == pa.int32() and table.schema.field("alpha").type == pa.float64()


def test_a_fingerprint_is_of_the_inputs_and_not_of_the_cost(tmp_path):
    path = tmp_path / "cell.parquet"
    write_table(pa.table({"x": [1]}), path, {"a": 1}, {"seconds": 2.0})
    assert is_fresh(path, {"a": 1}) and not is_fresh(path, {"a": 2})
    assert read_cost(path) == {"seconds": 2.0}
    path.write_bytes(path.read_bytes()[:-20])
    assert not is_fresh(path, {"a": 1})
    assert not is_fresh(tmp_path / "none.parquet", {"a": 1})


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["folder", "pipe", "n" * 250])
def test_what_cannot_be_written_is_named_as_it_was_given(name, tmp_path):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError) as caught:
        write_table(pa.table({"x": [1]}), path)
    assert str(caught.value).startswith(f"{path}: ") and f"/.{name}" not in str(caught.value)


def test_the_first_problem_is_named_with_file_and_key(tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("sampling: {temperatur: 1}\nseed: 3\n")
    with pytest.raises(InputError, match=r"other\.yaml: sampling\.temperatur: unknown option"):
        load_study(DEFAULT, other)
    with pytest.raises(InputError, match=r"^--config: seed: "):
        parse_study({**yaml.safe_load(DEFAULT.read_text()), "seed": -1}, [Path("config/config.yaml")])
    with pytest.raises(InputError, match=r"^--config: colour: unknown option"):
        parse_study({**yaml.safe_load(DEFAULT.read_text()), "colour": 0}, [DEFAULT, other])


def test_reading_names_a_missing_column(tmp_path):
    write_table(pa.table({"x": [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="column y is missing; it has x"):
        read_table(tmp_path / "t.parquet", needs={"y": "number"})


def floats(section: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of every option of a study that takes a number."""
    for name, field in section.model_fields.items():
        inner = field.default if isinstance(field.default, BaseModel) else None
        if inner is not None:
            yield from floats(type(inner), (*at, name))
        elif "float" in str(field.annotation) or "int" in str(field.annotation):
            yield *at, name


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("at", floats(Study), ids=".".join)
def test_no_option_is_infinite_or_no_number(at, value):
    config = yaml.safe_load(DEFAULT.read_text())
    place = config
    for name in at[:-1]:
        place = place.setdefault(name, {})
    place[at[-1]] = [0, value] if isinstance(getattr(load_study(DEFAULT), at[-1], None), list) else value
    with pytest.raises(InputError, match=r"finite number|integer"):
        parse_study(config, [])


def test_a_large_grid_is_checked_at_once(tmp_path):
    config = yaml.safe_load(DEFAULT.read_text())
    grid = [0, *(number / 1000 for number in range(1, 20000))]
    (tmp_path / "study.yaml").write_text(json.dumps({**config, "alphas": grid}))
    start = time.process_time()
    study = check_study(load_study(tmp_path / "study.yaml"))
    assert len(study.alphas) == 20000 and time.process_time() - start < 3


def many(count: int, **options: object) -> Study:
    """The default study with one organism under `count` names."""
    config = yaml.safe_load(DEFAULT.read_text())
    models = [{"name": f"m{number}", "source": "resources/organisms/llama"} for number in range(count)]
    return parse_study({**config, "models": models, **options}, [])


@pytest.mark.parametrize(("models", "permutations"), [(1, 1000), (10, 1000), (11, 2000), (51, 10_000), (101, 20_000)])
def test_the_number_of_permutations_follows_the_models_in_steps(models, permutations):
    study = many(models)
    assert study.detection_permutations == permutations
    assert models / (permutations + 1) <= study.criteria.permutation_p / 5, "all of them can be detected at once"


def test_a_further_model_re_runs_no_other_detection_within_a_step():
    few, more, many_more = (settings_digest(many(count), "detect", "m0") for count in (3, 10, 11))
    assert few == more != many_more


@pytest.mark.parametrize(
    ("pairs", "models", "least"), [(8, 1, 2**-7), (8, 51, 51 / 128), (50, 51, 51 / 10001), (50, 1, 1 / 1001)]
)
def test_the_least_p_follows_from_pairs_permutations_and_models(pairs, models, least, tmp_path):
    path = ROOT / "resources/concepts/empathy_in_action/pairs.jsonl"
    lines = [line for line in path.read_text().splitlines() if '"tone": "warm"' in line]  # a pair of each situation
    train, test = ([line for line in lines if f'"{split}"' in line] for split in ("train", "test"))
    (tmp_path / "mine.jsonl").write_text("\n".join(lines if pairs == 50 else train[: pairs // 2] + test[: pairs // 2]))
    study = many(models, pairs={"file": str(tmp_path / "mine.jsonl")}, steering_layers=[])
    assert least_p(study) == pytest.approx(least)
    said = out_of_reach(study)
    assert (said is None) == (least <= 0.05) and (said is None or "take more pairs" in said)


def test_check_says_that_a_design_cannot_reach_its_own_p(tmp_path, capsys):
    config = json.loads(many(1).model_dump_json())
    (tmp_path / "study.yaml").write_text(json.dumps({**config, "criteria": {"permutation_p": 1e-6}}))
    assert main(["check", "--static", "--configfile", str(tmp_path / "study.yaml")]) == 0
    assert "DESIGN: no model can be detected: with 1 models" in capsys.readouterr().out
    assert main(["check", "--static", "--configfile", str(DEFAULT)]) == 0 and "DESIGN" not in capsys.readouterr().out
