"""The self-contained HTML page: sections of prose, claims, figures, tables and texts; nothing is fetched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.io
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from emotion_circuits.paths import replacing

__all__ = ["Figure", "Page", "Section", "Table", "Texts", "write_page"]


@dataclass(frozen=True)
class Figure:
    """A plotly figure with what to read from it.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what is shown, with units and chance level.
        figure: the plotly figure.
        alternative: the finding in words, for those who don't see the picture.
    """

    name: str
    title: str
    caption: str
    figure: Any
    alternative: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts and filters.

    Attributes:
        title: heading.
        caption: what the columns mean.
        frame: the rows; floats are shown with three significant digits.
    """

    title: str
    caption: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Texts:
    """Generated texts side by side: one column per condition, one row per opening.

    Attributes:
        title: heading.
        caption: how they were chosen.
        columns: condition names.
        rows: ``(opening, (continuation, …))``.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Section:
    """One question and what answers it.

    Attributes:
        anchor: id in the page.
        title: heading.
        prose: paragraphs of plain text.
        claims: rows of claims (dictionaries of :class:`emotion_circuits.statistics.Claim`).
        parts: figures, tables and texts in order.
    """

    anchor: str
    title: str
    prose: tuple[str, ...] = ()
    claims: tuple[dict[str, Any], ...] = ()
    parts: tuple[Figure | Table | Texts, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        lead: what was asked, in a sentence or two.
        facts: name and value, shown at the top.
        sections: in order.
        command: what reproduces the page.
        manifest: shown folded at the end.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    command: str
    manifest: dict[str, Any]


def _number(value: Any) -> str:
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_number(v) for v in value) + "]"
    return str(value)


def _kind(part: object) -> str:
    return type(part).__name__.lower()


def _figure_html(figure: Any) -> Markup:
    """The figure's div and its drawing call; plotly itself stands once in the page's head."""
    return Markup(
        plotly.io.to_html(
            figure, include_plotlyjs=False, full_html=False, config={"responsive": True, "displaylogo": False}
        )
    )


def write_page(page: Page, path: Path) -> None:
    """Write one HTML file that works without a network."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_number, kind=_kind, figure=_figure_html)
    source = (files("emotion_circuits.report") / "template.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(
        page=page,
        plotly=Markup(get_plotlyjs()),
        manifest=json.dumps(page.manifest, indent=2, ensure_ascii=False),
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
