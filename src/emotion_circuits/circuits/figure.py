"""A circuit as a drawing: nodes by layer, edges by sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotion_circuits.circuits.finding import Circuit
from emotion_circuits.heads import Node

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["circuit_figure", "curve_figure"]

_COLOURS = {
    "detector": "#1b7837",
    "aggregator": "#2166ac",
    "expresser": "#b2182b",
    "canceller": "#762a83",
    "backup": "#e08214",
    "mlp": "#737373",
}
# Red supports and blue opposes, as in the grids of effects.
_OTHER, _FOR, _AGAINST = "#a6a6a6", "#b2182b", "#2166ac"


def circuit_figure(circuit: Circuit, *, n_edges: int = 40) -> Figure:
    """Nodes by layer (bottom: embedding, top: logits), the strongest edges with colour by sign and width by size.

    Args:
        circuit: what to draw.
        n_edges: how many edges.
    """
    import plotly.graph_objects as go

    members = sorted(circuit.members(), key=lambda n: n.order)
    highest = max((n.layer for n in members), default=0)
    places = _places([Node("embed"), *members, Node("logits")], highest)
    figure = go.Figure()
    strongest = max((abs(e.score) for e in circuit.edges), default=1.0) or 1.0
    for edge in circuit.edges[:n_edges]:
        (x0, y0), (x1, y1) = places[edge.writer], places[edge.reader]
        figure.add_trace(
            go.Scatter(
                x=[x0, (x0 + x1) / 2, x1],
                y=[y0, (y0 + y1) / 2, y1],
                mode="lines",
                line={"color": _FOR if edge.score >= 0 else _AGAINST, "width": 0.5 + 5 * abs(edge.score) / strongest},
                opacity=0.6,
                text=f"{edge.writer} → {edge.reader}: {edge.score:+.3f} of the gap",
                hoverinfo="text",
                showlegend=False,
            )
        )
    shown: dict[str, list[tuple[str, str]]] = {"other": [("embed", "embedding"), ("logits", "answers' logits")]}
    for node in circuit.nodes:
        measured = "" if node.exact is None else f", noised {node.exact:+.3f} [{node.low:+.3f}, {node.high:+.3f}]"
        role = node.role if node.role in _COLOURS else "other"
        shown.setdefault(role, []).append(
            (node.node, f"{node.node} {node.role}: estimated {node.score:+.3f}{measured}")
        )
    for role, nodes in shown.items():
        figure.add_trace(
            go.Scatter(
                x=[places[name][0] for name, _ in nodes],
                y=[places[name][1] for name, _ in nodes],
                mode="markers+text",
                marker={"size": 16, "color": _COLOURS.get(role, _OTHER), "line": {"width": 1, "color": "white"}},
                text=[name for name, _ in nodes],
                textposition="top center",
                hovertext=[text for _, text in nodes],
                hoverinfo="text",
                name=role,
            )
        )
    figure.update_layout(
        title=f"{circuit.model}, {circuit.task}: {len(circuit.nodes)} nodes; red supports the answers, blue opposes",
        xaxis={"visible": False},
        yaxis={"title": "layer", "tickvals": list(range(0, highest + 1, 1 + highest // 16)), "zeroline": False},
        plot_bgcolor="white",
        height=max(420, 60 + 26 * (highest + 3)),
        legend={"orientation": "h", "y": -0.03},
    )
    return figure


def _places(nodes: list[Node], highest: int) -> dict[str, tuple[float, float]]:
    rows: dict[float, list[Node]] = {}
    for node in nodes:
        height = {"embed": -1.0, "logits": highest + 1.5}.get(
            node.kind, node.layer + (0.5 if node.kind == "mlp" else 0.0)
        )
        rows.setdefault(height, []).append(node)
    places = {}
    for height, row in rows.items():
        for index, node in enumerate(row):
            # A shift by height keeps long vertical edges from hiding one another.
            places[str(node)] = (index - (len(row) - 1) / 2 + 0.13 * ((int(height * 2) % 3) - 1), height)
    return places


def curve_figure(circuit: Circuit) -> Figure:
    """Faithfulness over circuit size with its interval, and random circuits of the same size."""
    import plotly.graph_objects as go

    rows = circuit.curve
    share = [r["share"] for r in rows]
    figure = go.Figure()
    bands = [("circuit", "faithfulness", "low", "high", _FOR)]
    if "random" in rows[0]:
        bands.append(("random circuits", "random", "random_low", "random_high", _OTHER))
    for name, middle, low, high, colour in bands:
        figure.add_trace(
            go.Scatter(
                x=[*share, *share[::-1]],
                y=[*(r[high] for r in rows), *(r[low] for r in rows[::-1])],
                fill="toself",
                fillcolor=colour,
                opacity=0.2,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(go.Scatter(x=share, y=[r[middle] for r in rows], name=name, line={"color": colour}))
    figure.update_layout(
        title=f"{circuit.model}, {circuit.task}: faithfulness on test pairs",
        xaxis={"title": "share of heads and MLPs kept"},
        yaxis={"title": "faithfulness (1: the whole model)"},
        plot_bgcolor="white",
    )
    return figure
