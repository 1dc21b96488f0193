"""Shared heads and circuits on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.language import say
from emotion_circuits.page.figures import DIVERGING, GREY, cells, dress
from emotion_circuits.page.page import Figure, Part, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.sharing.folder import SharingFolder

__all__ = ["circuit_matrix", "head_matrix", "sections"]


def sections(folder: SharingFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """The matrices with what they stand beside."""
    parts: list[Part] = []
    if folder.shared.exists():
        parts += _of_heads(folder)
    if folder.crossed.exists():
        parts += _of_circuits(folder.crossed.read())
    prose = say(
        "A head's mean effect in one half of the pairs or sentences of one language or attribute is held against the same head's "
        "in the other half of another's. Divided by how far halves of one and the same agree, the correlation says how far the "
        "effects themselves do. Heads of two models cannot be matched, so that only studies of one model are compared."
    )
    title = say("Do other languages and attributes use the same heads?")
    return (Section("sharing", title, (prose,), tuple(claims), tuple(parts)),)


def _of_heads(folder: SharingFolder) -> list[Part]:
    shared = folder.shared.read()
    parts: list[Part] = []
    for task, rows in shared.groupby("task", sort=False):
        title = (
            say("Do the same heads work on minimal pairs?")
            if task == "pairs"
            else say("Do the same heads carry values to their directions?")
        )
        parts.append(
            Figure(
                f"sharing-heads-{task}",
                title,
                say(
                    "Correlation of signed effects over {heads} heads, divided by reliability: 1 is the same, 0 nothing in "
                    "common. On the diagonal the reliability itself: how far disjoint halves of one agree. Pale and in "
                    "brackets: the interval reaches what permuted heads give; empty: what heads do does not repeat.",
                    heads=int(rows["heads"].iloc[0]),
                ),
                head_matrix(rows),
            )
        )
    parts.append(
        Table(
            "sharing-table",
            say("Heads compared, and their controls"),
            say(
                "raw: correlation between disjoint halves. chance and null: heads permuted within layers. others: with the other "
                "one's other values. wrong: the largest correlation with an attribute that shares no value, whichever its sign."
            ),
            shared.drop(columns="model"),
            folded=True,
        )
    )
    if folder.strongest.exists():
        parts.append(
            Table(
                "sharing-strongest",
                say("The strongest heads"),
                say(
                    "Jaccard index of the k strongest heads of disjoint halves. within: of halves of one and the same."
                ),
                folder.strongest.read(),
                folded=True,
            )
        )
    return parts


def _of_circuits(crossed: pd.DataFrame) -> list[Part]:
    return [
        Figure(
            "sharing-circuits",
            say("Whose circuit does whose work?"),
            say(
                "Faithfulness on test pairs of the column of the circuit found on pairs of the row: the share of the difference "
                "between answers that stays when everything else is swapped. Pale and in brackets: the interval reaches what "
                "random circuits of its size, or of the same MLPs and layers, keep."
            ),
            circuit_matrix(crossed),
        ),
        Table(
            "sharing-crossed",
            say("Circuits on other pairs"),
            say(
                "own: the circuit found on such pairs. random: circuits of its size; layers: of the same MLPs and random heads "
                "of the same layers. wrong: the circuit of an attribute that shares no value."
            ),
            crossed.drop(columns="model"),
            folded=True,
        ),
    ]


def head_matrix(shared: pd.DataFrame) -> go.Figure:
    """Every two runs, reliabilities written on the diagonal.

    Args:
        shared: rows of one task of the station's table.
    """
    names = list(dict.fromkeys([*shared["source"], *shared["target"]]))
    grid, open_ = _empty(names), _empty(names, False)
    own: dict[str, list[float]] = {name: [] for name in names}
    for row in shared.to_dict("records"):
        for a, b in ((row["source"], row["target"]), (row["target"], row["source"])):
            grid.loc[a, b] = row["correlation"]
            open_.loc[a, b] = not row["low"] > max(row["chance"], row["null_high"])
        for side in ("source", "target"):
            own[row[side]].append(row[f"reliability_{side}"])
    figure = make_subplots(1, 1)
    cells(
        figure, grid, open_.astype(bool), words=".2f", colorscale=DIVERGING, zmin=-1, zmax=1,
        colorbar={"title": say("correlation")},
    )  # fmt: skip
    # Another quantity than the cells': no colour.
    named = say("reliability")
    for name, found in own.items():
        figure.add_annotation(
            x=name, y=name, text=f"{named}<br>{sum(found) / len(found):.2f}", showarrow=False,
            font={"size": 11, "color": GREY},
        )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return dress(figure, 170 + 55 * max(2, len(names)))


def circuit_matrix(crossed: pd.DataFrame) -> go.Figure:
    """Circuit by pairs, each circuit's own pairs on the diagonal.

    Args:
        crossed: the station's table.
    """
    names = list(dict.fromkeys([*crossed["target"], *crossed["source"]]))
    grid, open_ = _empty(names), _empty(names, False)
    for row in crossed.to_dict("records"):
        grid.loc[row["source"], row["target"]] = row["faithfulness"]
        grid.loc[row["target"], row["target"]] = row["own"]
        bar = max(
            row["random_high"], row["layers_high"] if row["layers_high"] == row["layers_high"] else row["random_high"]
        )
        open_.loc[row["source"], row["target"]] = not row["low"] > bar
    figure = make_subplots(1, 1)
    top = max(1.0, float(grid.abs().max().max()))
    cells(
        figure, grid, open_.astype(bool), words=".2f", colorscale=DIVERGING, zmin=-top, zmax=top,
        colorbar={"title": say("share of<br>the gap")},
    )  # fmt: skip
    figure.update_xaxes(title=say("on test pairs of"), type="category", showgrid=False)
    figure.update_yaxes(title=say("circuit of"), type="category", autorange="reversed", showgrid=False)
    return dress(figure, 190 + 55 * max(2, len(names)))


def _empty(names: Sequence[str], value: Any = float("nan")) -> pd.DataFrame:
    return pd.DataFrame(value, index=list(names), columns=list(names), dtype=object if value is False else float)
