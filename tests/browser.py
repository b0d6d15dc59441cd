"""A headless Chromium, driven over its DevTools protocol through two pipes: nothing but the standard library."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--no-first-run", "--no-default-browser-check", "--remote-debugging-pipe", "--hide-scrollbars"),
)
PATIENCE = 60.0  # seconds for one answer: a loaded machine starts a browser slowly


def find_browser() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One page of the browser. `events` are all that it has reported, in order."""

    def __init__(self, send: int, receive: int) -> None:
        self.send, self.receive = send, receive
        self.events: list[Json] = []
        self._number, self._buffer, self._session = 0, b"", ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Json:
        """The result of a DevTools command; raises `RuntimeError` where the browser refuses it."""
        self._number += 1
        message: Json = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.send, data) :]
        while True:
            found = self._read()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                result: Json = found["result"]
                return result

    def _read(self) -> Json:
        """The next message: messages end with a null byte. Events are kept."""
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self.receive], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(f"the browser said nothing for {PATIENCE:g} seconds")
            data = os.read(self.receive, 1 << 20)
            if not data:
                raise ConnectionError("the browser has ended")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", maxsplit=1)
        found: Json = json.loads(line)
        if "method" in found:
            self.events.append(found)
            if found["method"] == "Page.javascriptDialogOpening":  # else it would block every further answer
                self._number += 1
                reply = {"id": self._number, "sessionId": self._session, "method": "Page.handleJavaScriptDialog"}
                os.write(self.send, json.dumps(reply | {"params": {"accept": True}}).encode() + b"\0")
        return found

    def open(self, file: Path, width: int) -> None:
        """Show a file in a window of this width, and wait until everything in it is there."""
        self.events.clear()
        self.resize(width)
        self.call("Page.navigate", url=file.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()
        self.evaluate("new Promise(done => setTimeout(done, 150))")  # for what would run a moment later

    def resize(self, width: int, height: int = 900) -> None:
        # Headless windows have a smallest width of their own; the device's metrics do not.
        size: Json = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page: a debugger's, which the page's own policy does not forbid."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def happened(self, method: str) -> list[Json]:
        return [event["params"] for event in self.events if event["method"] == method]

    def screenshot(self, path: Path) -> None:
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        found = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(found["data"])


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """A browser of its own, with a fresh profile in `profile`; it is gone when the block ends."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # The browser reads 3 and writes 4; first out of the way of each other.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (theirs_in, theirs_out)]
    actions = [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
    silence = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_WRONLY, 0) for n in (1, 2)]
    arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = os.posix_spawn(program, arguments, os.environ, file_actions=[*silence, *actions], setpgroup=0)
    for descriptor in (theirs_in, theirs_out, *high):
        os.close(descriptor)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
