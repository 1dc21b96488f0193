"""A report's figures and tables as files for a paper, and the report as PDF."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emotion_circuits.language import say
from emotion_circuits.page.browser import chromium, open_page
from emotion_circuits.page.page import Comparisons, Figure, Page, Table, Texts
from emotion_circuits.paths import replacing, write_table

__all__ = ["Exported", "export_parts", "write_pdf"]

_SCALE = 3
"""PNG pixels per CSS pixel: a figure of 760 px gets 2280, which is 300 dpi at 19 cm."""


@dataclass(frozen=True)
class Exported:
    """Files that were written.

    Attributes:
        figures: SVG and PNG.
        tables: Parquet and CSV.
    """

    figures: tuple[Path, ...]
    tables: tuple[Path, ...]


def export_parts(page: Page, path: Path, folder: Path) -> Exported:
    """Every figure as SVG and PNG, every table as Parquet and CSV, named as their anchors in the page.

    Args:
        page: what was written.
        path: the HTML file it was written to; the browser draws the figures from it.
        folder: made where it is missing.

    Raises:
        EmotionCircuitsError: there is no browser.
    """
    chromium()
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for section in page.sections for part in section.parts]
    names = [part.name for part in parts if isinstance(part, Figure)]
    return Exported(
        tuple(_figures(names, path, folder)),
        tuple(file for part in parts if not isinstance(part, Figure) for file in _table(part, folder)),
    )


def write_pdf(path: Path, pdf: Path) -> None:
    """The page on A4, with page numbers.

    Args:
        path: of the HTML file.
        pdf: of the PDF file.

    Raises:
        EmotionCircuitsError: there is no browser.
    """
    with open_page(path, width=760, printing=True) as browser:
        browser.evaluate("toPaper().then(() => true)")
        title = html.escape(str(browser.evaluate("document.title")))
        style = (
            "font:7pt sans-serif; color:#666; width:100%; margin:0 12mm; display:flex; justify-content:space-between"
        )
        data = browser.command(
            "Page.printToPDF",
            printBackground=True,
            preferCSSPageSize=True,
            generateTaggedPDF=True,
            generateDocumentOutline=True,
            displayHeaderFooter=True,
            headerTemplate="<span></span>",
            footerTemplate=f'<div style="{style}"><span>{title}</span><span><span class="pageNumber"></span> / '
            '<span class="totalPages"></span></span></div>',
        )["data"]
    with replacing(pdf) as temporary:
        temporary.write_bytes(base64.b64decode(data))


def _figures(names: list[str], path: Path, folder: Path) -> Iterator[Path]:
    with open_page(path) as browser:
        for name in names:
            for kind in ("svg", "png"):
                call = f"pictureOf({json.dumps('plot-' + name)}, '{kind}', {_SCALE if kind == 'png' else 1})"
                header, _, body = str(browser.evaluate(call)).partition(",")
                data = base64.b64decode(body) if header.endswith("base64") else _unquoted(body)
                with replacing(folder / f"{name}.{kind}") as temporary:
                    temporary.write_bytes(data)
                yield folder / f"{name}.{kind}"


def _unquoted(body: str) -> bytes:
    from urllib.parse import unquote

    return unquote(body).encode()


def _table(part: Table | Texts | Comparisons, folder: Path) -> Iterator[Path]:
    frame = _frame(part)
    # Lists and tuples (an interval in a cell) have no place in a CSV file, and mixed ones none in Parquet.
    frame = frame.map(lambda v: json.dumps(list(v)) if isinstance(v, list | tuple) else v)
    write_table(frame, folder / f"{part.name}.parquet")
    yield folder / f"{part.name}.parquet"
    with replacing(folder / f"{part.name}.csv") as temporary:
        frame.to_csv(temporary, index=False)
    yield folder / f"{part.name}.csv"


def _frame(part: Table | Texts | Comparisons) -> pd.DataFrame:
    if isinstance(part, Table):
        return part.frame
    if isinstance(part, Texts):
        rows = [(opening, *texts) for opening, texts in part.rows]
        return pd.DataFrame(rows, columns=[say("opening"), *part.columns])
    return pd.DataFrame([row.__dict__ for row in part.rows])
