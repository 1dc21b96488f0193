"""A circuit as a drawing: one row per layer, one column per head, the strongest links between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emotion_circuits.circuits.circuit import Circuit, CircuitEdge
from emotion_circuits.heads import Node
from emotion_circuits.heads.nodes import shown_node
from emotion_circuits.language import N_, say

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["circuit_figure", "curve_figure"]

# Okabe and Ito's palette; signs keep the colours of the grids of effects.
_COLOURS = {
    "detector": "#009E73",
    "aggregator": "#E69F00",
    "expresser": "#CC79A7",
    "canceller": "#6a51a3",
    "backup": "#56B4E9",
    "mlp": "#5f6b7a",
}
_OTHER, _FOR, _AGAINST = "#9aa3af", "#c8443f", "#3b7fc4"


def circuit_figure(circuit: Circuit, *, n_edges: int = 24, share: float = 0.04) -> Figure:
    """Layers as rows from the embedding (bottom) to the answers' logits (top), heads as columns, MLPs at the left.

    Only links that matter are drawn: at most ``n_edges``, and none weaker than ``share`` of the strongest. Members stay where
    they are whatever is drawn, so that two circuits of one model can be laid side by side.

    Args:
        circuit: what to draw.
        n_edges: how many links at most.
        share: the weakest link drawn, relative to the strongest.
    """
    import plotly.graph_objects as go

    members = [Node("embed"), *sorted(circuit.members(), key=lambda n: n.order), Node("logits")]
    layers = sorted({n.layer for n in members if n.kind in ("head", "mlp")})
    width = max((n.head or 0 for n in members if n.kind == "head"), default=0) + 1
    places = {str(n): _place(n, layers, width) for n in members}
    figure = go.Figure()
    for edge in _strong(circuit, n_edges, share):
        figure.add_trace(_link(edge, places, max(abs(e.score) for e in circuit.edges)))
    shown: dict[str, list[tuple[str, str, str]]] = {
        "": [("embed", say("embedding"), "embed"), ("logits", say("answers' logits"), "logits")]
    }
    for node in circuit.nodes:
        measured = "" if node.exact is None else f"; {node.exact:+.3f} [{node.low:+.3f}, {node.high:+.3f}]"
        role = node.role if node.role in _COLOURS else "other"
        label = "MLP" if role == "mlp" else f"H{node.node.partition('H')[2]}" if "H" in node.node else node.node
        shown.setdefault(role, []).append((node.node, label, f"{node.node}: {node.score:+.3f}{measured}"))
    for role, nodes in shown.items():
        figure.add_trace(
            go.Scatter(
                x=[places[name][0] for name, _, _ in nodes],
                y=[places[name][1] for name, _, _ in nodes],
                mode="markers+text",
                marker={
                    "size": 27,
                    "symbol": "square" if role == "mlp" else "circle",
                    "color": _COLOURS.get(role, _OTHER),
                },
                text=[label for _, label, _ in nodes],
                textposition="middle center" if role else "middle right",
                textfont={"size": 10, "color": "#ffffff" if role in ("mlp", "canceller") else "#101418"}
                if role
                else {"size": 12},
                hovertext=[text for _, _, text in nodes],
                customdata=[shown_node(name) for name, _, _ in nodes],
                hoverinfo="text",
                name=say(_ROLES.get(role, role)) if role else "",
                showlegend=bool(role),
            )
        )
    rows = [-1, *range(len(layers)), len(layers)]
    figure.update_layout(
        xaxis={
            "title": say("head of the layer (MLP at the left)"), "tickvals": list(range(width)), "zeroline": False,
            "showgrid": False, "range": [-1.8, width - 0.2],
        },
        yaxis={
            "title": say("layer"), "tickvals": rows, "ticktext": ["", *(str(v) for v in layers), ""], "zeroline": False,
            "range": [-1.7, len(layers) + 0.7],
        },
        margin={"l": 60, "r": 20, "t": 20, "b": 80},
        height=170 + 38 * (len(layers) + 2),
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
    )  # fmt: skip
    return figure


_ROLES = {
    "other": N_("head, role not estimated"), "mlp": N_("MLP"), "detector": N_("detector"), "aggregator": N_("aggregator"),
    "expresser": N_("expresser"), "canceller": N_("canceller"), "backup": N_("backup"),
}  # fmt: skip


def _strong(circuit: Circuit, count: int, share: float) -> list[CircuitEdge]:
    order = sorted(circuit.edges, key=lambda e: -abs(e.score))[:count]
    return [e for e in order if abs(e.score) >= share * abs(order[0].score)]


def _place(node: Node, layers: list[int], width: int) -> tuple[float, float]:
    if node.kind == "embed":
        return ((width - 1) / 2, -1.0)
    if node.kind == "logits":
        return ((width - 1) / 2, float(len(layers)))
    row = layers.index(node.layer)
    # An MLP reads what its layer's heads wrote: it stands a little above them.
    return (-1.0, row + 0.3) if node.kind == "mlp" else (float(node.head or 0), float(row))


def _link(edge: CircuitEdge, places: dict[str, tuple[float, float]], strongest: float) -> Any:
    import plotly.graph_objects as go

    (x0, y0), (x1, y1) = places[edge.writer], places[edge.reader]
    # A bend keeps links along one column apart from the nodes between their ends.
    bend = 0.12 * (y1 - y0) * (-1 if x0 < 0 and x1 < 0 else 1) if abs(x1 - x0) < 0.5 else 0.0
    bend = max(-0.7, min(0.9, bend))
    steps = [t / 12 for t in range(13)]
    return go.Scatter(
        x=[x0 + (x1 - x0) * t + 4 * bend * t * (1 - t) for t in steps],
        y=[y0 + (y1 - y0) * t for t in steps],
        mode="lines",
        line={"color": _FOR if edge.score >= 0 else _AGAINST, "width": 1 + 6 * abs(edge.score) / (strongest or 1.0)},
        opacity=0.55,
        text=f"{edge.writer} → {edge.reader}: {edge.score:+.3f}",
        hoverinfo="text",
        showlegend=False,
    )


def curve_figure(circuit: Circuit) -> Figure:
    """Faithfulness over circuit size with its interval, and random circuits of the same size."""
    import plotly.graph_objects as go

    rows = circuit.curve
    share = [r.share for r in rows]
    figure = go.Figure()
    bands = [(say("circuit"), "faithfulness", "low", "high", _FOR)]
    if rows[0].random is not None:
        bands.append((say("random circuits"), "random", "random_low", "random_high", _OTHER))
    for name, middle, low, high, colour in bands:
        figure.add_trace(
            go.Scatter(
                x=[*share, *share[::-1]],
                y=[*(getattr(r, high) for r in rows), *(getattr(r, low) for r in rows[::-1])],
                mode="lines",
                fill="toself",
                fillcolor=colour,
                opacity=0.2,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
        figure.add_trace(go.Scatter(x=share, y=[getattr(r, middle) for r in rows], name=name, line={"color": colour}))
    figure.update_layout(
        xaxis={"title": say("share of heads and MLPs kept"), "tickformat": ".0%"},
        yaxis={"title": say("faithfulness (1: the whole model)")},
        height=400,
        margin={"l": 60, "r": 20, "t": 20, "b": 80},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
    )
    return figure
