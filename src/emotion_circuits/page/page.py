"""The self-contained HTML page: answers, sections of prose, claims, figures, tables and texts; nothing is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from emotion_circuits.language import language, nsay, say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.page.plainly import plain_figure
from emotion_circuits.page.telling import Told, beside, counted, figure_words, slug
from emotion_circuits.paths import replacing

__all__ = ["Answer", "Comparisons", "Evidence", "Figure", "Page", "Part", "Section", "Table", "Texts", "write_page"]


@dataclass(frozen=True)
class Evidence:
    """One row below an answer.

    Attributes:
        name: what was asked.
        anchor: of its section.
        verdicts: verdict and how many claims have it.
        figure: the clearest claim's figure and interval.
        of: which claim that is.
        beside: chance level and null.
    """

    name: str
    anchor: str
    verdicts: tuple[tuple[str, int], ...]
    figure: str
    of: str
    beside: str


@dataclass(frozen=True)
class Answer:
    """A question with what a run says to it.

    Attributes:
        key: for links.
        question: the question.
        text: the answer in sentences.
        evidence: its rows; none where it was not studied.
        command: that would study it, where it was not.
    """

    key: str
    question: str
    text: str
    evidence: tuple[Evidence, ...]
    command: str = ""


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
        name: file-safe name.
        title: heading.
        caption: what the columns mean.
        frame: the rows; floats are shown with three significant digits.
        folded: shown on demand.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    folded: bool = False


@dataclass(frozen=True)
class Texts:
    """Generated texts side by side: one column per condition, one row per opening.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: how they were chosen.
        columns: condition names.
        rows: ``(opening, (continuation, …))``.
        language: of the texts.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    language: str = "en"


@dataclass(frozen=True)
class Comparisons:
    """Figures that were reported elsewhere beside this run's.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what the columns mean.
        columns: headings.
        rows: of :func:`emotion_circuits.report.plan.plan_rows`.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Any, ...]


Part = Figure | Table | Texts | Comparisons


@dataclass(frozen=True)
class Section:
    """One question and what answers it.

    Attributes:
        anchor: id in the page.
        title: heading.
        prose: paragraphs of plain text.
        claims: in order.
        parts: figures, tables and texts in order.
    """

    anchor: str
    title: str
    prose: tuple[str, ...] = ()
    claims: tuple[Told, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        lead: what was asked, in a sentence or two.
        facts: name and value.
        sections: in order.
        command: what reproduces the page.
        manifest: shown folded at the end.
        answers: what the page opens with.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    command: str
    manifest: dict[str, Any]
    answers: tuple[Answer, ...] = ()


def _cell(value: Any, first: bool) -> Markup:
    """A table's cell; those with a number are marked, so that they are sorted as numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = term(value) if isinstance(value, str) else number(value)
        return Markup('<th scope="row">{}</th>' if first else "<td>{}</td>").format(shown)
    return Markup('<td class="n">{}</td>').format(number(value))


def _kind(part: object) -> str:
    return type(part).__name__.lower()


def _data(figure: Any) -> Markup:
    """Traces and layout as JSON inside a script element; the look is the page's own, light or dark."""
    layout = plain_figure(figure)
    layout["layout"].pop("template", None)
    # '<' can only stand inside strings, where the escape means the same; '</script>' would end the element.
    return Markup(json.dumps(layout, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _room(figure: Any) -> str:
    """Space kept before the figure is drawn, and how narrow it may get: panels side by side scroll instead."""
    panels = sum(1 for key in figure.layout.to_plotly_json() if re.fullmatch(r"xaxis\d*", key))
    width = 230 * panels if panels > 1 else 300
    return f"height:{figure.layout.height or 420}px;min-width:{figure.layout.meta or width}px"


def _own(name: str) -> Markup:
    return Markup((files("emotion_circuits.page") / name).read_text(encoding="utf-8"))


def _script_json(value: object) -> Markup:
    return Markup(json.dumps(value, ensure_ascii=False).replace("<", "\\u003c"))


def _counted(claims: Sequence[Told]) -> list[tuple[str, int]]:
    return counted(told.claim for told in claims)


def write_page(page: Page, path: Path) -> None:
    """Write one HTML file that works without a network, in the language that is spoken."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=number,
        kind=_kind,
        data=_data,
        room=_room,
        cell=_cell,
        term=term,
        slug=slug,
        counted=_counted,
        figure=figure_words,
        beside=beside,
    )
    # HTML and the sorting of names write codes with a dash.
    environment.globals.update(say=say, nsay=nsay, language=language().replace("_", "-"))
    source = (files("emotion_circuits.page") / "template.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(
        page=page,
        css=_own("page.css"),
        tables=_own("tables.js"),
        figures=_own("figures.js"),
        plotly=Markup(get_plotlyjs()),
        words=_script_json({"rows": say("{shown} of {all} rows")}),
        manifest=escape(json.dumps(page.manifest, indent=2, ensure_ascii=False)),
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
