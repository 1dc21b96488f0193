"""A page in headless Chromium: what it computes, draws and prints.

Chromium speaks its DevTools protocol over two pipes (file descriptors 3 and 4), JSON messages that end in a zero byte, so
nothing but the browser is needed. It is used for what only a browser can do: PDF files, figures as files, and tests.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["BrowserPage", "chromium", "open_page"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio",
)  # fmt: skip


def chromium() -> str:
    """The path of a Chromium or Chrome; ``EMOTION_CIRCUITS_CHROMIUM`` overrides the search.

    Raises:
        EmotionCircuitsError: there is none.
    """
    wanted = os.environ.get("EMOTION_CIRCUITS_CHROMIUM")
    for name in (wanted,) if wanted else (*_NAMES, _MAC):
        found = shutil.which(name)
        if found:
            return found
    raise EmotionCircuitsError(
        f"{wanted or 'Chromium'}: not found; PDF files and figures as files are drawn by Chromium or Chrome. "
        "Install one (Debian: apt install chromium), or name it in EMOTION_CIRCUITS_CHROMIUM. The HTML page needs none."
    )


class BrowserPage:
    """One tab.

    Attributes:
        errors: what the page wrote to its console as an error, and exceptions that nothing caught.
    """

    def __init__(self, writing: int, reading: int, deadline: float) -> None:
        self.errors: list[str] = []
        self._writing, self._reading, self._deadline = writing, reading, deadline
        self._rest, self._count, self._session = b"", 0, ""

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a DevTools command and wait for its answer.

        Raises:
            EmotionCircuitsError: refused, or the browser doesn't answer in time.
        """
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writing, data) :]
        while (answer := self._next()).get("id") != self._count:
            pass
        if "error" in answer:
            raise EmotionCircuitsError(f"the browser refused {method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited.

        Raises:
            EmotionCircuitsError: it threw.
        """
        found = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise EmotionCircuitsError(
                f"the page failed: {details.get('exception', {}).get('description', details.get('text'))}"
            )
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def size(self, width: int, height: int = 900, *, mobile: bool = False) -> None:
        """Give the window a size in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    def media(self, *, dark: bool = False, printing: bool = False) -> None:
        """Choose the colour scheme that the reader prefers, and whether the page is printed."""
        self.command(
            "Emulation.setEmulatedMedia",
            media="print" if printing else "",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def open(self, address: str) -> None:
        """Attach to a new tab and load a page in it."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")
        self.load(address)

    def load(self, address: str) -> None:
        """Load a page and wait until everything in it is loaded."""
        self.command("Page.navigate", url=address)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                raise EmotionCircuitsError("the browser does not answer in time")
            block = os.read(self._reading, 1 << 20)
            if not block:
                raise EmotionCircuitsError("the browser ended before its work was done")
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details.get("text"))))
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(str(about["entry"]["text"]))


def _high(end: int) -> int:
    """The same pipe under a descriptor above 9: 3 and 4 are the browser's, and must not be overwritten before they are copied."""
    copy = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(end)
    return copy


@contextmanager
def open_page(path: Path, *, timeout: float = 180.0, **view: Any) -> Iterator[BrowserPage]:
    """A local page in a browser that ends with the block.

    Args:
        path: of the HTML file.
        timeout: seconds for everything in the block.
        view: ``width`` (1100), ``height``, ``mobile``, ``dark``, ``printing``.

    Raises:
        EmotionCircuitsError: no browser, or it doesn't answer.
    """
    program = chromium()
    theirs_in, ours_out, ours_in, theirs_out = (_high(end) for pair in (os.pipe(), os.pipe()) for end in pair)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        ]
        arguments = [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setpgroup=0)
        os.close(theirs_in)
        os.close(theirs_out)
        page = BrowserPage(ours_out, ours_in, time.monotonic() + timeout)
        try:
            page.command("Browser.getVersion")
            page.open("about:blank")
            page.size(view.get("width", 1100), view.get("height", 900), mobile=view.get("mobile", False))
            page.media(dark=view.get("dark", False), printing=view.get("printing", False))
            page.load(path.resolve().as_uri())
            yield page
        finally:
            os.close(ours_out)
            os.close(ours_in)
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
