"""Run the notebooks and keep what they show, figures as PNG: the one form that GitHub, editors and this site all show.

Run where the package is installed with its extras ``docs`` and ``pdf`` (a browser draws the figures)::

    python docs/draw_notebooks.py docs/tutorial.ipynb docs/colab.ipynb

A notebook keeps a plotly figure with the whole of its script, some megabytes, or as data that only some viewers draw. Here each
becomes one picture in the look of the reports, with its axes and lines named for those who don't see it. Cells tagged ``install``
are not run: the package that runs is the one that is here.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient

from emotion_circuits.page.browser import open_page
from emotion_circuits.page.page import Figure, Page, Section, write_page

PLOTLY = "application/vnd.plotly.v1+json"
WIDTH, SCALE = 760, 1.5


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells show, each run anew in an empty folder."""
    book = nbformat.read(path, as_version=4)
    whole = book.cells
    book.cells = [cell for cell in whole if "install" not in cell.metadata.get("tags", [])]
    # Data of the figures, and not the script that draws them.
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    # Where no widgets are installed; nothing of them is kept in a file.
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    NotebookClient(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    book.cells = whole
    return book


def draw(book: nbformat.NotebookNode, folder: Path) -> None:
    """Put a PNG, drawn by the page kit, in the place of every figure."""
    outputs = [o for cell in book.cells for o in cell.get("outputs", []) if PLOTLY in o.get("data", {})]
    shown = [go.Figure(output.data[PLOTLY]) for output in outputs]
    parts = tuple(Figure(f"f{i}", f"Figure {i}", "", figure) for i, figure in enumerate(shown))
    page = folder / "figures.html"
    write_page(Page("Figures", "", (), (Section("figures", "Figures", parts=parts),), "", {}), page)
    with open_page(page) as tab:
        for i, (output, figure) in enumerate(zip(outputs, shown, strict=True)):
            picture = tab.evaluate(f"pictureOf('plot-f{i}', 'png', {SCALE}, {WIDTH})").partition(",")[2]
            words = in_words(figure)
            output.data = {"image/png": picture, "text/plain": words}
            output.metadata = {"image/png": {"alt": words, "width": WIDTH}}


def in_words(figure: go.Figure) -> str:
    """What stands on a figure's axes, its panels and its lines: its alternative text."""
    axes = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes()) if axis.title.text]
    maps = list(figure.select_traces({"type": "heatmap"}))
    axes += [f"{each.y[0]} … {each.y[-1]}" for each in maps[:1]]
    colours = [f"colour: {each.colorbar.title.text}" for each in maps if each.colorbar.title.text]
    panels = [note.text for note in figure.layout.annotations if note.text]
    lines = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    told = [" by ".join(dict.fromkeys(axes)), *(", ".join(dict.fromkeys(of)) for of in (colours, panels, lines))]
    return "Figure: " + "; ".join(filter(None, told)).replace("<br>", " ")


def main(paths: list[str]) -> None:
    """Run and draw each."""
    for name in paths:
        with tempfile.TemporaryDirectory() as folder:
            book = executed(Path(name), Path(folder))
            draw(book, Path(folder))
        for cell in book.cells:
            cell.metadata.pop("execution", None)
        nbformat.validate(book)
        nbformat.write(book, name)


if __name__ == "__main__":
    main(sys.argv[1:])
