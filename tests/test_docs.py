"""What the documentation says works: its links, its commands, its studies."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from conftest import ORGANISMS, ROOT, World
from typer.main import get_command

from probesteer.cli import app, main
from probesteer.concepts.pairs import load_pairs
from probesteer.report.glossary import outputs_text
from probesteer.study.load import parse_study

PAGES = [ROOT / "README.md", ROOT / "profiles/README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)[^\n]*?(?:title=\"([^\"]+)\")?\n(.*?)^```", re.M | re.S)
PLACEHOLDERS = {"STUDY", "VERB", "REPORT", "..."}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and text of every fenced block."""
    return BLOCK.findall(page.read_text())


def commands() -> list[tuple[str, list[str]]]:
    """Every command of the pages, in blocks and in the middle of a sentence, with its page."""
    found = []
    for page in PAGES:
        lines = [line for _, _, text in blocks(page) for line in text.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`((?:probesteer|snakemake|make) [^`]+)`", page.read_text())
        for line in lines:
            if re.match(r"(probesteer|snakemake|make) ", line):
                found.append((page.name, shlex.split(line, comments=True)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?://|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_command_is_one_that_the_program_takes():
    verbs, targets = get_command(app).commands, re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert len(commands()) > 40
    for page, (program, *arguments) in commands():
        if program == "make":
            assert {word for word in arguments if "=" not in word} <= set(targets), (page, arguments)
        if program == "probesteer" and not arguments[0].startswith("-") and not PLACEHOLDERS & {*arguments[:1]}:
            verb = verbs[arguments[0]]
            known = {option for parameter in verb.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in arguments[1:] if word.startswith("--")} <= known, (page, arguments)


def test_every_page_is_in_the_site_and_its_generated_page_is_up_to_date():
    site = re.findall(r"([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(site) == sorted(["options.md", "cluster.md", *(page.name for page in PAGES if page.parent.name == "docs")])
    assert (ROOT / "docs/outputs.md").read_text() == outputs_text(), "run `make docs`"


def test_no_name_of_the_glossary_is_explained_twice():
    root = yaml.compose((ROOT / "src/probesteer/report/glossary.yaml").read_text(encoding="utf-8"))
    for section in (root, *(own for _name, own in root.value)):
        names = [name.value for name, _own in section.value]
        assert sorted(names) == sorted(set(names))  # of two the last one would count, without a word


def test_every_study_of_the_pages_is_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    for page in PAGES:
        for language, title, text in blocks(page):
            if language == "yaml" and title.startswith("config/studies/"):
                study = yaml.safe_load(text)
                for model in study["models"]:
                    if not {"blocks", "parameters_b"} <= set(model):
                        model["source"] = str(ORGANISMS / "llama")  # a folder that is there
                assert parse_study(study, []).study


def test_every_name_of_the_api_is_there():
    named = re.findall(r"^::: (\S+)\n(?:    options: \{members: \[(.*)\]\})?", (ROOT / "docs/api.md").read_text(), re.M)
    assert len(named) > 10
    for module, members in named:
        for member in filter(None, members.split(", ")):
            assert hasattr(import_module(module), member), f"{module}.{member}"


def test_every_function_that_the_statistics_name_is_there():
    for name in re.findall(r"\| `([a-z_.]+\.\w+)` \|", (ROOT / "docs/statistics.md").read_text()):
        try:
            assert import_module(f"probesteer.{name}")
        except ModuleNotFoundError:
            module, _, function = name.rpartition(".")
            assert hasattr(import_module(f"probesteer.{module}"), function), name


def test_the_picture_of_the_workflow_shows_the_rules_of_the_demo(fresh: World):
    drawn = re.findall(r"<text[^>]*>([^<]+)</text>", (ROOT / "docs/dag.svg").read_text())
    assert set(drawn) == set(fresh.plan(fresh.folder / "config/config.yaml")), "run `make docs`"


def test_what_the_design_names_is_there():
    text, source = (ROOT / "docs/design.md").read_text(), ROOT / "src/probesteer"
    files = {name: root / name for name in re.findall(r"`([\w/]+\.(?:py|yaml))`", text) for root in (source, ROOT)}
    files |= {name: source / name for name in files if (source / name).exists()}
    assert len(files) > 15 and [name for name, path in files.items() if not path.exists()] == []
    named = re.findall(r"`(?:@)?(\w+)[^`]*` (?:of|in|under|to) `([\w/]+\.py)`", text)
    assert len(named) > 10
    for name, file in named:
        assert re.search(rf"\b{name}\b", files[file].read_text()), (name, file)
    for name in re.findall(r"`((?:directions|errors|files|jobs|study)\.[\w.]+)(?<!\.py)`", text):
        found: object = import_module("probesteer")
        for step, part in enumerate(parts := name.split(".")):
            place = f"probesteer.{'.'.join(parts[: step + 1])}"
            found = getattr(found, part) if hasattr(found, part) else import_module(place)


def write_blocks(page: Path, folder: Path) -> None:
    """Write every block that has a path into a folder, with a model that is there."""
    for _, title, text in blocks(page):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(re.sub(r"source: results/\S+.*", f"source: {ORGANISMS / 'llama'}", text))


def test_a_behaviour_is_studied_by_what_its_page_says(fresh: World):
    write_blocks(ROOT / "docs/your-behaviour.md", fresh.folder)
    pairs = load_pairs(fresh.folder / "asks_first.csv", {})
    assert len(pairs) == 24 and {pair.scenario for pair in pairs} == {"the_table", "the_repair"}
    jobs = fresh.plan(fresh.folder / "config/studies/asks.yaml")
    assert jobs["aggregate"] == jobs["steer_1"] == jobs["detect"] == 1


def test_a_scenario_that_is_misspelt_in_the_pairs_is_noted(tmp_path, monkeypatch, capsys):
    write_blocks(ROOT / "docs/your-behaviour.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["check", "--static", "--configfile", "config/studies/asks.yaml"]
    assert main(command) == 0 and "NOTE" not in capsys.readouterr().out
    pairs = tmp_path / "asks_first.csv"
    pairs.write_text(pairs.read_text().replace("the_table", "the_tabel", 1))
    assert main(command) == 0
    assert "NOTE: there are pairs of the_tabel, a scenario that asks_first has not" in capsys.readouterr().out


@pytest.mark.slow
def test_it_gives_a_verdict_and_its_direction_is_carried_away(fresh: World, monkeypatch):
    write_blocks(ROOT / "docs/your-behaviour.md", fresh.folder)
    fresh.run(fresh.folder / "config/studies/asks.yaml")
    assert (fresh.folder / "results/asks/council/explorer.html").exists()
    write_blocks(ROOT / "docs/carry.md", fresh.folder)
    monkeypatch.chdir(fresh.folder)
    (card,) = Path("results/models/smollm2-135m").glob("*.json")
    own = {"layer=15": "layer=3", "KEY.json": card.name}  # of the model that is there
    for page, (program, *arguments) in commands():
        if page == "carry.md" and program == "probesteer" and len(arguments) > 1:
            for name, there in own.items():
                arguments = [argument.replace(name, there) for argument in arguments]
            assert main(arguments) == 0
    assert Path("asks.gguf").exists() and Path("chat.html").exists()
