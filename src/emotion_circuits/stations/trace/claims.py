"""Claims about the components that stand out on validation sentences, with their figures from test sentences."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emotion_circuits.statistics import About, Draft, draft

__all__ = ["trace_claims"]


def trace_claims(tables: Mapping[str, pd.DataFrame], top: int, layer: int) -> list[Draft]:
    """One claim per emotion, question and component chosen on validation.

    Args:
        tables: ``writers``, ``readers``, ``attention`` with columns ``emotion`` and ``split``.
        top: how many components per emotion and question.
        layer: whose directions were traced.
    """
    return [claim for name, table in tables.items() for claim in _claims(name, table, top, layer)]


def _claims(name: str, table: pd.DataFrame, top: int, layer: int) -> list[Draft]:
    chosen = [
        (str(emotion), rank, component, row)
        for emotion, part in table.assign(component=_names(table)).groupby("emotion", sort=False)
        for rank, (component, row) in enumerate(_chosen(part, top, signed=name != "writers"), start=1)
    ]
    return [
        draft(
            f"trace.{name}.{emotion}.{rank}",
            f"trace.{name}",
            About(value=emotion, part=component, rank=rank, layer=layer),
            family=f"trace.{name}",
            estimate=float(row["difference"]),
            interval=(float(row["low"]), float(row["high"])),
            chance=0.0,
            null=(float(row["null_low"]), float(row["null_high"])) if "null_low" in row else None,
            p=float(row["p"]),
            n=int(row["n"]),
            # A writer may write against the emotion; who reads or looks less is not asked.
            side="different" if name == "writers" else "greater",
        )
        for emotion, rank, component, row in chosen
    ]


def _chosen(part: pd.DataFrame, top: int, *, signed: bool) -> list[tuple[str, pd.Series]]:
    """The largest components on validation, with their test figures."""
    size = part[part["split"] == "validation"].set_index("component")["difference"]
    order = (size if signed else size.abs()).sort_values(ascending=False, kind="stable")
    test = part[part["split"] == "test"].set_index("component")
    return [(str(component), test.loc[component]) for component in order.index[:top]]


def _names(table: pd.DataFrame) -> list[str]:
    if "component" in table:
        return [str(v) for v in table["component"]]
    return [f"L{layer}H{head}" for layer, head in zip(table["layer"], table["head"], strict=True)]
