"""Pictures of heads: what every head does, attention beside effect, and whether emotions have heads of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import CYCLE, DIVERGING, GREY, cells, dress
from emotion_circuits.stations.directions.figures import heads_heatmap

__all__ = ["agreement_by_value", "attention_against_effect", "dissociation_matrix", "head_grids", "moves"]


def moves(heads: pd.DataFrame) -> pd.Series:
    """Nodes whose interval lies beyond 0 and beyond the null of random answers, with q of at most 0.05."""
    above = heads["low"] > heads["null_high"].clip(lower=0)
    below = heads["high"] < heads["null_low"].clip(upper=0)
    found: pd.Series = (above | below) & (heads["q"] <= 0.05)
    return found


def head_grids(heads: pd.DataFrame, gap: float) -> go.Figure:
    """Layer by head on one scale: attribution (train) beside the exact effect (test), pale and hatched within its null.

    Args:
        heads: columns ``layer head attribution share low high null_low null_high q``; one row per head.
        gap: mean gap of the train pairs that attribution is divided by.
    """
    table = heads.assign(estimate=heads["attribution"] / gap, sure=moves(heads))
    grids = {c: table.pivot(index="layer", columns="head", values=c) for c in ("estimate", "share", "sure")}
    limit = float(np.nanmax(np.abs(table[["estimate", "share"]].to_numpy(dtype=float)))) or 1.0
    titles = [say("estimated by attribution (train)"), say("measured by noising (test)")]
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    title = say("share of<br>the gap")
    heads_heatmap(figure, grids["estimate"], None, limit, column=1, title=title)
    heads_heatmap(figure, grids["share"], grids["sure"].astype(bool), limit, column=2, title=title)
    figure.update_yaxes(showgrid=False).update_xaxes(showgrid=False)
    figure.update_yaxes(title=say("layer"), row=1, col=1)
    return dress(figure, 190 + 15 * (int(heads["layer"].max()) + 1))


def attention_against_effect(heads: pd.DataFrame, *, name: str) -> go.Figure:
    """One point per head: Δattention against what the head does; heads extreme in either are named.

    Args:
        heads: columns ``node attention effect_shown``.
        name: of the effect's axis.
    """
    figure = go.Figure()
    best = set(heads["attention"].abs().nlargest(4).index) | set(heads["effect_shown"].abs().nlargest(4).index)
    named = heads.index.isin(best)
    for part, text in ((heads[~named], False), (heads[named], True)):
        figure.add_scatter(
            x=part["attention"],
            y=part["effect_shown"],
            mode="markers+text" if text else "markers",
            text=part["node"],
            customdata=part["node"],
            textposition=_apart(part) if text else None,
            textfont={"size": 11},
            marker={"size": 8 if text else 5, "color": "#D55E00" if text else "rgba(128,128,128,0.6)"},
            hovertemplate="%{text}: %{x:+.3f}, %{y:+.3f}<extra></extra>",
            name=say("largest in either") if text else say("other heads"),
        )
    figure.add_hline(y=0, line={"color": GREY, "dash": "dot"})
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title=say("Δattention to the emotion word (emotion − neutral, last token)"))
    figure.update_yaxes(title=name)
    return dress(figure, 440)


def _apart(part: pd.DataFrame) -> list[str]:
    """Places of labels: of two points that lie near, one is named above and the other below."""
    span = [float(np.ptp(part[c])) or 1.0 for c in ("attention", "effect_shown")]
    at = part[["attention", "effect_shown"]].to_numpy() / span
    places: list[str] = []
    sides = ("top center", "bottom center", "middle right", "middle left")
    for index, point in enumerate(at):
        taken = {places[j] for j in range(index) if np.abs(at[j] - point).max() < 0.16}
        places.append(next((side for side in sides if side not in taken), sides[0]))
    return places


def dissociation_matrix(table: pd.DataFrame) -> go.Figure:
    """Sets of heads by tasks: share of each emotion's gap that goes; cells whose interval allows 0 are pale and in brackets."""
    order = [_taken_out(str(c)) for c in dict.fromkeys(table["circuit"])]
    tasks = [term(str(t)) for t in dict.fromkeys(table["task"])]
    named = table.assign(
        circuit=[_taken_out(str(c)) for c in table["circuit"]],
        task=[term(str(t)) for t in table["task"]],
        open=(table["low"] <= 0) & (table["high"] >= 0),
    )
    grid, open_ = (named.pivot(index="circuit", columns="task", values=v).loc[order, tasks] for v in ("share", "open"))
    top = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    figure = make_subplots(1, 1)
    cells(
        figure, grid, open_.astype(bool), words="+.2f", colorscale=DIVERGING, zmin=-top, zmax=top,
        colorbar={"title": say("share of<br>the gap")},
    )  # fmt: skip
    figure.update_xaxes(title=say("pairs of"), showgrid=False)
    figure.update_yaxes(title=say("taken out"), autorange="reversed", showgrid=False)
    return dress(figure, 400).update_layout(margin={"l": 150})


def agreement_by_value(table: pd.DataFrame) -> go.Figure:
    """Rank correlation of both tasks per value with its interval, beside parts permuted within layers.

    Args:
        table: columns ``emotion rank low high null_low null_high``.
    """
    names = [term(str(e)) for e in table["emotion"]]
    figure = go.Figure()
    figure.add_bar(
        x=names, base=table["null_low"], y=table["null_high"] - table["null_low"], width=0.5, marker={"color": GREY},
        opacity=0.35, name=say("parts permuted within layers"), hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=names, y=table["rank"], mode="markers", marker={"size": 9, "color": CYCLE[0]}, name=say("pairs and projections"),
        error_y={"type": "data", "symmetric": False, "array": table["high"] - table["rank"],
                 "arrayminus": table["rank"] - table["low"]},
    )  # fmt: skip
    figure.update_yaxes(title=term("rank correlation over parts"), zeroline=True)
    return dress(figure, 340)


def _taken_out(name: str) -> str:
    if name.startswith("random"):
        return say("random {n}", n=name.removeprefix("random").strip())
    return say("heads of {emotion}", emotion=term(name))
