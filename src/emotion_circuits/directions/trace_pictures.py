"""Pictures of a trace: where an emotion is written, which parts write it, how it travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.language import say
from emotion_circuits.page.figures import DIVERGING, GREY, dress

if TYPE_CHECKING:
    from emotion_circuits.directions.trace_text import Trace

__all__ = ["component_bars", "path_picture", "projection_heatmap", "readers_bars", "shown_token"]

_WRITES, _AGAINST = "#009E73", "#D55E00"


def shown_token(token: str) -> str:
    """A token with what is not seen of it: spaces as dots, line breaks as arrows."""
    return token.replace(" ", "·").replace("\n", "⏎") or "∅"


def _ticks(found: Trace) -> dict[str, Any]:
    # Tokens repeat in a text, so axes are numbered and only labelled with them.
    return {"tickvals": list(range(len(found.tokens))), "ticktext": [shown_token(t) for t in found.tokens]}


def _tall(figure: go.Figure, height: int) -> go.Figure:
    # Names of components stand at the left; the figure on the page has its own heading.
    return dress(figure, height).update_layout(margin={"l": 90, "r": 20, "t": 20, "b": 70})


def projection_heatmap(found: Trace, label: str) -> go.Figure:
    """Layer × token: the projection of the residual stream on each layer's own direction, in its residual norms.

    Sinks (the first token and others with massive activations) are grey: what is projected there is their size.
    """
    values = found.projection[found.labels.index(label)].numpy()
    # A text of nothing but sinks is shown as it is.
    sinks = [] if len(found.sinks) == values.shape[1] else list(found.sinks)
    limit = float(np.abs(np.delete(values, sinks, axis=1)).max()) or 1.0
    shown = values.astype(float)
    shown[:, sinks] = np.nan
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(range(values.shape[1])),
            y=[say("embedding"), *(f"L{i}" for i in range(values.shape[0] - 1))],
            zmin=-limit,
            zmax=limit,
            colorscale=DIVERGING,
            colorbar={"title": say("residual<br>norms")},
        )
    )
    for i in sinks:
        figure.add_vrect(x0=i - 0.5, x1=i + 0.5, fillcolor=GREY, opacity=0.3, line_width=0)
    figure.update_xaxes(title=say("token"), **_ticks(found))
    return _tall(figure, 120 + 18 * values.shape[0])


def component_bars(table: pd.DataFrame, *, count: int = 20) -> go.Figure:
    """The largest parts at a token; for averages over sentences their differences to neutral, intervals and null.

    Args:
        table: from :meth:`Trace.components` or :func:`average_components`.
        count: how many parts are drawn; the sum of the others is the last bar.
    """
    value = "difference" if "difference" in table else "part"
    table = table.sort_values(value, key=abs, ascending=False, kind="stable")
    top = table.head(count)
    names, parts = top["component"].tolist(), top[value].tolist()
    if len(table) > count:
        names.append(say("{n} others", n=len(table) - count))
        parts.append(float(table[value].iloc[count:].sum()))
    figure = go.Figure()
    _null_bars(figure, top)
    figure.add_bar(
        x=parts, y=names, orientation="h", name=say("mean, 95 % interval"), width=0.5,
        marker={"color": [_WRITES if p > 0 else _AGAINST for p in parts]}, error_x=_error(top, value, len(names)),
    )  # fmt: skip
    figure.update_layout(barmode="overlay")
    what = (
        say("emotion − neutral, residual norms")
        if value == "difference"
        else say("part of the projection, residual norms")
    )
    figure.update_xaxes(title=what)
    figure.update_yaxes(autorange="reversed")
    return _tall(figure, 130 + 20 * len(names))


def readers_bars(table: pd.DataFrame, *, count: int = 20) -> go.Figure:
    """The components whose output changes most when the emotion is taken out, beside the null.

    Args:
        table: from :func:`reading_components`.
        count: how many are drawn.
    """
    top = table.sort_values("difference", ascending=False, kind="stable").head(count)
    figure = go.Figure()
    _null_bars(figure, top)
    figure.add_bar(
        x=top["difference"], y=top["component"], orientation="h", name=say("mean, 95 % interval"), width=0.5,
        marker={"color": "#0072B2"}, error_x=_error(top, "difference", len(top)),
    )  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title=say("change of its output beyond the null, relative to the output's norm"))
    figure.update_yaxes(autorange="reversed")
    return _tall(figure, 140 + 20 * len(top))


def _null_bars(figure: go.Figure, top: pd.DataFrame) -> None:
    if "null_low" in top:
        figure.add_bar(
            x=top["null_high"] - top["null_low"], base=top["null_low"], y=top["component"], orientation="h", width=0.9,
            marker={"color": "rgba(120,120,120,0.35)"}, name=say("shuffled labels (95 %)"), hoverinfo="skip",
        )  # fmt: skip


def _error(top: pd.DataFrame, value: str, count: int) -> dict[str, Any] | None:
    if "low" not in top:
        return None
    rest = [0.0] * (count - len(top))
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "color": GREY,
        "array": [*(top["high"] - top[value]), *rest], "arrayminus": [*(top[value] - top["low"]), *rest],
    }  # fmt: skip


def path_picture(found: Trace, label: str, *, readers: pd.DataFrame | None = None, count: int = 8) -> go.Figure:
    """The strongest steps from where an emotion is written to where it is read.

    Dots are parts written at tokens (embedding, MLPs, and heads at the last token); sinks are left out. A line leads from
    the token that a head attends to most (the first left out) to the token where it writes.

    A line shows where a head looks while it writes along the direction, not that what it reads there causes it: that
    takes an intervention.

    Args:
        found: a trace.
        label: the emotion.
        readers: from :func:`reading_components`: the five that read most are drawn at the last token.
        count: heads, and embedding and MLP parts, that are drawn.
    """
    k = found.labels.index(label)
    entries: list[tuple[float, str, int, int, int | None]] = []
    last = len(found.tokens) - 1
    for token in sorted({*range(len(found.tokens)), last} - (set(found.sinks) - {last})):
        entries.append((float(found.embedding[k, token]), "embedding", -1, token, None))
        for layer in range(found.mlp.shape[1]):
            entries.append((float(found.mlp[k, layer, token]), f"L{layer} MLP", layer, token, None))
    if found.heads is not None:
        for layer in range(found.heads.shape[1]):
            for head in range(found.heads.shape[2]):
                source = None
                if found.attention_from_last is not None and last > 0:
                    source = 1 + int(found.attention_from_last[layer, head, 1:].argmax())
                entries.append((float(found.heads[k, layer, head, last]), f"L{layer}H{head}", layer, last, source))
    entries.sort(key=lambda e: -abs(e[0]))
    heads = [e for e in entries if "H" in e[1]][:count]
    others = [e for e in entries if "H" not in e[1]][:count]
    largest = max((abs(e[0]) for e in heads + others), default=1.0) or 1.0
    figure = go.Figure()
    for part, _name, layer, token, source in heads:
        if source is not None and source != token:
            figure.add_scatter(
                x=[source, token], y=[layer, layer], mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": _WRITES if part > 0 else _AGAINST, "width": 1 + 5 * abs(part) / largest},
            )  # fmt: skip
    for chosen, symbol, legend in ((heads, "diamond", say("heads")), (others, "circle", say("embedding and MLPs"))):
        # Colour says along or against: the legend says the shape alone.
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=legend, marker={"symbol": symbol, "size": 11, "color": GREY}
        )
        figure.add_scatter(
            x=[e[3] for e in chosen], y=[e[2] for e in chosen], mode="markers", name=legend, showlegend=False,
            text=[f"{e[1]}: {e[0]:+.3f}" for e in chosen], hoverinfo="text",
            marker={
                "symbol": symbol,
                "size": [8 + 22 * abs(e[0]) / largest for e in chosen],
                "color": [_WRITES if e[0] > 0 else _AGAINST for e in chosen],
                "opacity": 0.8,
            },
        )  # fmt: skip
    if readers is not None and len(readers):
        top = readers.sort_values("difference", ascending=False, kind="stable").head(5)
        # One mark and one label per layer: names of the same height would hide one another.
        named = top.groupby("layer", sort=True)["component"].agg(lambda c: " ".join(c))
        figure.add_scatter(
            x=[len(found.tokens) - 0.4] * len(named), y=named.index, mode="markers+text", name=say("readers"),
            text=named, textposition="middle right", hoverinfo="text",
            marker={"symbol": "square", "size": 11, "color": "#0072B2"},
        )  # fmt: skip
    figure.update_xaxes(range=[-0.7, len(found.tokens) + 0.3 + 0.14 * len(found.tokens)])
    figure.update_xaxes(title=say("token"), **_ticks(found))
    figure.update_yaxes(title=say("layer (−1: embedding)"))
    return _tall(figure, 460)
