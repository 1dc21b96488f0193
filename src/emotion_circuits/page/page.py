"""The self-contained HTML page: answers, sections of prose, claims, figures, tables and texts; nothing is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from emotion_circuits.language import language, nsay, say, term
from emotion_circuits.page.abreast import Abreast, Strip
from emotion_circuits.page.numerals import estimate, fixed, number, places, probability
from emotion_circuits.page.plainly import plain_figure
from emotion_circuits.page.telling import Told, beside, counted, figure_words, null_words, slug
from emotion_circuits.paths import replacing

__all__ = [
    "Answer",
    "Asked",
    "Comparisons",
    "Evidence",
    "Figure",
    "Page",
    "Part",
    "Section",
    "Sheet",
    "Sheets",
    "Table",
    "Texts",
    "write_page",
]


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
        text: the answer in sentences, with figures.
        evidence: its rows; none where it was not studied.
        command: that would study it, where it was not.
        verdict: ``yes``, ``partly``, ``inconclusive`` or ``no``; empty where nothing decides.
        gist: the answer in a plain sentence or two.
        strips: the figures that decide it.
        texts: a few texts to read.
    """

    key: str
    question: str
    text: str
    evidence: tuple[Evidence, ...]
    command: str = ""
    verdict: str = ""
    gist: str = ""
    strips: tuple[Strip, ...] = ()
    texts: Texts | None = None


@dataclass(frozen=True)
class Asked:
    """A question with what several runs say to it.

    Attributes:
        key: for links.
        question: the question.
        answers: name of a run and its answer, one per run.
        differ: whether their verdicts do.
        claims: those of this question, a column per run; ``None`` where no run has any.
    """

    key: str
    question: str
    answers: tuple[tuple[str, Answer], ...]
    differ: bool
    claims: Abreast | None = None


@dataclass(frozen=True)
class Figure:
    """A plotly figure with what to read from it.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what is shown, with units and chance level.
        figure: the plotly figure.
        alternative: the finding in words, for those who don't see the picture.
        sheet: name of the :class:`Sheet` that a click on a mark opens, made of the mark's ``{x}``, ``{y}``, ``{text}`` or
            ``{customdata}``.
    """

    name: str
    title: str
    caption: str
    figure: Any
    alternative: str = ""
    sheet: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts and filters.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what the columns mean.
        frame: the rows; floats are shown with three significant digits.
        folded: shown on demand.
        choices: columns of which one value can be picked, so that only its rows are shown.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    folded: bool = False
    choices: tuple[str, ...] = ()


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
        shown_first: places of the columns that an answer shows; all by default.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    language: str = "en"
    shown_first: tuple[int, ...] = ()

    def few(self, count: int) -> Texts:
        """The first rows, and of the columns those that are shown first."""
        places = self.shown_first or tuple(range(len(self.columns)))
        rows = tuple((opening, tuple(texts[i] for i in places)) for opening, texts in self.rows[:count])
        return replace(self, columns=tuple(self.columns[i] for i in places), rows=rows, shown_first=())


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


@dataclass(frozen=True)
class Sheet:
    """What is known of one thing that a reader points at.

    Attributes:
        name: what figures call it.
        kind: what sort of thing it is; the list is ordered by it.
        title: heading.
        tables: title, headings and rows, all as they are read.
        see: names of other sheets.
    """

    name: str
    kind: str
    title: str
    tables: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...]
    see: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheets:
    """A list of things to look at closely; each opens beside the page, from the list or by a click in a figure.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what can be looked at.
        sheets: one per thing.
    """

    name: str
    title: str
    caption: str
    sheets: tuple[Sheet, ...]


Part = Figure | Table | Texts | Comparisons | Sheets | Abreast


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
        asked: what a page of several runs opens with instead.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    command: str
    manifest: dict[str, Any]
    answers: tuple[Answer, ...] = ()
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class _Ends:
    """A figure with the ends of an interval, or such ends alone: one cell of a table."""

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.value is not None:
            return estimate(self.value, (self.low, self.high))
        decimals = places(self.low, self.high)
        return f"{fixed(self.low, decimals)} … {fixed(self.high, decimals)}"


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read: a figure and the ends of its interval, or of its null, in one column.

    ``x, x_low, x_high`` become ``x``, and so do ``x, low, high``; ends without a figure keep their name.
    """
    names, taken, columns = [str(c) for c in frame.columns], set[str](), dict[str, Any]()
    for name in names:
        stem = name.removesuffix("low").removesuffix("_") if name == "low" or name.endswith("_low") else None
        if stem is None or f"{name.removesuffix('low')}high" not in names:
            continue
        before = names.index(name) - 1
        of = stem if stem in names else names[before] if name == "low" and before >= 0 else ""
        numbers = of in names and of not in taken and pd.api.types.is_numeric_dtype(frame[of])
        # Ends of what is no number, or has its interval already, stay columns of their own: nothing is written over.
        if not numbers and (name == "low" or of):
            continue
        ends = (name, f"{name.removesuffix('low')}high")
        values = frame[of].tolist() if numbers else [None] * len(frame)
        rows = zip(values, frame[ends[0]].tolist(), frame[ends[1]].tolist(), strict=True)
        columns[of if numbers else ends[0]] = (of if numbers else stem, [_ends(*row) for row in rows])
        taken |= {*ends, of} if numbers else set(ends)
    found = {
        (columns[name][0] if name in columns else name): (columns[name][1] if name in columns else frame[name].tolist())
        for name in names
        if name in columns or name not in taken
    }
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in found.items()})


def _ends(value: float | None, low: float, high: float) -> object:
    if low != low or high != high:
        return value
    return _Ends(value, low, high)


def _column(name: str) -> str:
    """A column's heading: its name among the words of the language, or as words."""
    spoken = term(name)
    return spoken if spoken != name else name.replace("_", " ")


def _cell(value: Any, first: bool) -> Markup:
    """A table's cell; those with a number are marked, so that they are sorted as numbers."""
    if isinstance(value, _Ends):
        return Markup('<td class="n">{}</td>').format(str(value))
    if value is None:
        return Markup("<td></td>")
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


def _sheets_data(part: Sheets) -> Markup:
    return _script_json([asdict(sheet) for sheet in part.sheets])


def _values(frame: pd.DataFrame, column: str) -> list[str]:
    """What can be picked of a column, in the order of its rows."""
    return [str(value) for value in dict.fromkeys(frame[column]) if value is not None]


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
        column=_column,
        shown=_shown,
        term=term,
        slug=slug,
        sheets_data=_sheets_data,
        values=_values,
        counted=_counted,
        figure=figure_words,
        null_range=null_words,
        chance=probability,
        beside=beside,
    )
    # HTML and the sorting of names write codes with a dash.
    environment.globals.update(say=say, nsay=nsay, language=language().replace("_", "-"))
    source = (files("emotion_circuits.page") / "template.html.j2").read_text(encoding="utf-8")
    # The drawing library is megabytes long.
    drawn = any(isinstance(part, Figure) for section in page.sections for part in section.parts)
    html = environment.from_string(source).render(
        page=page,
        css=_own("page.css"),
        tables=_own("tables.js"),
        figures=_own("figures.js"),
        sheets=_own("sheets.js"),
        looked=any(isinstance(part, Sheets) for section in page.sections for part in section.parts),
        plotly=Markup(get_plotlyjs()) if drawn else "",
        words=_script_json(
            {"rows": say("rows: {shown} of {all}"), "see": say("See also"), "pick": say("What to look at")}
        ),
        manifest=escape(json.dumps(page.manifest, indent=2, ensure_ascii=False)),
    )
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
