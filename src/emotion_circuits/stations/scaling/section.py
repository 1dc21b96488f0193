"""Several models side by side on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import colour_of, dress
from emotion_circuits.page.page import Figure, Part, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.scaling.folder import ScalingFolder

__all__ = ["sections"]


def sections(folder: ScalingFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """Separation, reading and steering by model."""
    models, reading = folder.models.read(), folder.reading.read()
    parts: list[Part] = [
        Figure(
            "scaling-separation",
            say("How far apart does each model keep the values?"),
            say(
                "AUROC on the test sentences that all models have, mean over values, with 95 % interval over scenes. Every model "
                "is read from the same number of principal axes; dotted: chance. Hollow: at the first block's "
                "output, what words tell by themselves."
            ),
            _dots(models),
        ),
        Figure(
            "scaling-depth",
            say("At what depth?"),
            say("The same by relative depth: 0 is the first block's output, 1 the last one's."),
            _curves(folder.by_depth.read()),
        ),
        Figure(
            "scaling-reading",
            say("Does each model's reader tell more than words?"),
            say(
                "Accuracy of the reader minus that of the better baseline of words, by corpus, with 95 % interval; 0: no more."
            ),
            _gains(reading),
        ),
    ]
    if folder.steering.exists():
        steered = folder.steering.read()
        parts.append(
            Figure(
                "scaling-steering",
                say("Steering at equal cost"),
                say(
                    "Largest change of the value's probability among the conditions whose perplexity ratio stays at most "
                    "{ratio:g}, on validation openings: places were chosen on these, so that the figures are favourable alike.",
                    ratio=float(steered["ratio"].iloc[0]),
                ),
                _bars(steered),
            )
        )
    parts += [
        Table(
            "scaling-models", say("Models"),
            say(
                "d_prime: distance of a value's scores from the others', in standard deviations. ceiling: reliability of the "
                "scores."
            ),
            models,
        ),
        Table("scaling-differences", say("Differences between models"),
              say("Of the gain over the first block's output, on scenes drawn together."),
              folder.differences.read(), folded=True),
        Table("scaling-readers", say("Readers"), say("Each run's own reader on test sentences."), reading, folded=True),
    ]  # fmt: skip
    prose = say(
        "Models of different makers and sizes read the same sentences. Differences are shown with intervals over scenes; a trend "
        "is claimed only where four sizes of one family were compared."
    )
    return (
        Section("scaling", say("Is it the same in other models and sizes?"), (prose,), tuple(claims), tuple(parts)),
    )


def _dots(models: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for i, row in models.iterrows():
        figure.add_scatter(
            x=[row["auroc"]], y=[row["model"]], mode="markers",
            marker={"size": 11, "color": colour_of(row["model"], int(str(i)))},
            error_x={"array": [row["high"] - row["auroc"]], "arrayminus": [row["auroc"] - row["low"]]}, showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=[row["auroc"] - row["gain"]], y=[row["model"]], mode="markers", showlegend=False,
            marker={"size": 10, "symbol": "circle-open", "color": colour_of(row["model"], int(str(i)))},
        )  # fmt: skip
    figure.add_vline(x=0.5, line_dash="dot")
    figure.update_xaxes(title="AUROC", range=[0.45, 1.01])
    figure.update_yaxes(type="category", autorange="reversed")
    return dress(figure, 150 + 45 * len(models))


def _curves(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for i, (model, part) in enumerate(table.groupby("model", sort=False)):
        figure.add_scatter(
            x=part["depth"], y=part["auroc"], mode="lines", name=str(model), line={"color": colour_of(str(model), i)}
        )
    figure.add_hline(y=0.5, line_dash="dot")
    figure.update_xaxes(title=say("relative depth"))
    figure.update_yaxes(title="AUROC")
    return dress(figure)


def _gains(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for i, (model, part) in enumerate(table.groupby("model", sort=False)):
        figure.add_scatter(
            x=part["difference"], y=[term(str(s)) for s in part["set"]], mode="markers", name=str(model),
            marker={"size": 10, "color": colour_of(str(model), i)},
            error_x={
                "array": part["difference_high"] - part["difference"],
                "arrayminus": part["difference"] - part["difference_low"],
            },
        )  # fmt: skip
    figure.add_vline(x=0, line_dash="dot")
    figure.update_layout(scattermode="group")
    figure.update_xaxes(title=say("accuracy minus that of words"))
    figure.update_yaxes(type="category", autorange="reversed")
    return dress(figure, 200 + 60 * table["set"].nunique())


def _bars(table: pd.DataFrame) -> go.Figure:
    figure = go.Figure()
    for i, (model, part) in enumerate(table.groupby("model", sort=False)):
        figure.add_bar(
            x=[term(v) for v in part["value"]], y=part["change"], name=str(model), marker_color=colour_of(str(model), i)
        )
    figure.update_yaxes(title=say("gain in probability"))
    return dress(figure)
