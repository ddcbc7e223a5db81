"""A real browser, driven over a pair of pipes by its DevTools protocol: Debian's Chromium, where it is installed.

https://chromedevtools.github.io/devtools-protocol
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-extensions", "--remote-debugging-pipe"]
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "/": 191, "]": 221, "[": 219}


class Page:
    """A tab: what it says, asks for and shows."""

    def __init__(self, to: int, back: int) -> None:
        self.to, self.back, self.buffer, self.number, self.session = to, back, b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            more = os.read(self.back, 2**20)
            assert more, "the browser has ended"
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def size(self, width: int, height: int = 900) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)

    def open(self, path: Path, address: str = "") -> None:
        """Open a page and wait until it has drawn something."""
        self.ask("Page.navigate", url="about:blank")
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri() + address)
        self.wait("document.readyState === 'complete' && document.body && document.body.innerText.trim()")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := self.run(script):
                    return value
            except AssertionError as error:
                if "navigated" not in str(error):
                    raise
            time.sleep(0.05)
        raise AssertionError(f"{script}: not within {seconds} s")

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        at = f"document.querySelector({json.dumps(selector)})"
        place = self.run(
            f"(() => {{ {at}.scrollIntoView({{block: 'center'}}); const r = {at}.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"Tab": "", "Enter": "\r"}.get(key, key)
        code = KEYS.get(key, ord(key[0].upper()))
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def complaints(self) -> list[str]:
        """What the console says that is wrong, and every request but the page's own."""
        said = [str(e["params"]) for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        said += [str(e["params"]["args"]) for e in self.events if e.get("method") == "Runtime.consoleAPICalled"]
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return said + [url for url in asked if not url.startswith(("file:", "about:"))]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF")["data"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser of its own, whose profile is below `folder`."""
    (theirs, to), (back, mine) = os.pipe(), os.pipe()
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}"]
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs} 4>&{mine}', *command]
    process = subprocess.Popen(shell, pass_fds=(theirs, mine), stderr=subprocess.DEVNULL, start_new_session=True)
    os.close(theirs)
    os.close(mine)
    try:
        yield Page(to, back)
    finally:
        process.terminate()
        process.wait(20)
        os.close(to)
        os.close(back)
