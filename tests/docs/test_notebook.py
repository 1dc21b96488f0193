"""The notebook runs from top to bottom, and what it says still holds."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"

CONCLUSIONS = """
rows = report.set_index("set")
assert rows.loc["implicit-fresh", "difference_low"] <= 0, "states beat words on sentences that name no emotion"
assert weak.set_index("set").loc["implicit-fresh", "difference_low"] > 0, "the weak baseline is not beaten"
assert (claim.verdict, claim.reason) == ("inconclusive", "both")
assert figures.loc["anger", "regime"] == "no effect"
assert figures.loc["gratitude", "p"] > figures.filter(like="gratitude | random", axis=0)["p"].max()
assert figures.loc["gratitude", "change_low"] <= 0
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_its_conclusions_hold(tmp_path: Path) -> None:
    book = nbformat.read(BOOK, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(CONCLUSIONS))
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_the_notebook_keeps_no_error_and_nothing_of_the_machine() -> None:
    text = BOOK.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in text
    assert '"name": "stderr"' not in text
    assert str(Path.home()) not in text
