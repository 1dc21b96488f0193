"""Pictures of the map."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import CYCLE, GREY, dress

__all__ = ["by_layer", "places"]


def places(table: pd.DataFrame, dimension: str) -> go.Figure:
    """Every value at its place on the first two axes.

    Args:
        table: columns ``emotion first second rated_<dimension>``.
        dimension: whose ratings colour the points.
    """
    ratings = table[f"rated_{dimension}"]
    figure = go.Figure()
    for rated in (True, False):
        part = table[ratings.notna() == rated]
        if not len(part):
            continue
        marker = {"size": 10, "color": GREY}
        if rated:
            marker |= {
                "color": ratings.dropna().tolist(), "colorscale": "Cividis", "showscale": True,
                "colorbar": {"title": {"text": say("rated {dimension}", dimension=term(dimension))}, "thickness": 12},
            }  # fmt: skip
        figure.add_scatter(
            x=part["first"], y=part["second"], mode="markers+text", text=[term(e) for e in part["emotion"]],
            textposition="top center", textfont={"size": 10}, marker=marker, showlegend=False, cliponaxis=False,
        )  # fmt: skip
    figure.update_xaxes(title=say("axis {n}, residual norms", n=1), zeroline=True)
    figure.update_yaxes(title=say("axis {n}, residual norms", n=2), zeroline=True)
    return dress(figure, 560)


def by_layer(table: pd.DataFrame) -> go.Figure:
    """Correlation with every dimension by layer, one panel each, beside static embeddings and shuffled labels."""
    dimensions = list(dict.fromkeys(table["dimension"]))
    figure = make_subplots(
        rows=1, cols=len(dimensions), shared_yaxes=True, subplot_titles=[term(d) for d in dimensions],
    )  # fmt: skip
    for column, dimension in enumerate(dimensions, start=1):
        own = table[(table["dimension"] == dimension) & (table["layer"] >= 0)]
        static = table[(table["dimension"] == dimension) & (table["layer"] < 0)]
        at = {"row": 1, "col": column}
        legend = {"showlegend": column == 1}
        x = own["layer"].tolist()
        figure.add_scatter(
            x=x + x[::-1], y=own["null_high"].tolist() + own["null_low"].tolist()[::-1], fill="toself", mode="lines",
            line={"width": 0}, fillcolor="rgba(128,128,128,0.25)", name=say("shuffled labels"), hoverinfo="skip", **legend, **at,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=own["r"], mode="lines+markers", line={"color": CYCLE[0]}, name=say("states"),
            error_y={"type": "data", "symmetric": False, "array": own["high"] - own["r"], "arrayminus": own["r"] - own["low"],
                     "thickness": 1, "width": 0},
            **legend, **at,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=own["ceiling"], mode="lines", line={"color": GREY, "dash": "dot"}, name=say("agreement of distances"),
            **legend, **at,
        )  # fmt: skip
        if len(static):
            figure.add_scatter(
                x=[x[0], x[-1]], y=[float(static["r"].iloc[0])] * 2, mode="lines", line={"color": CYCLE[1], "dash": "dash"},
                name=say("static embeddings"), **legend, **at,
            )  # fmt: skip
        figure.update_xaxes(title=say("layer"), **at)
    figure.update_yaxes(title=term("correlation over values"), row=1, col=1)
    return dress(figure, 420)
