"""What a notebook shows of an object: its name, its facts and a few rows; no script, nothing fetched, every text escaped.

The picture that belongs to it is :meth:`plot` of the object, which a notebook draws by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup, escape

from emotion_circuits.page.numerals import number

__all__ = ["card", "shortened"]

_ROWS = 8
"""Rows of a card's table."""


def shortened(text: str, length: int = 60) -> str:
    """The beginning of a text, with what was left out marked.

    >>> shortened("a long text", 6)
    'a lon…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def card(title: str, facts: Mapping[str, object], table: pd.DataFrame | None = None) -> str:
    """A small piece of HTML.

    Args:
        title: what it is.
        facts: name → value.
        table: of which the first rows are shown.

    Example:
        >>> print(card("Trace", {"text": "<b>"}))
        <div><strong>Trace</strong><br>text: &lt;b&gt;</div>
    """
    lines = [Markup("<strong>{}</strong>").format(title)]
    lines += [Markup("{}: {}").format(name, number(value)) for name, value in facts.items() if value not in (None, "")]
    shown = Markup("<br>").join(lines)
    return str(Markup("<div>{}{}</div>").format(shown, Markup("") if table is None else _table(table)))


def _table(table: pd.DataFrame) -> Markup:
    head = Markup("").join(Markup("<th>{}</th>").format(str(name).replace("_", " ")) for name in table.columns)
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(number(value)) for value in row))
        for row in table.head(_ROWS).itertuples(index=False)
    )
    left = len(table) - _ROWS
    more = Markup("") if left <= 0 else Markup("<div>{}</div>").format(escape(f"… {left} more"))
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}").format(head, rows, more)
