"""The house rules: floors, light parsing, profiles."""

import ast
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

SOURCE = ROOT / "src/probesteer"
FLOORS = [
    {"errors", "seal"},
    {"study", "tables", "options", "progress"},
    {"pairs"},
    {"concepts", "directions", "duplicates", "grammar", "stats", "wordlists"},
    {
        *(
            "lm.batch",
            "lm.blocks",
            "lm.cache",
            "lm.capture",
            "lm.fetch",
            "lm.generate",
            "lm.hooks",
            "lm.judge",
            "lm.likelihood",
            "lm.load",
        ),
        *("lm.preflight", "lm.prefill", "lm.request", "lm.sampling", "lm.train"),
    },
    {
        "activations",
        "detection",
        "effects",
        "detection_table",
        "judging",
        "pair_writing",
        "robustness",
        "scoring",
        "selection",
        "steering",
        "surface",
    },
    {"council", "data_card", "figures", "history", "plan", "published", "report"},
    {"cli"},
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if not name.endswith(("__init__", "__main__")):
            found[name] = ast.parse(path.read_text())
    return found


def imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= whole if node.module == "probesteer" else {node.module}
    return names


def test_a_module_imports_no_floor_above_its_own():
    for name, tree in modules().items():
        for imported in imports(tree):
            if imported.startswith("probesteer."):
                assert FLOOR[imported.removeprefix("probesteer.")] <= FLOOR[name], f"{name} imports {imported}"


def test_only_the_language_models_import_torch():
    for name, tree in modules().items():
        heavy = {imported.split(".")[0] for imported in imports(tree)} & {"torch", "transformers"}
        assert not heavy or name.startswith("lm."), name


def test_the_snakefile_is_short():
    assert len((ROOT / "Snakefile").read_text().splitlines()) < 60


def test_parsing_imports_neither_torch_nor_pandas():
    code = "import sys, probesteer.study, probesteer.concepts; print({'torch', 'pandas', 'transformers'} & set(sys.modules))"
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
