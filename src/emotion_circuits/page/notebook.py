"""What a notebook shows of an object: its name, its facts and a few rows; no script, nothing fetched, every text escaped.

The picture that belongs to it is :meth:`plot` of the object, which a notebook draws by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup, escape

from emotion_circuits.page.numerals import number

__all__ = ["card", "shortened", "side_by_side"]

_ROWS = 8
"""Rows of a card's table."""


def shortened(text: str, length: int = 60) -> str:
    """The beginning of a text, with what was left out marked.

    >>> shortened("a long text", 6)
    'a lon…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def card(title: str, facts: Mapping[str, object], table: pd.DataFrame | Markup | None = None) -> str:
    """A small piece of HTML.

    Args:
        title: what it is.
        facts: name → value.
        table: of which the first rows are shown; or a table that is HTML already (:func:`side_by_side`).

    Example:
        >>> print(card("Trace", {"text": "<b>"}))
        <div><strong>Trace</strong><br>text: &lt;b&gt;</div>
    """
    lines = [Markup("<strong>{}</strong>").format(title)]
    lines += [Markup("{}: {}").format(name, number(value)) for name, value in facts.items() if value not in (None, "")]
    shown = Markup("<br>").join(lines)
    return str(
        Markup("<div>{}{}</div>").format(
            shown, Markup("") if table is None else table if isinstance(table, Markup) else _table(table)
        )
    )


def side_by_side(texts: pd.DataFrame, below: pd.DataFrame | None = None) -> Markup:
    """Texts for :func:`card` to be read beside one another: set as text and not as figures, line breaks kept.

    Args:
        texts: a row per opening, which is the index, and a column per way of going on.
        below: of the same shape: a word that stands small below each text.

    Example:
        >>> frame = pd.DataFrame({"none": ["<b>"]}, index=pd.Index(["One"], name="prompt"))
        >>> "&lt;b&gt;" in side_by_side(frame) and "<b>" not in side_by_side(frame)
        True
    """
    head = [texts.index.name or "", *texts.columns]
    lines = []
    for at in range(min(_ROWS, len(texts))):
        words = [None, *([None] * texts.shape[1] if below is None else below.iloc[at])]
        lines.append(
            [
                Markup("{}{}").format(
                    number(None if pd.isna(text) else text),
                    "" if word is None or pd.isna(word) else Markup("<br><small>{}</small>").format(word),
                )
                for text, word in zip([texts.index[at], *texts.iloc[at]], words, strict=True)
            ]
        )
    return _rows(head, lines, len(texts) - _ROWS, style=_PROSE)


_PROSE = Markup(' style="text-align: left; vertical-align: top; white-space: pre-line"')


def _table(table: pd.DataFrame) -> Markup:
    names = [str(name).replace("_", " ") for name in table.columns]
    lines = [[number(value) for value in row] for row in table.head(_ROWS).itertuples(index=False)]
    return _rows(names, lines, len(table) - _ROWS)


def _rows(names: Sequence[str], lines: Sequence[Sequence[str]], left: int, style: str = "") -> Markup:
    """The table; ``left``: how many rows are not shown."""
    head = Markup("").join(Markup("<th{}>{}</th>").format(style, name) for name in names)
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td{}>{}</td>").format(style, cell) for cell in line))
        for line in lines
    )
    more = Markup("") if left <= 0 else Markup("<div>{}</div>").format(escape(f"… {left} more"))
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}").format(head, rows, more)
