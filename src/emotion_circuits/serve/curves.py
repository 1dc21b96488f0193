"""The run's dose and response of a value at the place that it chose, with what each strength costs in fluency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from emotion_circuits.steering import Condition
from emotion_circuits.steering.scoring import REPEATS

__all__ = ["Curve", "curve_of"]

Curve = tuple[Mapping[str, Any], ...]
"""Points by rising dose, each with ``dose``, ``alpha``, ``first``, ``as_dosed``, ``change``, ``low``, ``high`` (of the value's
probability against no steering), ``ratio``, ``ratio_low``, ``ratio_high`` (perplexity, steered over unsteered), ``within`` and
``n`` openings."""

_CHANGE = {"change": "change", "low": "change_low", "high": "change_high"}
_COST = {"ratio": "ratio", "ratio_low": "ratio_low", "ratio_high": "ratio_high"}


_ROUNDED = 0.05
"""Strengths are looked for in rounded figures, so that a push at the first token keeps step with alpha only about."""


def curve_of(grid: pd.DataFrame, strongest: Condition, bound: float) -> Curve:
    """Every strength that was tried at one place in one manner, on validation openings.

    A dose scales alpha and the push at the first token alike. A point is ``as_dosed`` where the run did so too; a grid of given
    strengths holds the push at the first token still while alpha changes. Other pushes at that token are another manner.

    Args:
        grid: of the run.
        strongest: the condition at dose 1.
        bound: perplexity ratio that counts as fluent.
    """
    if not strongest.alpha:  # the first token alone is pushed: alpha orders nothing
        return ()
    rows = grid[(grid["kind"] == "emotion") & (grid["emotion"] == strongest.emotion)]
    rows = rows[rows["layers"] == " ".join(map(str, strongest.layers))].sort_values("alpha", kind="stable")
    manner = replace(strongest, first=0.0).how
    points = []
    for row in rows.to_dict("records"):
        dose, first = float(row["alpha"]) / strongest.alpha, float(row["first"])
        as_dosed = abs(first - strongest.first * dose) <= _ROUNDED * abs(strongest.first * dose)
        if row["how"].replace(f" first {first:g}", "") != manner or not dose:
            continue
        if not (as_dosed or abs(first - strongest.first) < 1e-9):
            continue
        within = row["ratio_high"] <= bound and row["repetition_gain"] < REPEATS
        points.append(
            {
                "dose": dose, "alpha": float(row["alpha"]), "first": first, "as_dosed": as_dosed,
                **{name: row[column] for name, column in (_CHANGE | _COST).items()},
                "within": bool(within), "n": int(row["n"]),
            }
        )  # fmt: skip
    return tuple(points)
