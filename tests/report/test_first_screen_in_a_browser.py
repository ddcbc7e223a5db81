"""In Chromium: the finding stands in the first 900 pixels, and nothing scrolls sideways, on a desk and on a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run", "--virtual-time-budget=4000", "--window-size=1500,1000", "--dump-dom"]
MEASURE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => { one.open = true })
  const seen = { across: document.documentElement.scrollWidth, width: innerWidth }
  seen.finding = document.getElementById("finding").getBoundingClientRect().bottom
  parent.postMessage(JSON.stringify(seen), "*")
})</script></body>"""


def measured(page: str, width: int, folder: Path) -> dict[str, float]:
    """What the page is like in a frame of this width, everything unfolded: headless windows are never narrower than 500."""
    (folder / "page.html").write_text(page.replace("</body>", MEASURE), encoding="utf-8")
    frame = f'<iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>'
    script = "<script>onmessage = event => { document.getElementById('said').textContent = event.data }</script>"
    (folder / "frame.html").write_text(f'<body><p id="said"></p>{frame}{script}')
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"file://{folder / 'frame.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = re.search(r'<p id="said">(.*?)</p>', done.stdout)
    assert said and said[1], done.stderr[-2000:]
    return json.loads(said[1])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_what_was_found_is_seen_at_once_and_nothing_scrolls_sideways(width, finished, tmp_path):
    page = (finished.folder / "results/small/council/report.html").read_text(encoding="utf-8")
    seen = measured(page, width, tmp_path)
    assert seen["width"] == width and seen["across"] <= width and 0 < seen["finding"] < 900
