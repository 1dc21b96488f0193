"""The run's dose and response of a value at the place that it chose, with what each strength costs in fluency."""

from __future__ import annotations

from collections.abc import Mapping
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


def curve_of(grid: pd.DataFrame, strongest: Condition, bound: float) -> Curve:
    """Every strength that was tried at one place in one manner, on validation openings.

    The grid holds the push at the first token still while alpha changes; a dose scales both. A point is ``as_dosed`` where the two
    agree: everywhere without such a push, and at dose 1.

    Args:
        grid: of the run.
        strongest: the condition at dose 1.
        bound: perplexity ratio that counts as fluent.
    """
    if not strongest.alpha:  # the first token alone is pushed: alpha orders nothing
        return ()
    rows = grid[(grid["kind"] == "emotion") & (grid["emotion"] == strongest.emotion) & (grid["how"] == strongest.how)]
    rows = rows[rows["layers"] == " ".join(map(str, strongest.layers))].sort_values("alpha")
    points = []
    for row in rows.to_dict("records"):
        dose = float(row["alpha"]) / strongest.alpha
        within = row["ratio_high"] <= bound and row["repetition_gain"] < REPEATS
        points.append(
            {
                "dose": dose, "alpha": float(row["alpha"]), "first": strongest.first,
                "as_dosed": not strongest.first or abs(dose - 1) < 1e-9,
                **{name: row[column] for name, column in (_CHANGE | _COST).items()},
                "within": bool(within), "n": int(row["n"]),
            }
        )  # fmt: skip
    return tuple(points)
