"""Figures in which a name is a name: the library that draws them reads ``<s>`` as a stroke through what follows.

Tokens, labels and file names stand in ticks, legends and titles. The few tags that figures are written with stay where such a
text is composed; a value on an axis is never markup.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

__all__ = ["plain_figure"]

_MEANT = re.compile(r"(<br>|<extra></extra>|</?b>|</?i>)")
_VALUES = ("x", "y", "labels", "ticktext", "categoryarray", "name", "legendgroup", "label")


def plain_figure(figure: Any) -> dict[str, Any]:
    """A figure's traces and layout as plain values, with everything escaped that is no tag of ours.

    Args:
        figure: of Plotly.

    Example:
        >>> import plotly.graph_objects as go
        >>> plain_figure(go.Figure().add_bar(x=["<s>"], y=[1]))["data"][0]["x"]
        ['&lt;s&gt;']
    """
    found: dict[str, Any] = _plain(json.loads(figure.to_json(remove_uids=True)), value=False)
    return found


def _plain(part: Any, *, value: bool) -> Any:
    if isinstance(part, dict):
        if set(part) >= {"dtype", "bdata"}:
            return part
        return {key: _plain(entry, value=key in _VALUES) for key, entry in part.items()}
    if isinstance(part, list):
        return [_plain(entry, value=value) for entry in part]
    if not isinstance(part, str):
        return part
    pieces = [part] if value else _MEANT.split(part)
    return "".join(
        piece if not value and _MEANT.fullmatch(piece) else html.escape(piece, quote=False) for piece in pieces
    )
