"""Tables whose labels stand otherwise than in a column of their own, brought into the one form that rows are made of.

``text:LABEL=COLUMN``: a column of texts per label, so that one line of the table tells one thing in several ways.
``label:LABEL=RULE``: a rule per label. A rule is a condition on a cell (``score>=0.5``, ``labels==15``; ``==`` asks for a cell
that holds this and nothing else, as a list or between commas too), or a column of strengths (``Joy``), of which the one with the
largest number above 0 is the label. Lines of which no rule holds, or several, are left out and counted.
``@1``, ``@2`` … are the columns of a file whose first line names none.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.tables import Table

__all__ = ["is_layout", "laid_out", "layout_problem", "unnamed"]

_log = logging.getLogger(__name__)

_FIELD = re.compile(r"(text|label):(\w[\w-]*)")
_RULE = re.compile(r"(?P<column>.+?)\s*(?P<sign>>=|<=|==|>|<)\s*(?P<than>.+)")
_UNNAMED = re.compile(r"@[1-9]\d*")


class _Rule(NamedTuple):
    column: str
    sign: str = ""
    than: str = ""


def is_layout(field: str) -> bool:
    """Whether a field of a column map is one of those above."""
    return _FIELD.fullmatch(field) is not None


def layout_problem(columns: Mapping[str, str]) -> str:
    """What is wrong with a column map whose fields are such; empty where nothing is."""
    kinds = {field.partition(":")[0] for field in columns if is_layout(field)}
    if len(kinds) > 1:
        return "texts by label (text:LABEL) and rules by label (label:LABEL) exclude each other"
    if len(kinds & set(columns)) > 0 or ("text" in kinds and "label" in columns):
        return f"'{'label' if 'label' in columns else 'text'}' is mapped besides; leave one out"
    for field, given in columns.items():
        rule = _rule(given)
        if field.startswith("label:") and rule.sign in (">=", "<=", ">", "<") and _number(rule.than) is None:
            return f"{field}={given}: {rule.than!r} is no number"
    return ""


def unnamed(columns: Mapping[str, str]) -> bool:
    """Whether columns are counted (``@1``), so that the first line of the file is a row."""
    return any(_UNNAMED.fullmatch(_column(field, given)) for field, given in columns.items())


def _column(field: str, given: str) -> str:
    return _rule(given).column if field.startswith("label:") else given


def _rule(given: str) -> _Rule:
    found = _RULE.fullmatch(given)
    return _Rule(given) if found is None else _Rule(found["column"], found["sign"], found["than"].strip())


def laid_out(table: Table, columns: Mapping[str, str], path: Path) -> tuple[Table, dict[str, str]]:
    """The table with a text and a label on every row, and the columns that are mapped on.

    Args:
        table: as it stands in its file.
        columns: field → column; where none is of the kinds above the table stays as it is.
        path: for messages.

    Raises:
        EmotionCircuitsError: a column that is not there, or no row of which a rule holds.
    """
    own = {field: given for field, given in columns.items() if is_layout(field)}
    if not own:
        return table, dict(columns)
    wanted = {field: _column(field, given) for field, given in own.items()}
    places = table.positions(path, wanted)
    rest = {field: column for field, column in columns.items() if field not in own}
    if next(iter(own)).startswith("text:"):
        rows = _by_text(table, places, table.positions(path, rest), path)
        return table._replace(rows=rows, columns=(*table.columns, *_MADE)), {**rest, **_OWN, **_kept(rest)}
    kept, none, several = [], 0, 0
    rules = {field.partition(":")[2]: _rule(given)._replace(column=places[field]) for field, given in own.items()}
    for line, cells in table.rows:
        held = _held(rules, cells)
        none, several = none + (not held), several + (len(held) > 1)
        if len(held) == 1:
            kept.append((line, {**cells, _LABEL: held[0]}))
    if none or several:
        _log.warning(
            "%s: %d rows are left out: of %d no label's rule holds, of %d several do",
            path,
            none + several,
            none,
            several,
        )
    if not kept and table.rows:
        raise EmotionCircuitsError(
            f"{path}: of no row exactly one label's rule holds; look at the columns and the rules"
        )
    return table._replace(rows=kept, columns=(*table.columns, _LABEL)), {**rest, "label": _LABEL}


_TEXT, _LABEL, _GROUP, _ID = "text (made)", "label (made)", "group (made)", "id (made)"
_MADE = (_TEXT, _LABEL, _GROUP, _ID)
_OWN = {"text": _TEXT, "label": _LABEL, "id": _ID}


def _kept(rest: Mapping[str, str]) -> dict[str, str]:
    return {} if "group" in rest else {"group": _GROUP}


def _by_text(
    table: Table, places: Mapping[str, str], others: Mapping[str, str], path: Path
) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, (line, cells) in enumerate(table.rows, start=1):
        name = str(cells[others["id"]]).strip() if others.get("id") in cells else f"{path.stem}-{number}"
        for field, column in places.items():
            text, label = cells.get(column), field.partition(":")[2]
            if text is not None and str(text).strip():
                made = {_TEXT: text, _LABEL: label, _GROUP: name, _ID: f"{name}-{label}"}
                found.append((line, {**cells, **made}))
    return found


def _held(rules: Mapping[str, _Rule], cells: Mapping[str, Any]) -> list[str]:
    """Labels whose rule holds of a row."""
    found = [label for label, rule in rules.items() if rule.sign and _holds(rule, cells.get(rule.column))]
    strengths = {label: _number(cells.get(rule.column)) or 0.0 for label, rule in rules.items() if not rule.sign}
    most = max(strengths.values(), default=0.0)
    return found + [label for label, strength in strengths.items() if strength == most > 0]


def _holds(rule: _Rule, cell: Any) -> bool:
    if rule.sign == "==":
        entries = cell if isinstance(cell, list | tuple) else str("" if cell is None else cell).strip(" []").split(",")
        return [str(entry).strip() for entry in entries] == [rule.than]
    number, than = _number(cell), _number(rule.than)
    if number is None or than is None:
        return False
    return {">=": number >= than, "<=": number <= than, ">": number > than, "<": number < than}[rule.sign]


def _number(cell: Any) -> float | None:
    try:
        found = float(cell)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
