"""Steering with other sentences' directions on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say, term
from emotion_circuits.page.figures import DIVERGING, cells, dress
from emotion_circuits.page.page import Figure, Part, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.steering_transfer.folder import SteeringTransferFolder

__all__ = ["matrix", "sections"]


def sections(folder: SteeringTransferFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """One matrix per value, then the table and the texts."""
    table = folder.pushes.read()
    parts: list[Part] = [
        Figure(
            f"steering-transfer-{value}",
            say("Whose direction of {value} moves whose texts?", value=term(str(value))),
            say(
                "Change of the judge's probability on openings of the column, by the direction of the row; on the diagonal the "
                "openings' own direction. Pale and in brackets: not beyond directions of shuffled labels."
            ),
            matrix(rows),
        )
        for value, rows in table.groupby("value", sort=False)
    ]
    parts += [
        Table(
            "steering-transfer-table",
            say("Pushes and their controls"),
            say(
                "null: the range of directions of labels shuffled within the source's groups. own: the target's own direction; "
                "share: what of its change is reached. astray: the source's other values. wrong: the most that a value does "
                "which the target does not know. ratio: perplexity over that of unsteered text."
            ),
            table.drop(columns="model"),
            folded=True,
        ),
        Table(
            "steering-transfer-texts",
            say("Texts steered with other sentences' directions"),
            say("All test openings of every target; none: unsteered."),
            folder.texts.read(),
            folded=True,
        ),
    ]
    prose = say(
        "Texts continue one language's or attribute's test openings and are read by its own judge. Place and strength are those "
        "that were chosen for its own direction; only the direction is another's, fitted on other sentences."
    )
    title = say("Do directions of other languages and attributes steer texts, too?")
    return (Section("steering_transfer", title, (prose,), tuple(claims), tuple(parts)),)


def matrix(table: pd.DataFrame) -> go.Figure:
    """Source by target, for one value.

    Args:
        table: the station's rows of the value.
    """
    names = list(dict.fromkeys([*table["target"], *table["source"]]))
    grid = pd.DataFrame(float("nan"), index=names, columns=names)
    open_ = pd.DataFrame(False, index=names, columns=names, dtype=object)
    for row in table.to_dict("records"):
        grid.loc[row["source"], row["target"]] = row["change"]
        grid.loc[row["target"], row["target"]] = row["own"]
        open_.loc[row["source"], row["target"]] = not (row["low"] > 0 and row["change"] > row["null_high"])
    figure = make_subplots(1, 1)
    top = max(0.5, float(grid.abs().max().max()))
    cells(
        figure, grid, open_.astype(bool), words="+.2f", colorscale=DIVERGING, zmin=-top, zmax=top,
        colorbar={"title": say("change of<br>probability")},
    )  # fmt: skip
    figure.update_xaxes(title=say("on openings of"), type="category", showgrid=False)
    figure.update_yaxes(title=say("direction of"), type="category", autorange="reversed", showgrid=False)
    return dress(figure, 190 + 55 * max(2, len(names)))
