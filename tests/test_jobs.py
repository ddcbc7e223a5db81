"""What each job is given: an option re-runs the jobs that it determines, and no others."""

from pathlib import Path

import pytest
from conftest import ROOT, World

from probesteer.concepts import check_study, pair_set
from probesteer.concepts.data import activations_path
from probesteer.jobs import SETTINGS, results, settings_digest, unfinished
from probesteer.report.adopt import adopt
from probesteer.study import Study, load_study
from probesteer.study.cells import CALIBRATION_ARM

# For every option of a study: another value, and the rules whose jobs it determines (by their parameters or their paths).
AXES = {"texts"}  # what lists the cells
OPTIONS: dict[str, tuple[object, set[str]]] = {
    "study": ("other", set()),
    "concept": ("formality", {"activations"}),
    "control_concept": ("formality", set()),
    "pairs": ({"file": "resources/concepts/formality/pairs.jsonl"}, {"activations"}),
    "writing": ({"generators": ["openai:m"]}, set()),
    "scenarios": (["the_maze"], AXES),
    "layers": ([3], {"detect", "forecast", "readings", "independence", "corpus", "transfer", "causes", "correlation"}),
    "steering_layers": ([2], AXES),
    "alphas": ([0, 0.1], AXES),
    "alpha_unit": ("absolute", {"steer", "effects", "dose"}),
    "samples": (7, {"baseline", "steer"}),
    "sampling": ({"temperature": 1.0}, {"baseline", "steer"}),
    "positions": ("response", {"steer", "dose", "forecast", "corpus"}),
    "seed": (9, {"probe", "detect", "readings", "transfer", "causes", "baseline", "steer", "effects", "correlation"}),
    "method": ("lda", {"probe", "forecast"}),
    "ablations": (1, {"activations"}),
    "controls": ({"random": 1}, {"probe", "texts", "effects"}),
    "pooling": ("last", {"activations"}),
    "max_text_tokens": (64, {"activations"}),
    "scorers": (["grammar"], {"effects"}),
    "ratings": (["resources/published/models.csv"], {"effects"}),
    "correlation": (True, set()),
    "judge": ({"endpoint": "http://x/v1", "name": "j"}, {"judge"}),
    "compare": ({"transfer": True, "maps": 300}, {"transfer"}),
    "games": ("all", {"play_unsteered", "play", "transcripts", "deeds"}),
    "criteria": ({"auroc": 0.8, "trend_alpha": 0.1}, set()),
    "resources": ({"batch_rows": 3, "mem_mb": 9, "runtime": 9}, set()),
}


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def determined(study: Study) -> dict[str, object]:
    """What determines the jobs of llama, by rule."""
    found: dict[str, object] = {rule: settings_digest(study, rule, "llama") for rule in SETTINGS}
    concept = study if study.pooling != "response" else None
    assert concept is not None
    return found | {"activations": activations_path(study, study["llama"], pair_set(study))}


def test_every_option_is_looked_at():
    assert set(OPTIONS) == set(Study.model_fields) - {"models"}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_what_it_determines_and_nothing_else(option):
    value, rules = OPTIONS[option]
    study = load_study(ROOT / "config/config.yaml")
    other = Study.model_validate({**study.model_dump(), option: value})
    before, after = determined(study), determined(other)
    changed = {rule for rule in before if before[rule] != after[rule]}
    assert changed == (rules | {"detect"} if option == "steering_layers" and other.layers is None else rules)


def test_the_trend_range_is_an_axis_of_the_control_arms():
    study = load_study(ROOT / "config/config.yaml")
    other = Study.model_validate({**study.model_dump(), "criteria": {"trend_alpha": 3.0}})
    before, after = determined(study), determined(other)
    changed = {rule for rule in before if before[rule] != after[rule]}
    assert changed == {"texts", "effects", "correlation"}


def test_a_finished_study_has_nothing_unfinished(finished: World, monkeypatch):
    monkeypatch.chdir(finished.folder)
    study = check_study(load_study(Path("config/studies/small.yaml")))
    assert unfinished(study) == ([], [])
    assert all(path.exists() for path in results(study))


def test_what_is_missing_or_damaged_is_unfinished(world: World, monkeypatch):
    monkeypatch.chdir(world.folder)
    study = check_study(load_study(Path("config/studies/small.yaml")))
    lost, bad = sorted((world.folder / "results/small/steering").rglob("alpha=5/cell.parquet"))[:2]
    lost.unlink()
    bad.write_bytes(b"")
    missing, again = unfinished(study)
    assert missing == [lost.relative_to(world.folder)] and again == [bad.relative_to(world.folder)]
    effects = study.paths.effects("llama", "trends")
    effects.unlink()
    assert effects in unfinished(study)[1]


def test_what_another_study_implies_is_found_among_results_without_records(world: World, monkeypatch):
    monkeypatch.chdir(world.folder)
    assert adopt(check_study(load_study(Path("config/studies/small.yaml")))) == []
    study = check_study(load_study(world.study(samples=2)))
    again = adopt(study)
    kept = {study.paths.detection("llama"), study.paths.forecast("llama"), study.paths.probe("llama", 3)}
    own = {path for path in results(study) if path.is_relative_to("results/small")} - kept
    own |= {cell.path(study.paths.cells) for cell in study.all_cells(study["llama"]) if cell.arm != CALIBRATION_ARM}
    report = {path for path in again if path.is_relative_to(study.paths.report)}
    assert set(again) == own | report and study.paths.report / "report.html" in report
    assert set(unfinished(study, again)[1]) == set(again)
