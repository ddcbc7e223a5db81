"""The house rules: short functions, imports that go down only, light parsing, profiles."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.utils import canonicalize_name

SOURCE = ROOT / "src/probesteer"
LONGEST_FILE, LONGEST_FUNCTION = 400, 40  # lines
LINT_IMPORTS = str(Path(sys.executable).parent / "lint-imports")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= LONGEST_FUNCTION, node.name


@pytest.mark.parametrize(
    ("module", "wrong", "broken"),
    [
        ("files/whole", "from probesteer.study.paths import RESULTS", "A room knows only the rooms below it"),
        ("detection/robustness", "from probesteer.behaviour.effects import CELL", "A room knows only the rooms below it"),
        ("games/answer", "from probesteer.study.paths import RESULTS", "A room knows only the rooms below it"),
        ("study/cells", "from probesteer.study.experiment import Study", "No imports run in a circle"),
        ("study/cells", "import pandas", "What the Snakefile imports is light"),
        ("report/views", "import torch", "Only language models know torch"),
    ],
)
def test_a_wrong_import_breaks_the_contract_that_is_meant_for_it(module, wrong, broken, tmp_path):
    shutil.copytree(SOURCE, tmp_path / "probesteer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / f"probesteer/{module}.py"
    path.write_text(f"{path.read_text()}\n{wrong}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    kept = {line.removesuffix(" KEPT") for line in done.stdout.splitlines() if line.endswith(" KEPT")}
    assert done.returncode == 1 and len(kept) >= 2 and not any(name.startswith(broken) for name in kept), done.stdout


def test_the_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60


def test_parsing_imports_neither_torch_nor_pandas():
    code = "import sys, probesteer.study, probesteer.concepts, probesteer.jobs as _; print(heavy & set(sys.modules))"
    code = f"heavy = {{'torch', 'pandas', 'transformers'}}; {code}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("study", ["paper", "council"])
def test_a_study_of_real_models_plans_without_torch_in_seconds(fresh, study):
    poison = fresh.folder / "poison/torch"
    poison.mkdir(parents=True)
    (poison / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    jobs = fresh.plan(fresh.folder / f"config/studies/{study}.yaml", PYTHONPATH=str(poison.parent))
    steering = sum(count for rule, count in jobs.items() if rule.startswith("steer"))
    assert steering == {"paper": 4 + 3 + 3, "council": 0}[study]
    assert jobs["aggregate"] == 1


def test_the_slurm_profile_plans_without_a_cluster(fresh):
    done = fresh.snakemake("-n", "--profile", "profiles/slurm", "--configfile", "config/studies/paper.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gpu=1" in done.stdout + done.stderr


def test_install_profile_lets_snakemake_find_it_by_name(fresh, tmp_path):
    (fresh.folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    subprocess.run(
        ["make", "install-profile"],
        cwd=fresh.folder,
        check=True,
        env={"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(tmp_path / "home")},
    )
    done = fresh.snakemake("-n", "--profile", "slurm", XDG_CONFIG_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr[-2000:]


def test_there_is_no_default_profile():
    assert not (ROOT / "profiles/default").exists()
    assert yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())["executor"] == "slurm"


def test_nothing_is_loaded_from_pickles_or_trusts_remote_code_by_default():
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert not re.search(r"\b(pickle|torch\.load|joblib)\b", text)
    assert "use_safetensors=True" in text and "trust_remote_code: bool = False" in text


def test_a_lower_bound_is_a_version_that_the_tests_run_with():
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["docs"], extras["inspect"]  # what builds the site, and Inspect, is in no test's environment
    for requirement in chain(project["dependencies"], *extras.values()):
        name, _, bound = requirement.partition(">=")
        version = locked[canonicalize_name(name)]
        assert not bound or version.split(".")[:2] == bound.split("."), f"{requirement}, and {version} is what was tested"
