"""What is installed works outside the checkout."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, World

from probesteer.cli import main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"


def test_one_version_stands_everywhere():
    version = PROJECT["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
    for name in ("Snakefile", "Dockerfile"):
        assert set(re.findall(r"probesteer/probesteer:([\d.]+)", (ROOT / name).read_text())) == {version}


def test_init_lays_out_a_folder_in_which_the_demo_and_every_study_are_planned(tmp_path, capsys):
    folder = tmp_path / "x"
    assert main(["init", str(folder)]) == 0 and "snakemake --profile profiles/local" in capsys.readouterr().out
    world = World(folder)
    assert world.plan(folder / "config/config.yaml")["aggregate"] == 1
    assert (folder / "workflow/schemas/config.schema.json").exists() and (folder / "config/README.md").exists()
    assert main(["init", str(folder)]) == 2 and "not empty" in capsys.readouterr().err


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from an sdist that was built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def build(hook: str, where: Path) -> Path:
        command = [sys.executable, "-c", HOOK, hook, str(folder)]
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return folder / done.stdout.splitlines()[-1]

    clean = folder / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, tracked.stdout.splitlines()):
        if (ROOT / name).is_file():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            (clean / name).write_bytes((ROOT / name).read_bytes())
    sdist = build("build_sdist", clean)
    subprocess.run(["tar", "-xzf", sdist, "-C", folder], check=True)
    return build("build_wheel", folder / sdist.name.removesuffix(".tar.gz"))


@pytest.mark.slow
def test_the_wheel_installed_in_an_empty_folder_runs_a_study_to_its_report(wheel: Path, tmp_path):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size < 20e6 and not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    programs = f"{target / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(target), "PATH": programs}

    def run(*command: str, cwd: Path) -> str:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    where = run(sys.executable, "-c", "import probesteer; print(probesteer.__file__)", cwd=tmp_path)
    assert where.startswith(str(target))
    run("probesteer", "init", "x", cwd=tmp_path)
    study = World(tmp_path / "x").study()
    run("snakemake", "--cores", "2", "--configfile", str(study), cwd=tmp_path / "x")
    assert (tmp_path / "x/results/small/council/report.html").exists()
    assert "are as recorded" in run("probesteer", "verify", "results/small", cwd=tmp_path / "x")
