"""A sweep as a picture: what a judge finds in the texts of every condition."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import CYCLE, GREY, colour_of, dress

__all__ = ["change_by_condition", "labels_by_condition"]

_PROMPTED = "#CC79A7"


def change_by_condition(table: pd.DataFrame) -> go.Figure:
    """The change of the judge's probability under every condition, a panel per emotion.

    Arms have their interval; directions of nothing are marks on one line, which is what an arm has to leave behind.

    Args:
        table: columns ``emotion condition kind change low high n``.
    """
    emotions = list(dict.fromkeys(table["emotion"]))
    nothing = {"random": say("random directions"), "shuffled": say("label-shuffled directions")}
    lines = [
        list(dict.fromkeys(nothing.get(row.kind, row.condition) for row in table[table["emotion"] == e].itertuples()))
        for e in emotions
    ]
    figure = make_subplots(
        rows=len(emotions), cols=1, shared_xaxes=True, subplot_titles=[term(e) for e in emotions],
        row_heights=[len(own) + 1 for own in lines], vertical_spacing=min(0.12, 0.4 / len(emotions)),
    )  # fmt: skip
    for at, emotion in enumerate(emotions, start=1):
        part = table[table["emotion"] == emotion]
        for kind, name in nothing.items():
            drawn = part[part["kind"] == kind]
            if len(drawn):
                figure.add_scatter(
                    x=drawn["change"], y=[name] * len(drawn), mode="markers", text=drawn["condition"], showlegend=False,
                    marker={"symbol": "line-ns-open", "size": 13, "color": GREY, "line": {"width": 1.5, "color": GREY}},
                    hovertemplate="%{text}: %{x:+.2f}<extra></extra>", row=at, col=1,
                )  # fmt: skip
        arms = part[~part["kind"].isin(list(nothing))]
        colours = [
            colour_of(str(emotion), emotions.index(emotion)) if k == "emotion" else _PROMPTED if k == "prompting" else GREY
            for k in arms["kind"]
        ]  # fmt: skip
        for colour in dict.fromkeys(colours):
            drawn = arms[[c == colour for c in colours]]
            figure.add_scatter(
                x=drawn["change"], y=drawn["condition"], mode="markers", showlegend=False,
                marker={"size": 10, "color": colour},
                error_x={
                    "type": "data", "symmetric": False, "array": drawn["high"] - drawn["change"],
                    "arrayminus": drawn["change"] - drawn["low"], "color": colour, "thickness": 1.5, "width": 4,
                },
                customdata=drawn[["low", "high", "n"]],
                hovertemplate="%{y}: %{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}], n = %{customdata[2]}"
                "<extra></extra>",
                row=at, col=1,
            )  # fmt: skip
        figure.add_vline(x=0, line={"color": GREY, "dash": "dot"}, layer="below", row=at, col=1)
        figure.update_yaxes(
            categoryorder="array", categoryarray=lines[at - 1][::-1], range=[-0.7, len(lines[at - 1]) - 0.3],
            automargin=True, row=at, col=1,
        )  # fmt: skip
    figure.update_xaxes(
        title=say("change of the judge's probability (95 % interval over prompts)"), title_standoff=8, row=len(emotions), col=1
    )  # fmt: skip
    return dress(figure, 110 + 34 * sum(len(own) + 1 for own in lines))


def labels_by_condition(table: pd.DataFrame) -> go.Figure:
    """How a judge calls the texts of every condition: stacked shares; grey is what it calls most of the first row's.

    Args:
        table: one row per condition, one column per label, shares that sum to 1; the unsteered condition first.
    """
    figure = go.Figure()
    usual = table.iloc[0].idxmax()
    # What is usual comes last, so that the others can be compared from a common line at 0.
    order = [*(label for label in table.columns if label != usual), usual]
    for index, label in enumerate(order):
        colour = "rgba(128,128,128,0.35)" if label == usual else colour_of(str(label), index % len(CYCLE))
        figure.add_bar(
            y=list(table.index), x=table[label], name=term(str(label)), orientation="h", marker={"color": colour},
            hovertemplate="%{y}: %{x:.0%}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    figure.update_xaxes(title=say("share of texts, as the judge calls them"), tickformat=".0%", range=[0, 1])
    figure.update_yaxes(autorange="reversed", automargin=True)
    return dress(figure, 140 + 34 * len(table))
