"""The matrix of transfers on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.language import say
from emotion_circuits.page.figures import dress
from emotion_circuits.page.page import Figure, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.transfer.folder import TransferFolder

__all__ = ["matrix", "sections"]


def sections(folder: TransferFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """The matrix with what it stands beside."""
    table = folder.transfers.read()
    parts = (
        Figure(
            "transfer-matrix",
            say("Which sentences do whose directions read?"),
            say(
                "AUROC on the test sentences of the column, of directions fitted on the sentences of the row: 1 tells all apart, "
                "0.5 none. In brackets: n-grams tuned on the same sentences. In italics: not beyond directions of shuffled "
                "labels."
            ),
            matrix(table),
        ),
        Table(
            "transfer-table",
            say("Transfers and their controls"),
            say(
                "shuffled: the middle 95 % of directions of labels shuffled within groups, each choosing its own layer. words: "
                "n-grams tuned on the source. wrong: the best of another attribute's directions. own: the target's own "
                "directions; share: what of their reading above chance is reached."
            ),
            table.drop(columns="model"),
            folded=True,
        ),
    )
    prose = say(
        "Directions of one set of sentences are fitted on its training sentences, their layer is chosen on its validation "
        "sentences, and they rank another set's test sentences, of which they have seen nothing."
    )
    return (
        Section("transfer", say("Is it the same in other languages and attributes?"), (prose,), tuple(claims), parts),
    )


def matrix(table: pd.DataFrame) -> go.Figure:
    """Source by target.

    Args:
        table: the station's.
    """
    names = list(dict.fromkeys([*table["source"], *table["target"]]))
    by = table.set_index(["source", "target"])
    figures: list[list[float | None]] = []
    words: list[list[str]] = []
    for source in names:
        line: list[float | None] = []
        told: list[str] = []
        for target in names:
            row = by.loc[(source, target)] if (source, target) in by.index else None
            line.append(None if row is None else float(row["auroc"]))
            shown = "" if row is None else f"{row['auroc']:.2f}<br>({row['words']:.2f})"
            beyond = row is not None and row["auroc"] > row["shuffled_high"]
            told.append(shown if beyond or not shown else f"<i>{shown}</i>")
        figures.append(line)
        words.append(told)
    figure = go.Figure(
        go.Heatmap(
            z=figures, x=names, y=names, text=words, texttemplate="%{text}", zmin=0.5, zmax=1, colorscale="Greens",
            colorbar={"title": "AUROC"}, hoverongaps=False,
        )
    )  # fmt: skip
    figure.update_xaxes(title=say("read: test sentences of"), type="category")
    figure.update_yaxes(title=say("fitted on"), type="category", autorange="reversed")
    return dress(figure, 170 + 55 * max(2, len(names)))
