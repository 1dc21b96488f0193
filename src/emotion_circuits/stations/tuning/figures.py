"""The station's pictures."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.language import say
from emotion_circuits.page.figures import CYCLE, GREY, dress
from emotion_circuits.stations.tuning.words import method_words

__all__ = ["frontier", "head_grid", "shift_by_layer"]


def frontier(arms: pd.DataFrame, cost: str, at: float | None = None) -> go.Figure:
    """Effect over cost, one line per method through its strengths, with intervals both ways.

    Args:
        arms: of the station.
        cost: ``ratio`` or ``kl``.
        at: the cost at which methods are compared, drawn as a line.
    """
    figure = go.Figure()
    start = 1.0 if cost == "ratio" else 0.0
    for index, (method, rows) in enumerate(arms.groupby("method", sort=False)):
        both, colour = "+" in str(method), CYCLE[index % len(CYCLE)]
        rows = rows.sort_values("strength")

        def bars(name: str, estimate: str, rows: pd.DataFrame = rows) -> dict[str, object]:
            prefix = "" if name == "" else f"{name}_"
            return {
                "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                "array": rows[f"{prefix}high"] - rows[estimate], "arrayminus": rows[estimate] - rows[f"{prefix}low"],
            }  # fmt: skip

        figure.add_scatter(
            x=rows[cost], y=rows["change"], name=method_words(method), mode="markers" if both else "lines+markers",
            line={"color": colour}, marker={"color": colour, "size": 8, "symbol": "diamond" if both else "circle"},
            text=[f"{s:g}" for s in rows["strength"]], error_x=bars(cost, cost), error_y=bars("", "change"),
            hovertemplate="%{text}: %{x:.2f}, %{y:.2f}",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": GREY, "dash": "dot"})
    figure.add_vline(x=start, line={"color": GREY, "dash": "dot"})
    if at is not None:
        figure.add_vline(x=at, line={"color": GREY, "dash": "dash"})
        # An annotation's place on an axis of logarithms is a logarithm, a line's is not.
        figure.add_annotation(
            x=math.log10(at) if cost == "ratio" else at, y=1, yref="paper", xanchor="left", yanchor="top",
            text=say("equal cost"), showarrow=False,
        )  # fmt: skip
    title = say("perplexity ratio (log scale)") if cost == "ratio" else say("divergence on neutral sentences (nats)")
    ticks = {"type": "log", "tickvals": _ticks(arms["ratio"]), "ticktext": [f"{t:g}" for t in _ticks(arms["ratio"])]}
    figure.update_xaxes(title=title, **(ticks if cost == "ratio" else {}))
    figure.update_yaxes(title=say("change of the judge's probability"))
    return dress(figure, 520)


def _ticks(ratios: pd.Series) -> list[float]:
    top = float(ratios.max())
    every = [0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100]
    return [t for t in every if float(ratios.min()) * 0.8 <= t <= max(1.5, top * 1.2)]


def shift_by_layer(shift: pd.DataFrame, value: str) -> go.Figure:
    """Share of the shift along the value's direction by layer, with its interval and what directions of nothing give.

    Args:
        shift: of the station.
        value: whose direction.
    """
    rows = shift[shift["value"] == value].sort_values("layer")
    figure = go.Figure()
    for kind, name, colour in (
        ("shuffled", say("shuffled labels (range)"), "rgba(120,120,120,0.25)"),
        ("random", say("random directions (range)"), "rgba(0,114,178,0.20)"),
    ):
        figure.add_scatter(
            x=[*rows["layer"], *rows["layer"][::-1]], y=[*rows[f"{kind}_high"], *rows[f"{kind}_low"][::-1]], mode="lines",
            fill="toself", fillcolor=colour, line={"width": 0}, name=name, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=rows["layer"], y=rows["share"], mode="lines+markers", name=say("its own direction"), line={"color": CYCLE[1]},
        error_y={
            "type": "data", "symmetric": False, "array": rows["high"] - rows["share"],
            "arrayminus": rows["share"] - rows["low"], "thickness": 1,
        },
    )  # fmt: skip
    figure.update_xaxes(title=say("layer"))
    figure.update_yaxes(title=say("share of the shift"), rangemode="tozero")
    return dress(figure)


def head_grid(heads: pd.DataFrame) -> go.Figure:
    """Relative change of every head's output, layer by head.

    Args:
        heads: of the station.
    """
    grid = heads.pivot(index="layer", columns="head", values="change")
    figure = go.Figure(
        go.Heatmap(
            z=np.asarray(grid), x=[str(c) for c in grid.columns], y=[str(i) for i in grid.index], zmin=0, colorscale="Blues",
            colorbar={"title": say("relative<br>change")},
        )
    )  # fmt: skip
    figure.update_xaxes(title=say("head"), type="category")
    figure.update_yaxes(title=say("layer"), type="category")
    return dress(figure, max(300, 60 + 16 * len(grid)))
