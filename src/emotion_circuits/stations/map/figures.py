"""Pictures of the map."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
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
    sides = pd.Series(_sides(table[["first", "second"]].to_numpy(float)), index=table.index)
    figure = go.Figure()
    for rated in (True, False):
        part = table[ratings.notna() == rated]
        if not len(part):
            continue
        # The ends of the colour scale are as dark and as bright as the pages they are shown on.
        marker = {"size": 10, "color": GREY, "line": {"color": GREY, "width": 1}}
        if rated:
            marker |= {
                "color": ratings.dropna().tolist(), "colorscale": "Cividis", "showscale": True,
                "colorbar": {"title": {"text": say("rated {dimension}", dimension=term(dimension))}, "thickness": 12},
            }  # fmt: skip
        figure.add_scatter(
            x=part["first"], y=part["second"], mode="markers+text", text=[term(e) for e in part["emotion"]],
            textposition=sides[part.index].tolist(), textfont={"size": 10}, marker=marker, showlegend=False, cliponaxis=False,
        )  # fmt: skip
    figure.update_xaxes(title=say("axis {n}, residual norms", n=1), zeroline=True)
    figure.update_yaxes(title=say("axis {n}, residual norms", n=2), zeroline=True)
    return dress(figure, 560)


def _sides(places: Float[np.ndarray, "value 2"]) -> list[str]:
    """Where each name stands: above its point, or below where one above would cross that of a point beside it."""
    spans = np.ptp(places, axis=0)
    above: list[int] = []
    for i in np.argsort(-places[:, 1], kind="stable"):
        near = np.abs(places[above] - places[i]) < spans * (0.13, 0.035)
        if not near.all(axis=1).any():
            above.append(int(i))
    return ["top center" if i in above else "bottom center" for i in range(len(places))]


def by_layer(table: pd.DataFrame) -> go.Figure:
    """Correlation with every dimension by layer, one panel each, beside static embeddings and permuted ratings."""
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
            line={"width": 0}, fillcolor="rgba(128,128,128,0.25)", name=say("permuted ratings"), hoverinfo="skip", **legend, **at,
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
