"""Tables to figures: one function per picture. Diverging colours are centred at 0, panels share their scale.

The page gives figures their look (paper, ink and grid, light or dark), so nothing here is black or white.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term

__all__ = [
    "CYCLE",
    "DIVERGING",
    "GREY",
    "accuracy_by_layer",
    "cells",
    "colour_of",
    "coloured",
    "cosines_by_layer",
    "dress",
    "effect_matrix",
    "faint",
    "hatch",
    "norms_by_layer",
    "steering_heatmaps",
]

# Okabe and Ito's palette, which colour-blind readers can tell apart.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")

GREY = "#808080"
"""Reference lines: seen on light and on dark paper."""

# The page's script knows this scale and gives it a dark middle on dark paper.
DIVERGING = [
    [0, "#053061"], [0.125, "#2166ac"], [0.25, "#4393c3"], [0.375, "#92c5de"], [0.5, "#f7f7f7"],
    [0.625, "#f4a582"], [0.75, "#d6604d"], [0.875, "#b2182b"], [1, "#67001f"],
]  # fmt: skip


_COLOURS: ContextVar[Mapping[str, str] | None] = ContextVar("colours", default=None)


@contextmanager
def coloured(colours: Mapping[str, str]) -> Iterator[None]:
    """Figures drawn inside give these names their colours (``#RRGGBB``)."""
    token = _COLOURS.set(colours)
    try:
        yield
    finally:
        _COLOURS.reset(token)


def colour_of(name: str, index: int = 0) -> str:
    """An emotion's own colour (:func:`coloured`), or the palette's."""
    return (_COLOURS.get() or {}).get(name, CYCLE[index % len(CYCLE)])


def dress(figure: go.Figure, height: int = 380) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        height=height,
        # Panels have titles, which the buttons at the top right must not cover.
        margin={"l": 60, "r": 20, "t": 58 if figure.layout.annotations else 34, "b": 60},
        # Below the axis title, by pixels of the container: a share of the plot's height would run into the axis in tall figures.
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    return figure


def cells(
    figure: go.Figure, grid: pd.DataFrame, open_: pd.DataFrame, *, words: str, column: int = 1, **looks: Any
) -> None:
    """A heatmap with its figures; cells that are open (their interval includes 0) are pale and in brackets.

    Args:
        figure: with panels in one row.
        grid: what is shown; labels are index and columns.
        open_: which cells are open.
        words: format of a figure, e.g. ``+.2f``.
        column: the panel.
        looks: of the heatmap.
    """
    x, y = [str(v) for v in grid.columns], [str(v) for v in grid.index]
    for pale in (True, False):
        shown = grid.where(open_ if pale else ~open_)
        text = [
            ["" if v != v else f"({_written(v, words)})" if pale else _written(v, words) for v in row]
            for row in shown.to_numpy()
        ]
        figure.add_heatmap(
            z=shown.to_numpy(), x=x, y=y, text=text, texttemplate="%{text}", opacity=0.45 if pale else 1, xgap=1, ygap=1,
            showscale=not pale and column == 1, hoverongaps=False, row=1, col=column, **looks,
        )  # fmt: skip


def _written(value: float, words: str) -> str:
    """With a true minus sign; what rounds to 0 has no sign."""
    text = f"{value:{words}}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def hatch(figure: go.Figure, x: list[Any], y: list[Any], name: str, *, row: int, column: int) -> None:
    """Stroke through cells of a heatmap whose figure is not beyond chance; in the legend once."""
    seen = any(trace.name == name for trace in figure.data)
    # An entry without a point would not be drawn, so that a figure in which every cell is sure has no such entry.
    if x:
        figure.add_scatter(
            x=x, y=y, mode="markers", name=name, hoverinfo="skip", showlegend=not seen, legendgroup=name,
            marker={"symbol": "line-ne-open", "size": 9, "color": GREY, "line": {"width": 1.2, "color": GREY}},
            row=row, col=column,
        )  # fmt: skip


def accuracy_by_layer(table: pd.DataFrame) -> go.Figure:
    """Held-out accuracy by layer, one line per series, with words alone dashed and chance dotted.

    Args:
        table: columns ``series``, ``layer``, ``accuracy``, ``words_alone``, ``chance``.
    """
    figure = go.Figure()
    for index, (name, part) in enumerate(table.groupby("series", sort=False)):
        colour = CYCLE[index % len(CYCLE)]
        part = part.sort_values("layer")
        # A click on a series takes its words away, too; what dashes are stands in the legend once.
        figure.add_scatter(
            x=part["layer"], y=part["accuracy"], name=str(name), mode="lines", line={"color": colour}, legendgroup=str(name)
        )  # fmt: skip
        figure.add_scatter(
            x=part["layer"], y=part["words_alone"], name=say("{name}: words alone", name=name), mode="lines",
            line={"color": colour, "dash": "dash", "width": 1.2}, legendgroup=str(name), showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], name=say("words alone"), mode="lines", line={"color": GREY, "dash": "dash", "width": 1.2}
    )
    chance = float(table["chance"].iloc[0])
    figure.add_hline(y=chance, line={"color": GREY, "dash": "dot"}, annotation_text=say("chance"))
    figure.update_xaxes(title=say("layer"))
    figure.update_yaxes(title=say("accuracy"), range=[0, 1.02])
    return dress(figure, 420)


