"""The notebooks: the tutorial runs from top to bottom and what it says still holds; what they show is kept, light and clean.

The cells of the one for Colab are run in ``test_examples.py``.
"""

from __future__ import annotations

import base64
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from hooks import notebook_page  # noqa: E402

BOOK = ROOT / "docs" / "tutorial.ipynb"
COLAB = ROOT / "docs" / "colab.ipynb"
BOOKS = pytest.mark.parametrize("path", [BOOK, COLAB], ids=lambda path: path.stem)
DRAWING = re.compile(r"^[\w.]+\.plot\(.*\)$|^\w+_by_layer\(.*\)$")

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
    for cell in drawing(book):
        assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in cell.outputs), cell.id


def drawing(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Cells that end with a figure."""
    return [c for c in book.cells if c.cell_type == "code" and DRAWING.match(c.source.splitlines()[-1])]


@BOOKS
def test_a_notebook_keeps_no_error_no_warning_and_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in text
    assert '"name": "stderr"' not in text
    assert str(Path.home()) not in text
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        for output in cell.get("outputs", []):
            told = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert "Warning" not in told, cell.id


@BOOKS
def test_every_cell_that_ends_with_a_figure_keeps_it_as_a_picture_with_words(path: Path) -> None:
    cells = drawing(nbformat.read(path, as_version=4))
    assert len(cells) >= 3
    for cell in cells:
        (picture,) = (output for output in cell.outputs if "image/png" in output.get("data", {}))
        assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
        assert set(picture.data) == {"image/png", "text/plain"}  # no script, no data that only some viewers draw
        assert picture.metadata["image/png"]["alt"] == picture.data["text/plain"]
        assert (
            re.fullmatch(r"Figure: [^<>]+ by [^<>]+", picture.data["text/plain"])
            or "prompts); " in picture.data["text/plain"]
        )
    assert path.stat().st_size < 600_000


@BOOKS
def test_the_page_of_a_notebook_shows_its_figures_and_cards(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    page = notebook_page(path)
    assert len(re.findall(r'<img alt="Figure: [^"]+" width="\d+" src="data:image/png;base64,[\w+/=]+">', page)) == len(
        drawing(book)
    )
    (card,) = (
        output.data["text/html"]
        for cell in book.cells
        for output in cell.get("outputs", [])
        if "SweepView(" in output.get("data", {}).get("text/plain", "")
    )
    assert f'<div class="shown">{card}</div>' in page
    assert "SweepView(8 prompts" not in page  # not as text beside it


def test_the_notebook_for_colab_installs_this_project_first_and_asks_for_a_gpu() -> None:
    book = nbformat.read(COLAB, as_version=4)
    first, *others = (cell for cell in book.cells if cell.cell_type == "code")
    assert first.metadata["tags"] == ["install"]
    assert not [cell.id for cell in others if "install" in cell.metadata.get("tags", [])]
    (address,) = re.findall(r"git\+(https://[\w./-]+)", first.source)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Changelog"].startswith(f"{address}/")
    assert f'"{project["name"]} @ git+' in first.source
    assert book.metadata["accelerator"] == "GPU"
    guide = (ROOT / "docs" / "howto" / "colab.md").read_text(encoding="utf-8")
    assert first.source in guide
    assert (
        f"colab.research.google.com/github{address.removeprefix('https://github.com')}/blob/main/docs/colab.ipynb"
        in guide
    )
