"""A report's figures and tables as files for a paper, and the report as PDF."""

from __future__ import annotations

import base64
import csv
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pandas as pd

from emotion_circuits.language import say
from emotion_circuits.page.abreast import Abreast
from emotion_circuits.page.browser import chromium, off_the_loop, open_page
from emotion_circuits.page.page import Comparisons, Figure, Page, Sheets, Table, Texts
from emotion_circuits.paths import replacing, write_table

__all__ = ["Exported", "export_parts", "figure_pdfs", "write_pdf"]

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
    parts = [part for section in page.sections for part in section.parts]
    return Exported(
        _drawn(_figures, page, path, folder),
        tuple(file for part in parts if not isinstance(part, Figure | Sheets) for file in _table(part, folder)),
    )


def figure_pdfs(page: Page, path: Path, folder: Path) -> tuple[Path, ...]:
    """Every figure as a PDF of its own size, in lines and letters, named as its anchor in the page.

    Args:
        page: what was written.
        path: the HTML file it was written to; the browser draws the figures from it.
        folder: made where it is missing.

    Raises:
        EmotionCircuitsError: there is no browser.
    """
    return _drawn(_sheets, page, path, folder)


def _drawn(
    draw: Callable[[list[str], Path, Path], tuple[Path, ...]], page: Page, path: Path, folder: Path
) -> tuple[Path, ...]:
    """Files of all figures, drawn by a browser."""
    chromium()
    folder.mkdir(parents=True, exist_ok=True)
    names = [part.name for section in page.sections for part in section.parts if isinstance(part, Figure)]
    return off_the_loop(draw, names, path, folder)


def write_pdf(path: Path, pdf: Path) -> None:
    """The page on A4, with page numbers.

    Args:
        path: of the HTML file.
        pdf: of the PDF file.

    Raises:
        EmotionCircuitsError: there is no browser.
    """
    data = off_the_loop(_printed, path)
    with replacing(pdf) as temporary:
        temporary.write_bytes(data)


def _printed(path: Path) -> bytes:
    style = "font:7pt sans-serif; color:#666; width:100%; margin:0 12mm; display:flex; justify-content:space-between"
    with open_page(path) as tab:
        tab.evaluate("toPaper()")
        return tab.pdf(
            print_background=True,
            prefer_css_page_size=True,
            tagged=True,
            outline=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=f'<div style="{style}"><span>{html.escape(tab.title())}</span>'
            '<span><span class="pageNumber"></span> / <span class="totalPages"></span></span></div>',
        )


def _figures(names: list[str], path: Path, folder: Path) -> tuple[Path, ...]:
    written = []
    with open_page(path) as tab:
        for name in names:
            for kind, scale in (("svg", 1), ("png", _SCALE)):
                picture = tab.evaluate(f"pictureOf({json.dumps('plot-' + name)}, '{kind}', {scale})")
                header, _, body = picture.partition(",")
                data = base64.b64decode(body) if header.endswith("base64") else unquote(body).encode()
                with replacing(folder / f"{name}.{kind}") as temporary:
                    temporary.write_bytes(data)
                written.append(folder / f"{name}.{kind}")
    return tuple(written)


def _sheets(names: list[str], path: Path, folder: Path) -> tuple[Path, ...]:
    written = []
    with open_page(path) as tab:
        drawn = [tab.evaluate(f"pictureOf({json.dumps('plot-' + name)}, 'svg', 1)") for name in names]
        for name, data in zip(names, drawn, strict=True):
            picture = unquote(data.partition(",")[2])
            width, height = (float(re.search(rf'\b{side}="([\d.]+)"', picture)[1]) for side in ("width", "height"))  # type: ignore[index]
            # A pixel more than the picture, since a picture of exactly a page's height may begin a second one.
            page = f"@page {{size: {width:g}px {height + 1:g}px; margin: 0}}"
            tab.set_content(f"<style>{page} body {{margin: 0}} svg {{display: block}}</style>{picture}")
            with replacing(folder / f"{name}.pdf") as temporary:
                temporary.write_bytes(tab.pdf(prefer_css_page_size=True, print_background=True, page_ranges="1"))
            written.append(folder / f"{name}.pdf")
    return tuple(written)


def _table(part: Table | Texts | Comparisons | Abreast, folder: Path) -> Iterator[Path]:
    frame = _frame(part)
    # Lists and tuples (an interval in a cell) have no place in a CSV file, and mixed ones none in Parquet.
    frame = frame.map(lambda v: json.dumps(list(v)) if isinstance(v, list | tuple) else v)
    write_table(frame, folder / f"{part.name}.parquet")
    yield folder / f"{part.name}.parquet"
    with replacing(folder / f"{part.name}.csv") as temporary:
        # Quoted, since a carriage return inside a text would end its row.
        safe = frame.map(_no_formula).rename(columns=_no_formula)
        safe.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC)
    yield folder / f"{part.name}.csv"


def _no_formula(value: object) -> object:
    """A text that a spreadsheet would compute, with the quote before it that says it is one; numbers stay numbers.

    Example:
        >>> _no_formula("=1+1"), _no_formula("+0.12"), _no_formula("-- a dash")
        ("'=1+1", '+0.12', "'-- a dash")
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if re.fullmatch(r"[+-]\d[\d.,]*(e[+-]?\d+)?( ?%)?", value) else f"'{value}"


def _frame(part: Table | Texts | Comparisons | Abreast) -> pd.DataFrame:
    if isinstance(part, Abreast):
        return part.frame()
    if isinstance(part, Table):
        return part.frame
    if isinstance(part, Texts):
        rows = [(opening, *texts) for opening, texts in part.rows]
        return pd.DataFrame(rows, columns=[say("opening"), *part.columns])
    return pd.DataFrame([row.__dict__ for row in part.rows])
