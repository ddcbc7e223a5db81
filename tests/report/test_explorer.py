"""The explorer: every text and table in one page, in a real browser."""

import base64
import gzip
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Page, browser, needs_browser

from probesteer.report.explorer import MOST_BYTES, first_episodes, packed, page, parts_of, samples_that_fit
from probesteer.report.glossary import glossary

HOSTILE = {
    "script": "<script>document.title='gone'</script></script><img src=x onerror=\"document.title='gone'\">",
    "right-to-left": "abc \u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd",
    "ANSI": "\x1b[31mred\x1b[0m\x07",
    "megabyte": "x" * 2**20,
}
ABOUT = {"study": "</title><script>1</script>", "samples": {"shown": 6, "all": 6}, "unit": "absolute", "probe": "probe"}
ABOUT |= {
    "baseline": "baseline",
    "limit": 1.0,
    "glossary": glossary(),
    "rows": {"verdict": 1, "detection": 250, "council": 90_000},
}


def texts(samples: int = 6) -> pd.DataFrame:
    rows = []
    for arm, alpha, scenario in itertools.product(["probe", "random-1"], [-1.0, 1.0, 4.0], ["the_duel", "the_maze"]):
        rows += [(arm, alpha, scenario, sample) for sample in range(samples)]
    rows += [("baseline", 0.0, scenario, sample) for scenario in ("the_duel", "the_maze") for sample in range(samples)]
    table = pd.DataFrame(rows, columns=["arm", "alpha", "scenario", "sample"])
    table["text"] = [f"{row.scenario} {row.arm} at {row.alpha:g}, number {row.sample}" for row in table.itertuples()]
    table["evidence"] = table["sample"] - 2
    table.loc[np.flatnonzero(table["alpha"] == -1)[: len(HOSTILE)], "text"] = [*HOSTILE.values()]
    table["positive"], table["negative"] = table["evidence"] > 0, table["evidence"] < 0
    return table.assign(layer=3, nll=0.5, kl=0.1, coherent=True)


def turns() -> pd.DataFrame:
    rows = pd.DataFrame(itertools.product([0, 1], [1, 2, 3]), columns=["seed", "turn"])
    rows = rows.assign(observation="room " + rows["turn"].astype(str), answer="<b>north</b>")
    return rows.assign(arm="probe", layer=3.0, game="the_maze", alpha=1.0, variant="plain", score=2, reward=0.5)


def wide() -> pd.DataFrame:
    """A table that no sheet of paper is wide enough for."""
    return pd.DataFrame([{f"a_long_name_of_column_{i}": 1 / 3 for i in range(60)}])


def tables() -> dict[str, pd.DataFrame]:
    rows = pd.DataFrame({"model": [f"m{i}" for i in range(250)], "layer": range(250), "auroc": np.linspace(1, 0.5, 250)})
    return {
        "verdict": pd.DataFrame({"model": ["llama_3 | a`b"], "verdict": ["GREEN"]}),
        "detection": rows,
        "council": wide(),
        "doses": rows.head(0),
    }


def write(path: Path) -> Path:
    path.write_text(page(ABOUT, parts_of({"llama": texts(), "qwen2": texts(2)}, {"llama": turns()}, tables())))
    return path


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("explorer")
    path = write(folder / "explorer.html")
    with browser(folder) as tab:

        def opened(address: str = "", width: int = 1400) -> Page:
            tab.size(width)
            tab.open(path, address)
            tab.wait("document.body.dataset.view")
            return tab

        yield opened


def unpacked(html: str) -> dict[str, object]:
    blocks = re.findall(r'id="(about|part-\d+)">([^<]*)<', html)
    return {name: json.loads(gzip.decompress(base64.b64decode(block))) for name, block in blocks}


def test_the_page_holds_every_text_and_table_and_is_the_same_each_time(tmp_path):
    html = write(tmp_path / "a.html").read_text()
    assert html == write(tmp_path / "b.html").read_text()
    found = unpacked(html)
    names = found["about"]["parts"]
    assert names == ["texts/llama/3", "texts/qwen2/3", "games/llama", "tables/verdict", "tables/detection", "tables/council"]
    assert found["part-0"]["text"] == texts()["text"].tolist() and found["part-4"]["auroc"][-1] == 0.5
    assert (
        "<script>1" not in html
        and "onerror" not in html
        and "http" not in re.sub(r'(http-equiv|">[A-Za-z0-9+/=]{99,}<)', "", html)
    )


def test_missing_values_are_null_and_numbers_have_six_digits():
    assert json.loads(gzip.decompress(base64.b64decode(packed({"a": [None, 1 / 3]})))) == {"a": [None, 1 / 3]}
    made = parts_of({}, {}, {"t": pd.DataFrame({"x": [1 / 3, np.nan], "y": pd.array([1, None], "Int64"), "z": [True, False]})})
    assert made == {"tables/t": {"x": [0.333333, None], "y": [1, None], "z": [True, False]}}