def cosines_by_layer(table: pd.DataFrame) -> go.Figure:
    """Cosine between two emotions' directions by layer, with bootstrap bands and the chance band.

    Args:
        table: columns ``pair``, ``layer``, ``cosine``, ``low``, ``high``, ``chance`` (95 % of random pairs lie within
            plus or minus it), and ``shared`` (the cosine that shuffled labels give), drawn where it is there.
    """
    figure = go.Figure()
    some = table[table["pair"] == table["pair"].iloc[0]].sort_values("layer")
    figure.add_scatter(
        x=[*some["layer"], *some["layer"][::-1]],
        y=[*some["chance"], *(-some["chance"][::-1])],
        mode="lines",
        fill="toself",
        fillcolor="rgba(120,120,120,0.18)",
        line={"width": 0},
        name=say("random directions (95 %)"),
        hoverinfo="skip",
    )
    for index, (name, part) in enumerate(table.groupby("pair", sort=False)):
        part = part.sort_values("layer")
        colour = CYCLE[index % len(CYCLE)]
        figure.add_scatter(
            x=[*part["layer"], *part["layer"][::-1]],
            y=[*part["high"], *part["low"][::-1]],
            mode="lines",
            fill="toself",
            fillcolor=faint(colour),
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=part["layer"], y=part["cosine"], name=term(str(name)), mode="lines", line={"color": colour}
        )
    if "shared" in table:
        null = table.groupby("layer")["shared"].mean()
        figure.add_scatter(
            x=null.index, y=null, name=say("shuffled labels"), mode="lines", line={"color": GREY, "dash": "dot"}
        )
    figure.update_xaxes(title=say("layer"))
    figure.update_yaxes(title=say("cosine"), range=[-1, 1])
    return dress(figure)


def faint(colour: str) -> str:
    """The colour of a band around a line of ``colour``."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def norms_by_layer(table: pd.DataFrame) -> go.Figure:
    """Length of each emotion's direction as a fraction of the residual norm, by layer.

    Args:
        table: columns ``emotion``, ``layer``, ``relative_norm``.
    """
    figure = go.Figure()
    for index, (name, part) in enumerate(table.groupby("emotion", sort=False)):
        part = part.sort_values("layer")
        figure.add_scatter(
            x=part["layer"],
            y=part["relative_norm"],
            name=term(str(name)),
            mode="lines",
            line={"color": colour_of(str(name), index)},
        )
    figure.update_xaxes(title=say("layer"))
    figure.update_yaxes(title=say("length / residual norm"), rangemode="tozero")
    return dress(figure)


def steering_heatmaps(table: pd.DataFrame, value: str, *, title: str, diverging: bool = True) -> go.Figure:
    """Layer by alpha, one panel per emotion, one colour scale; where it diverges, cells that allow 0 are pale and in brackets.

    Args:
        table: columns ``emotion``, ``layer``, ``alpha``, ``value``, and its ``change_low`` and ``change_high`` where it diverges.
        value: the column shown.
        title: of the colour bar.
        diverging: centre the scale at 0; otherwise it ends at 3, so that one collapsed condition does not hide the others.
    """
    emotions = list(dict.fromkeys(table["emotion"]))
    figure = make_subplots(cols=len(emotions), rows=1, subplot_titles=[term(e) for e in emotions], shared_yaxes=True)
    top = float(np.nanmax(np.abs(table[value]))) or 1.0
    looks = (
        {"colorscale": DIVERGING, "zmin": -top, "zmax": top}
        if diverging
        else {"colorscale": "Cividis", "zmin": float(table[value].min()), "zmax": min(float(table[value].max()), 3.0)}
    )
    table = table.assign(alpha=[f"{a:g}" for a in table["alpha"]], layer=table["layer"].astype(str))
    table = table.assign(open=(table["change_low"] <= 0) & (table["change_high"] >= 0) if diverging else False)
    places = list(dict.fromkeys(table["layer"]))
    order = list(dict.fromkeys(table.sort_values("alpha", key=lambda c: c.astype(float))["alpha"]))
    for column, emotion in enumerate(emotions, start=1):
        part = table[table["emotion"] == emotion]
        grid, open_ = (
            part.pivot(index="layer", columns="alpha", values=v).reindex(index=places, columns=order)
            for v in (value, "open")
        )
        cells(
            figure, grid, open_.fillna(False).astype(bool), words="+.2f" if diverging else ".2f", column=column,
            colorbar={"title": title}, **looks,
        )  # fmt: skip
        figure.update_xaxes(title=say("alpha"), type="category", row=1, col=column)
    figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)
    figure.update_yaxes(title=say("layer"), title_standoff=12, automargin=True, type="category", row=1, col=1)
    return dress(figure, 190 + 56 * max(2, table["layer"].nunique()))


def effect_matrix(table: pd.DataFrame) -> go.Figure:
    """Emotions by emotions: what steering towards one does to each; cells whose interval allows 0 are pale and in brackets.

    Args:
        table: columns ``steered``, ``measured``, ``effect``, ``low``, ``high``.
    """
    order = [term(s) for s in dict.fromkeys(table["steered"])]
    measured = [term(m) for m in dict.fromkeys(table["measured"])]
    named = table.assign(
        steered=[term(s) for s in table["steered"]],
        measured=[term(m) for m in table["measured"]],
        open=(table["low"] <= 0) & (table["high"] >= 0),
    )
    grid, open_ = (
        named.pivot(index="steered", columns="measured", values=v).loc[order, measured] for v in ("effect", "open")
    )
    top = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    figure = make_subplots(1, 1)
    cells(
        figure, grid, open_.astype(bool), words="+.2f", colorscale=DIVERGING, zmin=-top, zmax=top,
        colorbar={"title": say("change")},
    )  # fmt: skip
    figure.update_xaxes(title=say("measured: probability of"), showgrid=False)
    figure.update_yaxes(title=say("steered towards"), autorange="reversed", showgrid=False)
    return dress(figure, 360)
