"""A headless Chromium for tests, driven by chromedriver's WebDriver protocol with the standard library alone."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import LIMIT, free_port, wait_for

# Without the last five, Chromium looks for the network, which tests do not need.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
)


class Browser:
    """One browser window."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def open(self, page: Path, width: int, height: int, before: str = "") -> None:
        """Load a file in a viewport of this size, until it was shown; ``before`` is code that runs before its own."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", **metrics)
        added = self._devtools("Page.addScriptToEvaluateOnNewDocument", source=before)
        self._post("url", {"url": page.resolve().as_uri()})
        self._devtools("Page.removeScriptToEvaluateOnNewDocument", **added)
        shown = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        self._post("execute/async", {"script": shown, "args": []})

    def prefer(self, scheme: str) -> None:
        """Ask pages for a colour scheme, ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that JavaScript code returns."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the viewport of the first match, which is scrolled into its middle."""
        script = """const found = document.querySelector(arguments[0]);
            found.scrollIntoView({block: "center", behavior: "instant"});
            const box = found.getBoundingClientRect(); return [box.left, box.top, box.width, box.height];"""
        left, top, width, height = self.run(script, selector)
        return left, top, width, height

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, move to another, release."""
        self._pointer(
            [_move(start), {"type": "pointerDown", "button": 0}, _move(end), {"type": "pointerUp", "button": 0}]
        )

    def point_at(self, place: tuple[float, float]) -> None:
        """Move the pointer there."""
        self._pointer([_move(place)])

    def press(self, selector: str, key: str) -> None:
        """Focus the first match and press a key, by its WebDriver code point."""
        self.run("document.querySelector(arguments[0]).focus()", selector)
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._post("actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select, as a user does."""
        script = """const select = document.querySelector(arguments[0]); select.value = arguments[1];
            select.dispatchEvent(new Event("change", {bubbles: true}));"""
        self.run(script, selector, value)

    def errors(self) -> list[str]:
        """What the console has complained of since the last call."""
        return [entry["message"] for entry in self._post("se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        """The whole page as png."""
        shot = self._devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _pointer(self, actions: list[dict[str, Any]]) -> None:
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}
        self._post("actions", {"actions": [mouse]})

    def _devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def _post(self, command: str, body: dict[str, Any]) -> Any:
        return _request(f"{self._base}/{command}", body)


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A new browser with an empty profile in ``folder``; the test is skipped where Chromium is not installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here; Debian's packages chromium and chromium-driver have them")
    address = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _ready(address), process)
        options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _request(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        yield Browser(address, session)
        _request(f"{address}/session/{session}", None, "DELETE")
    finally:
        process.terminate()
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()


def _move(place: tuple[float, float]) -> dict[str, Any]:
    return {"type": "pointerMove", "duration": 0, "x": round(place[0]), "y": round(place[1])}


def _ready(address: str) -> bool:
    """Whether chromedriver listens already."""
    try:
        return bool(_request(f"{address}/status", None, "GET")["ready"])
    except urllib.error.URLError:
        return False


def _request(address: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{address}: {error.read().decode()[:400]}") from None