def test_samples_are_left_out_where_the_page_has_no_room_for_all():
    long = pd.DataFrame({"sample": [0, 1, 2], "text": ["x" * (MOST_BYTES // 2)] * 3})
    assert samples_that_fit([long]) == 2 and samples_that_fit([long, long]) == 1 and samples_that_fit([]) == 0
    assert set(first_episodes(turns(), 10)["seed"]) == {0} and len(first_episodes(turns(), 10_000)) == 6


def test_a_page_that_is_full_has_less_than_ten_megabytes():
    rng = np.random.default_rng(0)
    words = np.array(["".join(chr(97 + i) for i in rng.integers(26, size=rng.integers(2, 9))) for _ in range(20_000)])
    often = 1 / np.arange(1, 20_001)  # as often as words are, after Zipf
    own = texts(50)
    drawn = np.array_split(rng.choice(words, MOST_BYTES // 6, p=often / often.sum()), len(own))
    own = own.assign(text=[" ".join(part) for part in drawn])
    assert own["text"].str.len().sum() > 0.9 * MOST_BYTES
    assert len(page(ABOUT, parts_of({"llama": own}, {}, tables()))) < 10e6


@needs_browser
def test_texts_stand_side_by_side_and_there_is_no_complaint_and_no_request(at):
    tab = at()
    heads = tab.run("[...document.querySelectorAll('section:first-child h3')].map((h) => h.textContent)")
    assert heads == ["alpha -1, probe", "alpha 0, baseline", "alpha 1, probe"]
    assert "evidence -2" in tab.run("document.querySelector('article').innerText")
    assert tab.complaints() == []


@needs_browser
def test_hostile_text_is_shown_as_text(at):
    tab = at()
    shown = tab.run("[...document.querySelectorAll('main .text')].map((p) => p.textContent)")
    script, reversed_, ansi, megabyte = (shown[3 * i] for i in range(4))
    assert script == HOSTILE["script"] and tab.run("document.title") == "</title><script>1</script>: explorer"
    assert "\u2039U+202E\u203agnp" in reversed_ and ansi == "\u241b[31mred\u241b[0m\u2407" and len(megabyte) == 4000
    tab.click("article:not(.x) .text + button")
    assert max(tab.run("[...document.querySelectorAll('main .text')].map((p) => p.textContent.length)")) == 2**20
    assert tab.run("document.documentElement.scrollWidth <= innerWidth") and tab.complaints() == []


@needs_browser
def test_every_state_has_an_address_that_leads_back_to_it(at):
    tab = at("#model=qwen2&scenario=the_maze&alphas=4&arms=random-1&sort=evidence")
    assert tab.run("document.querySelector('article .text').textContent") == "the_maze random-1 at 4, number 1"
    tab.click("input[name=alphas][value='1']")
    tab.wait("document.querySelectorAll('section:first-child article').length === 2")
    address = tab.run("location.hash")
    assert "alphas=1%2C4" in address and "scenario=the_maze" in address
    before = tab.run("document.querySelector('main').innerText")
    tab.run("history.back()")
    tab.wait("document.querySelectorAll('section:first-child article').length === 1")
    assert at(address).run("document.querySelector('main').innerText") == before


@needs_browser
def test_the_page_works_by_keyboard(at):
    tab = at()
    tab.press("]")
    tab.wait("location.hash.includes('page=2') && document.querySelector('h2').textContent === 'Sample 4'")
    tab.press("/")
    assert tab.run("document.activeElement.name") == "find"
    for letter in "number 5":
        tab.press(letter)
    tab.wait("document.querySelectorAll('section').length === 1")
    assert tab.run("document.activeElement.value") == "number 5"
    controls = "[...document.querySelectorAll('select,input,button,a')]"
    assert tab.run(f"{controls}.filter((one) => !(one.labels?.[0]?.innerText || one.innerText).trim()).length") == 0


@needs_browser
def test_tables_are_sorted_filtered_and_paged(at):
    tab = at("#view=tables&table=detection")
    first = "document.querySelector('tbody tr').innerText.split('\\t')[0]"
    tab.click("thead th:nth-child(3) button")
    tab.wait(f"{first} === 'm249'")
    assert tab.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    tab.click("thead th:nth-child(3) button")
    tab.wait(f"{first} === 'm0' && location.hash.includes('dir=down')")
    tab.press("]")
    tab.wait(f"{first} === 'm100'")
    assert (
        at("#view=tables&table=detection&find=m24").run("document.getElementById('said').textContent").startswith("11 of 250")
    )


@needs_browser
@pytest.mark.parametrize(
    ("format", "lines"),
    [
        ("markdown", ["| model | verdict |", "| --- | --- |", "| llama\\_3 \\| a\\`b | GREEN |"]),
        ("csv", ["model,verdict", "llama_3 | a`b,GREEN"]),
        ("latex", ["\\begin{tabular}{ll}", "\\toprule", "model & verdict \\\\", "\\midrule", "llama\\_3 | a`b & GREEN \\\\"]),
    ],
)
def test_a_table_is_written_for_a_paper(at, format, lines):
    tab = at(f"#view=tables&table=verdict&as={format}")
    assert tab.run("document.querySelector('textarea').value").split("\n")[: len(lines)] == lines


@needs_browser
def test_an_episode_is_stepped_through(at):
    tab = at("#view=games&seed=1")
    assert "room 1" in tab.run("document.querySelector('main').innerText")
    tab.press("]")
    tab.wait("document.querySelector('main').innerText.includes('room 2')")
    assert "<b>north</b>" in tab.run("document.querySelector('main').innerText") and tab.complaints() == []


@needs_browser
@pytest.mark.parametrize("address", ["", "#view=tables&table=detection", "#view=games"])
def test_a_phone_scrolls_down_only(at, address):
    tab = at(address, width=390)
    assert tab.run("document.documentElement.scrollWidth") <= 390


@needs_browser
def test_printed_on_paper_no_column_is_cut(at):
    tab = at("#view=tables&table=council", width=700)
    tab.ask("Emulation.setEmulatedMedia", media="print")
    assert tab.run("document.documentElement.scrollWidth <= 700") and tab.pdf().startswith(b"%PDF")
    edges = "[...document.querySelectorAll('td')].map((cell) => cell.getBoundingClientRect().right)"
    assert max(tab.run(edges)) <= 700 and len(tab.run(edges)) == 60
    tab.ask("Emulation.setEmulatedMedia", media="")
