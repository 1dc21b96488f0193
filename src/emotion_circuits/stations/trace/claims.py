"""Claims about the components that stand out on validation sentences, with their figures from test sentences.

A claim must stand out among the sentences (the paired test and its interval) and among directions that mean nothing, each of
which chose its own components (:mod:`emotion_circuits.directions.trace_selection`): its p is the larger of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emotion_circuits.statistics import About, Draft, draft
from emotion_circuits.statistics.claims import Side

__all__ = ["selected_drafts", "trace_claims"]


def trace_claims(tables: Mapping[str, pd.DataFrame], layer: int) -> list[Draft]:
    """One claim per emotion, question and component chosen on validation; those of one question are a family.

    Args:
        tables: ``writers``, ``readers``, ``attention`` of :func:`~emotion_circuits.directions.averaged_traces`.
        layer: whose directions were traced.
    """
    return [claim for name, table in tables.items() for claim in _claims(name, table, layer)]


def _claims(name: str, table: pd.DataFrame, layer: int) -> list[Draft]:
    # A writer may write against the emotion; who reads or looks less is not asked.
    side: Side = "different" if name == "writers" else "greater"
    return selected_drafts(f"trace.{name}", table.assign(component=_names(table)), layer, side=side)


def selected_drafts(
    kind: str, table: pd.DataFrame, layer: int, *, side: Side, beside: Sequence[str] = ()
) -> list[Draft]:
    """One claim per emotion and part that was chosen on validation, all of them one family.

    Args:
        kind: of the claims, their family and the beginning of their ids.
        table: with the columns of :func:`~emotion_circuits.directions.trace_selection.marked`, ``component``, ``emotion`` and
            ``split``.
        layer: whose directions they are about.
        side: that is claimed.
        beside: further columns that stand beside the figures.
    """
    tested = table[(table["split"] == "test") & (table["rank"] > 0)]
    return [
        draft(
            f"{kind}.{emotion}.{row['rank']}",
            kind,
            About(value=str(emotion), part=str(row["component"]), rank=int(row["rank"]), layer=layer),
            family=kind,
            estimate=float(row["difference"]),
            interval=(float(row["low"]), float(row["high"])),
            chance=0.0,
            null=(float(row["selected_low"]), float(row["selected_high"])),
            p=max(float(row["p"]), float(row["selected_p"])),
            n=int(row["n"]),
            side=side,
            beside={
                "draws": float(row["draws"]),
                "p_paired": float(row["p"]),
                "p_selected": float(row["selected_p"]),
                **{name: float(row[name]) for name in beside},
            },
        )
        for emotion, part in tested.groupby("emotion", sort=False)
        for _, row in part.sort_values("rank").iterrows()
    ]


def _names(table: pd.DataFrame) -> list[str]:
    if "component" in table:
        return [str(v) for v in table["component"]]
    return [f"L{layer}H{head}" for layer, head in zip(table["layer"], table["head"], strict=True)]
