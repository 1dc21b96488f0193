"""A page in headless Chromium, driven by Playwright: for what only a browser can do (PDF files, figures as files, tests).

The browser is the system's own; Playwright's downloads are not used. Both are optional: the HTML page needs neither.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar

from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    import psutil
    from playwright.sync_api import Browser, Page

__all__ = ["chromium", "off_the_loop", "open_page", "opened"]

T = TypeVar("T")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_VIEWPORT = {"width": 1100, "height": 900}


def chromium() -> str:
    """The path of a Chromium or Chrome that can be driven; ``EMOTION_CIRCUITS_CHROMIUM`` overrides the search.

    Raises:
        EmotionCircuitsError: there is none, or no Playwright to drive it.
    """
    if find_spec("playwright") is None:
        raise EmotionCircuitsError(
            "Playwright: not installed; PDF files and figures as files are drawn by a browser that it drives. "
            "pip install 'emotion-circuits[pdf]' (its own browsers are not needed). The HTML page needs none."
        )
    wanted = os.environ.get("EMOTION_CIRCUITS_CHROMIUM")
    for name in (wanted,) if wanted else (*_NAMES, _MAC):
        found = shutil.which(name)
        if found:
            return found
    raise EmotionCircuitsError(
        f"{wanted or 'Chromium'}: not found; PDF files and figures as files are drawn by Chromium or Chrome. "
        "Install one (Debian: apt install chromium), or name it in EMOTION_CIRCUITS_CHROMIUM. The HTML page needs none."
    )


@contextmanager
def opened(timeout: float = 180.0) -> Iterator[Browser]:
    """A browser that ends with the block; its profile is new and goes with it.

    Args:
        timeout: seconds for everything in the block.

    Raises:
        EmotionCircuitsError: there is none, or it doesn't answer in time.
    """
    program = chromium()
    from playwright.sync_api import sync_playwright

    before = _children()
    with (
        sync_playwright() as driver,
        _deadline(_children() - before, timeout),
        driver.chromium.launch(executable_path=program, args=["--disable-gpu"]) as browser,
    ):
        yield browser


@contextmanager
def open_page(path: Path, *, timeout: float = 180.0, **view: Any) -> Iterator[Page]:
    """A local page in a browser that ends with the block.

    Args:
        path: of the HTML file.
        timeout: seconds for everything in the block.
        view: of ``Browser.new_page`` (``viewport``, ``is_mobile``, ``color_scheme`` …); 1100 × 900 CSS pixels by default.

    Raises:
        EmotionCircuitsError: no browser, it doesn't answer in time, or the page failed.
    """
    program = chromium()
    from playwright.sync_api import Error

    try:
        with opened(timeout) as browser, browser.new_page(**{"viewport": _VIEWPORT, **view}) as page:
            page.set_default_timeout(timeout * 1000)
            page.goto(path.resolve().as_uri())
            yield page
    except Error as error:
        # The lines after the first are the browser's log.
        raise EmotionCircuitsError(f"{program} failed at {path.name}: {error.message.splitlines()[0]}") from error


def _children() -> set[psutil.Process]:
    import psutil

    return set(psutil.Process().children())


@contextmanager
def _deadline(driver: Iterable[psutil.Process], seconds: float) -> Iterator[None]:
    """Kill Playwright's driver and its browser when the time is over.

    Playwright waits for a script, or for printing, as long as it takes, and for a browser that is gone for ever.

    Args:
        driver: the process that was started for Playwright.
        seconds: for everything in the block.
    """
    timer = Timer(seconds, _kill, (list(driver),))
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if timer.finished.is_set():
            raise EmotionCircuitsError(f"the browser does not answer within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


def _kill(driver: Sequence[psutil.Process]) -> None:
    import psutil

    for process in driver:
        with suppress(psutil.NoSuchProcess):
            for each in (*process.children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):
                    each.kill()


def off_the_loop(work: Callable[..., T], *arguments: Any) -> T:
    """What ``work`` returns, run in another thread: Playwright refuses one that runs an event loop, as a notebook's does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments).result()
