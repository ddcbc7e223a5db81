"""The screenshots of the documentation, of a finished demo: python tests/pictures.py results/organisms/council docs"""

import sys
import tempfile
from pathlib import Path

from browser import browser

TEXTS = "#model=llama&layer=3&scenario=the_listener&alphas=-0.1,0,0.1&only=positive"


def take(report: Path, folder: Path) -> None:
    """Write the first screen of the report and of the explorer below `folder`."""
    with tempfile.TemporaryDirectory() as aside, browser(Path(aside)) as page:
        page.ask("Emulation.setScrollbarsHidden", hidden=True)
        page.size(1400, 1130)
        page.open((report / "report.html").resolve())
        page.picture(folder / "report.png")
        page.size(1200, 760)
        page.open((report / "explorer.html").resolve(), TEXTS)
        page.wait("document.body.dataset.view")
        page.picture(folder / "explorer.png")


if __name__ == "__main__":
    take(*map(Path, sys.argv[1:]))
