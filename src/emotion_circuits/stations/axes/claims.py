"""What steering along ratings claims: texts move along the dimension they were pushed along."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emotion_circuits.statistics import About, Claim, Draft, draft

__all__ = ["SMALLEST", "axes_drafts"]

SMALLEST = 0.05
"""Smallest change that matters, as a share of the range of the values' ratings."""


def axes_drafts(
    effects: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    layers: tuple[int, ...],
    span: Mapping[str, float],
    given: Claim | None,
) -> list[Draft]:
    """One per dimension and measure.

    Args:
        effects: the station's table.
        costs: the station's table.
        layers: that were steered.
        span: range of the ratings by dimension.
        given: that the judge is to be trusted, on which what it reads rests.
    """
    found = []
    for row in effects[effects["axis"] == effects["read"]].to_dict("records"):
        dimension, measure = str(row["axis"]), str(row["measure"])
        both = costs[costs["axis"] == dimension]["ratio"]
        found.append(
            draft(
                f"axes.effect.{dimension}.{measure}",
                "axes.effect",
                About(metric=dimension, method=measure, layer=layers[0]),
                family="axes.effect",
                estimate=float(row["change"]),
                interval=(float(row["low"]), float(row["high"])),
                chance=0.0,
                null=(float(row["null_low"]), float(row["null_high"])),
                p=float(row["p"]),
                n=int(row["n"]),
                side="greater",
                smallest=SMALLEST * span[dimension],
                given=given if measure == "judge" else None,
                beside={"up": float(row["up"]), "down": float(row["down"]), "cost": float(both.max())},
            )
        )
    return found
