"""The picture of steering along ratings."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import CYCLE, dress

__all__ = ["moved"]


def moved(effects: pd.DataFrame) -> go.Figure:
    """One panel per measure: what each push does to each dimension, before a band of permuted ratings."""
    measures = list(dict.fromkeys(effects["measure"]))
    titles = [say("as the judge reads them") if m == "judge" else say("by words of the lexicon") for m in measures]
    figure = make_subplots(rows=1, cols=len(measures), shared_yaxes=True, subplot_titles=titles)
    dimensions = list(dict.fromkeys(effects["read"]))
    for column, measure in enumerate(measures, start=1):
        at = {"row": 1, "col": column}
        for index, read in enumerate(dimensions):
            part = effects[(effects["measure"] == measure) & (effects["read"] == read)]
            x = [k + (index - (len(dimensions) - 1) / 2) * 0.3 for k in range(len(part))]
            for place, (low, high) in zip(x, zip(part["null_low"], part["null_high"], strict=True), strict=True):
                figure.add_shape(
                    type="rect", x0=place - 0.12, x1=place + 0.12, y0=low, y1=high, line={"width": 0},
                    fillcolor="rgba(128,128,128,0.3)", layer="below", **at,
                )  # fmt: skip
            figure.add_scatter(
                x=x, y=part["change"], mode="markers", name=say("change of {dimension}", dimension=term(read)),
                marker={"size": 10, "color": CYCLE[index], "symbol": index}, legendgroup=read, showlegend=column == 1,
                error_y={"type": "data", "symmetric": False, "array": part["high"] - part["change"],
                         "arrayminus": part["change"] - part["low"], "thickness": 1.5, "width": 4},
                **at,
            )  # fmt: skip
        axes = list(dict.fromkeys(effects["axis"]))
        figure.update_xaxes(
            tickvals=list(range(len(axes))), ticktext=[say("pushed along {dimension}", dimension=term(a)) for a in axes],
            range=[-0.6, len(axes) - 0.4], **at,
        )  # fmt: skip
    ends = [v for name in ("low", "high", "null_low", "null_high") for v in effects[name].dropna()] or [0.0]
    margin = 0.08 * (max(ends) - min(ends) or 1.0)
    # Bands are shapes, which axes do not make room for by themselves.
    figure.update_yaxes(range=[min([*ends, 0.0]) - margin, max([*ends, 0.0]) + margin])
    figure.update_yaxes(title=term("rating points, towards high minus towards low"), row=1, col=1)
    return dress(figure, 420)
