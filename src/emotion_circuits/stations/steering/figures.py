"""Pictures of a steering sweep: regimes by figures, dose and response, direction sets side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import GREY, colour_of, dress, faint

__all__ = ["against_controls", "comparison", "dose_response", "pareto_front", "places", "regimes"]

_REGIME_COLOURS = {
    "no effect": "#DDDDDD",
    "clean": "#009E73",
    "costly": "#E69F00",
    "repetitive": "#CC79A7",
    "collapsed": "#D55E00",
}


def places(table: pd.DataFrame) -> go.Figure:
    """Every place and strength that was looked at, a row each, one column per emotion: colour by regime, the two figures in it.

    Args:
        table: rows of ``condition_table``: ``emotion layer layers first alpha regime share ratio n``.
    """
    names = list(_REGIME_COLOURS)
    rows = table.assign(at=[int(str(layers).split()[0]) for layers in table["layers"]])
    rows = rows.sort_values(["at", "first", "alpha"], ascending=[False, True, True], kind="stable")
    told = [f"{r['layer']} · α {r['alpha']:g} · n {r['n']}" for _, r in rows.iterrows()]
    rows = rows.assign(row=told)
    emotions, order = list(dict.fromkeys(table["emotion"])), list(dict.fromkeys(told))
    by = rows.set_index(["row", "emotion"])
    codes = [
        [names.index(str(by.loc[(r, e), "regime"])) if (r, e) in by.index else None for e in emotions] for r in order
    ]
    words = [
        [
            f"{by.loc[(r, e), 'share']:.0%} ×{by.loc[(r, e), 'ratio']:.2f}" if (r, e) in by.index else ""
            for e in emotions
        ]
        for r in order
    ]
    figure = go.Figure(
        go.Heatmap(
            z=codes, x=[term(e) for e in emotions], y=order, text=words, texttemplate="%{text}", zmin=0, zmax=len(names) - 1,
            colorscale=_scale(), xgap=2, ygap=2,
            colorbar={"tickvals": [(i + 0.5) * (len(names) - 1) / len(names) for i in range(len(names))],
                      "ticktext": [term(n) for n in names], "title": say("regime")},
        )
    )  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed", tickfont={"size": 11})
    figure.update_xaxes(side="top")
    return dress(figure, 140 + 24 * len(order))


def _scale() -> list[list[object]]:
    """A colour per regime, in steps."""
    step = 1 / len(_REGIME_COLOURS)
    return [
        [edge, colour]
        for i, colour in enumerate(_REGIME_COLOURS.values())
        for edge in (round(i * step, 6), round((i + 1) * step, 6))
    ]


def regimes(table: pd.DataFrame) -> go.Figure:
    """Layer by alpha, one panel per emotion, each cell coloured by its regime and labelled with its two figures.

    Args:
        table: rows of ``condition_table``: ``emotion layer alpha regime share ratio``.
    """
    names = list(_REGIME_COLOURS)
    emotions = list(dict.fromkeys(table["emotion"]))
    places = list(dict.fromkeys(table["layer"]))
    alphas = sorted(set(table["alpha"]))
    figure = make_subplots(cols=len(emotions), rows=1, subplot_titles=[term(e) for e in emotions], shared_yaxes=True)
    for column, emotion in enumerate(emotions, start=1):
        cells = table[table["emotion"] == emotion].set_index(["layer", "alpha"])
        codes, words = [], []
        for place in places:
            inside = [(place, a) in cells.index for a in alphas]
            rows = [cells.loc[(place, a)] if there else None for a, there in zip(alphas, inside, strict=True)]
            codes.append([None if r is None else names.index(str(r["regime"])) for r in rows])
            words.append(["" if r is None else f"{r['share']:.0%}<br>×{r['ratio']:.2f}" for r in rows])
        figure.add_heatmap(
            z=codes, x=[f"{a:g}" for a in alphas], y=places, text=words,
            texttemplate="%{text}", zmin=0, zmax=len(names) - 1, colorscale=_scale(), showscale=column == len(emotions),
            colorbar={"tickvals": [(i + 0.5) * (len(names) - 1) / len(names) for i in range(len(names))],
                      "ticktext": [term(n) for n in names], "title": say("regime")},
            row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(title=say("alpha"), type="category", row=1, col=column)
    figure.update_yaxes(type="category", row=1, col=1)
    return dress(figure, 190 + 60 * max(2, len(places)))


def dose_response(table: pd.DataFrame) -> go.Figure:
    """A metric against alpha with its 95 % band, one panel per metric, one line per emotion and place.

    Args:
        table: columns ``metric emotion layer alpha mean low high``.
    """
    metrics = list(dict.fromkeys(table["metric"]))
    places = list(dict.fromkeys(table["layer"]))
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    figure = make_subplots(cols=len(metrics), rows=1, subplot_titles=[say(m) for m in metrics])
    for column, metric in enumerate(metrics, start=1):
        part = table[table["metric"] == metric]
        for index, emotion in enumerate(dict.fromkeys(part["emotion"])):
            colour = colour_of(str(emotion), index)
            for place in places:
                line = part[(part["emotion"] == emotion) & (part["layer"] == place)].sort_values("alpha")
                if line.empty:
                    continue
                figure.add_scatter(
                    x=[*line["alpha"], *line["alpha"][::-1]], y=[*line["high"], *line["low"][::-1]], fill="toself", mode="lines",
                    fillcolor=faint(colour), line={"width": 0}, showlegend=False, hoverinfo="skip", row=1, col=column,
                )  # fmt: skip
                figure.add_scatter(
                    x=line["alpha"], y=line["mean"], mode="lines+markers",
                    line={"color": colour, "dash": dashes[places.index(place) % len(dashes)]},
                    name=f"{term(str(emotion))}, {place}", legendgroup=f"{emotion}{place}",
                    showlegend=column == 1, row=1, col=column,
                )  # fmt: skip
        figure.update_xaxes(title=say("alpha"), row=1, col=column)
    return dress(figure, 440)


def pareto_front(table: pd.DataFrame, front: pd.DataFrame, *, bound: float) -> go.Figure:
    """Share classed as the emotion against perplexity ratio: every condition, and the line that none beats.

    Args:
        table: rows of ``condition_table`` with ``layer``, the place as it is shown.
        front: those that :func:`emotion_circuits.steering.pareto` keeps, with ``emotion``.
        bound: the perplexity ratio the choice had to respect.
    """
    figure = go.Figure()
    for index, (name, part) in enumerate(table.groupby("emotion", sort=False)):
        colour = colour_of(str(name), index)
        edge = front[front["emotion"] == name].sort_values("ratio")
        figure.add_scatter(
            x=edge["ratio"], y=edge["share"], mode="lines", line={"color": colour, "shape": "hv", "width": 1.5},
            showlegend=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=part["ratio"], y=part["share"], mode="markers", name=term(str(name)), marker={"color": colour, "size": 9},
            error_x={
                "type": "data", "symmetric": False, "array": part["ratio_high"] - part["ratio"],
                "arrayminus": part["ratio"] - part["ratio_low"], "thickness": 0.7, "width": 0, "color": colour,
            },
            text=[f"{p}, α {a:g}" for p, a in zip(part["layer"], part["alpha"], strict=True)],
            hovertemplate="%{text}<br>× %{x:.2f}<br>%{y:.0%}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=bound, line={"color": GREY, "dash": "dot"})
    # On a logarithmic axis a note's place is a logarithm, a line's is not.
    figure.add_annotation(x=np.log10(bound), y=1, yref="paper", text=say("bound"), showarrow=False, xanchor="left")
    ticks = [0.5, 1, 2, 5, 10, 20, 50, 100]
    figure.update_xaxes(
        title=say("perplexity ratio (95 % interval)"), type="log", tickvals=ticks,
        ticktext=[f"{t:g}" for t in ticks],
    )  # fmt: skip
    figure.update_yaxes(title=say("share classed as the emotion"), tickformat=".0%", rangemode="tozero")
    return dress(figure, 440)


def against_controls(table: pd.DataFrame) -> go.Figure:
    """The chosen condition's effect with its interval beside every control direction's effect.

    Args:
        table: columns ``emotion evaluator kind`` (``steered``, ``random``, ``shuffled``, ``prompting``) ``effect low high``.
    """
    evaluators = list(dict.fromkeys(table["evaluator"]))
    figure = make_subplots(cols=len(evaluators), rows=1, subplot_titles=[say(e) for e in evaluators])
    marks = {
        "random": (say("random directions"), "line-ew-open", "rgba(128,128,128,0.8)", 9),
        "shuffled": (say("label-shuffled directions"), "x-thin-open", GREY, 7),
        "prompting": (say("prompting"), "diamond-open", "#CC79A7", 9),
    }
    for column, name in enumerate(evaluators, start=1):
        part = table[table["evaluator"] == name]
        for kind, (label, symbol, colour, size) in marks.items():
            drawn = part[part["kind"] == kind]
            if len(drawn):
                figure.add_scatter(
                    x=[term(e) for e in drawn["emotion"]], y=drawn["effect"], mode="markers", name=label, legendgroup=kind,
                    marker={"symbol": symbol, "color": colour, "size": size, "line": {"width": 1.5}},
                    showlegend=column == 1, row=1, col=column,
                )  # fmt: skip
        steered = part[part["kind"] == "steered"]
        figure.add_scatter(
            x=[term(e) for e in steered["emotion"]], y=steered["effect"], mode="markers",
            name=say("chosen condition, 95 % interval"),
            error_y={
                "type": "data", "symmetric": False, "array": steered["high"] - steered["effect"],
                "arrayminus": steered["effect"] - steered["low"], "color": GREY,
            },
            marker={"size": 11, "color": [colour_of(e, i) for i, e in enumerate(steered["emotion"])]},
            legendgroup="steered", showlegend=column == 1, row=1, col=column,
        )  # fmt: skip
        figure.add_hline(y=0, line={"color": GREY, "dash": "dot"}, row=1, col=column)
    figure.update_yaxes(title=say("difference from unsteered"), row=1, col=1)
    return dress(figure, 440)


def comparison(table: pd.DataFrame) -> go.Figure:
    """Direction sets at equal norm: the emotion's gain, with its interval, one row per set, one panel per emotion.

    Args:
        table: rows of ``condition_table`` with ``extractor`` and ``pooling``.
    """
    emotions = list(dict.fromkeys(table["emotion"]))
    names = table.assign(name=table["extractor"] + ", " + table["pooling"])
    order = names.groupby("name")["change"].mean().sort_values().index.tolist()
    figure = make_subplots(cols=len(emotions), rows=1, subplot_titles=[term(e) for e in emotions], shared_yaxes=True)
    for column, emotion in enumerate(emotions, start=1):
        part = names[names["emotion"] == emotion].set_index("name").loc[order].reset_index()
        figure.add_scatter(
            x=part["change"], y=part["name"], mode="markers", showlegend=False,
            marker={"color": colour_of(str(emotion), column), "size": 9},
            error_x={
                "type": "data", "symmetric": False, "array": part["change_high"] - part["change"],
                "arrayminus": part["change"] - part["change_low"], "color": GREY,
            },
            text=[say("perplexity × {ratio:.2f}", ratio=r) for r in part["ratio"]],
            hovertemplate="%{y}<br>%{x:+.2f}<br>%{text}<extra></extra>", row=1, col=column,
        )  # fmt: skip
        figure.add_vline(x=0, line={"color": GREY, "dash": "dot"}, row=1, col=column)
        figure.update_xaxes(title=say("gain in probability"), row=1, col=column)
    return dress(figure, 140 + 26 * len(order))
