"""Tables to figures: one function per picture. Diverging colours are centred at 0, panels share their scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

__all__ = [
    "CYCLE",
    "accuracy_by_layer",
    "colour_of",
    "cosines_by_layer",
    "dress",
    "effect_matrix",
    "faint",
    "norms_by_layer",
    "steering_heatmaps",
]

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = {
    "gratitude": "#009E73",
    "anger": "#D55E00",
    "apology": "#0072B2",
    "neutral": "#666666",
}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")


def colour_of(name: str, index: int = 0) -> str:
    """An emotion's colour, or the palette's for other names."""
    return COLOURS.get(name, CYCLE[index % len(CYCLE)])


def dress(figure: go.Figure, height: int = 380) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 64, "b": 50},
        font={"size": 13},
        legend={"orientation": "h", "y": -0.22},
    )
    return figure


def accuracy_by_layer(table: pd.DataFrame) -> go.Figure:
    """Held-out accuracy by layer, one line per series, with bag of words dashed and chance dotted.

    Args:
        table: columns ``series``, ``layer``, ``accuracy``, ``bag_of_words``, ``chance``.
    """
    figure = go.Figure()
    for index, (name, part) in enumerate(table.groupby("series", sort=False)):
        colour = CYCLE[index % len(CYCLE)]
        part = part.sort_values("layer")
        figure.add_scatter(x=part["layer"], y=part["accuracy"], name=str(name), mode="lines", line={"color": colour})
        figure.add_scatter(
            x=part["layer"],
            y=part["bag_of_words"],
            name=f"{name}: bag of words",
            mode="lines",
            line={"color": colour, "dash": "dash", "width": 1.2},
        )
    chance = float(table["chance"].iloc[0])
    figure.add_hline(y=chance, line={"color": "#888", "dash": "dot"}, annotation_text="chance")
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="accuracy", range=[0, 1.02])
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
        fill="toself",
        fillcolor="rgba(120,120,120,0.18)",
        line={"width": 0},
        name="random directions (95 %)",
        hoverinfo="skip",
    )
    for index, (name, part) in enumerate(table.groupby("pair", sort=False)):
        part = part.sort_values("layer")
        colour = CYCLE[index % len(CYCLE)]
        figure.add_scatter(
            x=[*part["layer"], *part["layer"][::-1]],
            y=[*part["high"], *part["low"][::-1]],
            fill="toself",
            fillcolor=faint(colour),
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(x=part["layer"], y=part["cosine"], name=str(name), mode="lines", line={"color": colour})
    if "shared" in table:
        null = table.groupby("layer")["shared"].mean()
        figure.add_scatter(
            x=null.index, y=null, name="shuffled labels", mode="lines", line={"color": "#444", "dash": "dot"}
        )
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="cosine", range=[-1, 1])
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
            name=str(name),
            mode="lines",
            line={"color": colour_of(str(name), index)},
        )
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="length / residual norm", rangemode="tozero")
    return dress(figure)


def steering_heatmaps(table: pd.DataFrame, value: str, *, title: str, diverging: bool = True) -> go.Figure:
    """Layer by alpha, one panel per emotion, one colour scale.

    Args:
        table: columns ``emotion``, ``layer``, ``alpha`` and ``value``.
        value: the column shown.
        title: of the colour bar.
        diverging: centre the scale at 0.
    """
    emotions = list(dict.fromkeys(table["emotion"]))
    figure = make_subplots(cols=len(emotions), rows=1, subplot_titles=emotions, shared_yaxes=True)
    top = float(np.nanmax(np.abs(table[value]))) or 1.0
    for column, emotion in enumerate(emotions, start=1):
        grid = table[table["emotion"] == emotion].pivot_table(index="layer", columns="alpha", values=value)
        figure.add_heatmap(
            z=grid.to_numpy(),
            x=[f"{a:g}" for a in grid.columns],
            y=[str(layer) for layer in grid.index],
            coloraxis="coloraxis",
            texttemplate="%{z:.2f}",
            row=1,
            col=column,
        )
        figure.update_xaxes(title="alpha", type="category", row=1, col=column)
    figure.update_yaxes(title="layer", type="category", row=1, col=1)
    centred: dict[str, Any] = {"colorscale": "RdBu_r", "cmin": -top, "cmax": top}
    figure.update_layout(
        coloraxis={**(centred if diverging else {"colorscale": "Cividis"}), "colorbar": {"title": title}}
    )
    return dress(figure, 120 + 60 * max(3, table["layer"].nunique()))


def effect_matrix(table: pd.DataFrame) -> go.Figure:
    """Emotions by emotions: what steering towards one does to the share of each.

    Args:
        table: columns ``steered``, ``measured``, ``effect``.
    """
    order = list(dict.fromkeys(table["steered"]))
    measured = list(dict.fromkeys(table["measured"]))
    grid = table.pivot_table(index="steered", columns="measured", values="effect").loc[order, measured]
    top = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(),
            x=measured,
            y=order,
            colorscale="RdBu_r",
            zmin=-top,
            zmax=top,
            texttemplate="%{z:+.2f}",
            colorbar={"title": "difference"},
        )
    )
    figure.update_xaxes(title="measured: probability of")
    figure.update_yaxes(title="steered towards", autorange="reversed")
    return dress(figure, 360)
