"""The documentation's pictures of pages, taken in a browser from a finished run: a report's beginning and a rater's page.

python docs/pictures.py runs/demo    (``make pictures``)

Needs the extra ``pdf`` and Chromium or Chrome.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from emotion_circuits.human.designing import Wanted, design_study
from emotion_circuits.human.sheet import write_sheets
from emotion_circuits.page.browser import open_page
from emotion_circuits.report.study_page import write_report

ASSETS = Path(__file__).parent / "assets"


def report(run: Path, place: Path) -> None:
    """The first screen, with its five questions begun."""
    page = write_report(run, out=place / "report.html")
    with open_page(page, viewport={"width": 1100, "height": 1420}, color_scheme="light") as tab:
        tab.wait_for_timeout(1500)  # until figures are drawn
        tab.screenshot(path=str(ASSETS / "report.png"))


def rater(run: Path, place: Path) -> None:
    """A text half answered, of a study of the run that nobody takes part in."""
    design_study(run, place / "study", Wanted(raters=4, studies=2))
    (sheet,) = write_sheets(place / "study", rater="r2")
    with open_page(sheet, viewport={"width": 760, "height": 730}, color_scheme="light") as tab:
        tab.check("#agree")
        tab.click("#begin")
        tab.locator("[data-name=emotion] label").last.click()  # none of them, of the first text
        tab.locator("[data-name=naturalness] label").nth(4).click()
        tab.click("#next")
        tab.locator("[data-name=emotion] label").nth(2).click()
        tab.locator("[data-name=intensity] label").nth(3).click()
        tab.wait_for_timeout(300)
        tab.screenshot(path=str(ASSETS / "human.png"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for draw in (report, rater):
            draw(Path(sys.argv[1]), Path(folder))
