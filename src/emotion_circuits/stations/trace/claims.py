"""Claims about the components that stand out on validation sentences, with their figures from test sentences.

What was chosen, and how often directions of shuffled labels choose something that stands out as far, stands in the tables
(:mod:`emotion_circuits.directions.trace_selection`). All claims of one question are one family, values by ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emotion_circuits.statistics import About, Claim, fdr

__all__ = ["trace_claims"]


def trace_claims(tables: Mapping[str, pd.DataFrame], layer: int) -> list[Claim]:
    """One claim per emotion, question and component chosen on validation.

    Args:
        tables: ``writers``, ``readers``, ``attention`` of :func:`~emotion_circuits.directions.averaged_traces`.
        layer: whose directions were traced.
    """
    return [claim for name, table in tables.items() for claim in _claims(name, table, layer)]


def _claims(name: str, table: pd.DataFrame, layer: int) -> list[Claim]:
    tested = table.assign(component=_names(table))[(table["split"] == "test") & (table["rank"] > 0)]
    chosen = [
        (str(emotion), row)
        for emotion, part in tested.groupby("emotion", sort=False)
        for _, row in part.sort_values("rank").iterrows()
    ]
    family = f"trace.{name}"
    q = list(fdr([float(row["selected_p"]) for _, row in chosen], family=family).q.values())
    return [
        Claim.judged(
            f"{family}.{emotion}.{row['rank']}",
            family,
            About(value=emotion, part=str(row["component"]), rank=int(row["rank"]), layer=layer),
            estimate=float(row["difference"]),
            interval=(float(row["low"]), float(row["high"])),
            chance=0.0,
            null=(float(row["selected_low"]), float(row["selected_high"])),
            p=float(row["selected_p"]),
            q=corrected,
            family=family,
            tests=len(chosen),
            n=int(row["n"]),
            # A writer may write against the emotion; who reads or looks less is not asked.
            side="different" if name == "writers" else "greater",
            beside={"draws": float(row["draws"])},
        )
        for (emotion, row), corrected in zip(chosen, q, strict=True)
    ]


def _names(table: pd.DataFrame) -> list[str]:
    if "component" in table:
        return [str(v) for v in table["component"]]
    return [f"L{layer}H{head}" for layer, head in zip(table["layer"], table["head"], strict=True)]
