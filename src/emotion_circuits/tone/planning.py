"""The first dose, from what a run measured: the least one whose expected change reaches the target within the fluency bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Planned", "planned"]


@dataclass(frozen=True)
class Planned:
    """A dose for one value.

    Attributes:
        value: which.
        needed: change of the value's probability that is missing.
        dose: the least at which the run's curve has it, at most the one at which fluency's bound is reached.
        low: the dose at which the curve's upper ends have it; ``None``: none within the range.
        high: the dose at which its lower ends have it.
        change: that is expected at the dose, with its ends; ``None``: the run has no curve.
        ratio: perplexity over unsteered that is expected there, with its ends.
        enough: whether the curve has the change within the range and the bound.
    """

    value: str
    needed: float
    dose: float
    low: float | None
    high: float | None
    change: tuple[float, float, float] | None
    ratio: tuple[float, float, float] | None
    enough: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def planned(
    value: str,
    curve: Sequence[Mapping[str, Any]],
    needed: float,
    *,
    fluency: float,
    limit: float = 1.0,
    otherwise: float = 1.0,
) -> Planned:
    """Plan a dose; between measured doses, and from none to the first, figures are taken to lie on a straight line.

    Args:
        value: to plan for.
        curve: of the run (:data:`emotion_circuits.serve.curves.Curve`), on openings.
        needed: change of probability that is missing.
        fluency: bound of the perplexity ratio.
        limit: the greatest dose.
        otherwise: where there is no curve.

    Example:
        >>> point = {"dose": 1.0, "as_dosed": True, "change": 0.4, "low": 0.2, "high": 0.6, "ratio": 1.2, "ratio_low": 1.1,
        ...          "ratio_high": 1.3}
        >>> found = planned("joy", [point], 0.2, fluency=1.5)
        >>> round(found.dose, 2), round(found.low, 2), round(found.high, 2)
        (0.5, 0.33, 1.0)
    """
    points = [p for p in curve if p["as_dosed"] and 0 < p["dose"] <= limit + 1e-9 and np.isfinite(p["change"])]
    if not points:
        return Planned(value, needed, min(otherwise, limit), None, None, None, None, enough=False)
    doses = np.array([0.0, *(p["dose"] for p in points)])
    change = {name: np.array([0.0, *(p[name] for p in points)]) for name in ("change", "low", "high")}
    cost = {name: np.array([1.0, *(p[name] for p in points)]) for name in ("ratio", "ratio_low", "ratio_high")}
    fluent = _first(doses, cost["ratio"] - fluency)
    dearest = float(doses[-1]) if fluent is None else fluent
    wanted = {name: _first(doses, line - needed) for name, line in change.items()}
    found = wanted["change"]
    dose = dearest if found is None else min(found, dearest)

    def at(lines: Mapping[str, Any]) -> tuple[float, float, float]:
        a, b, c = (float(np.interp(dose, doses, line)) for line in lines.values())
        return a, b, c

    return Planned(
        value,
        needed,
        dose,
        wanted["high"],
        wanted["low"],
        at(change),
        at(cost),
        enough=found is not None and found <= dearest,
    )


def _first(doses: Any, line: Any) -> float | None:
    """The least dose at which a line that is straight between doses is 0 or above."""
    for left in range(len(doses)):
        if line[left] >= 0:
            return float(doses[left])
        if left + 1 < len(doses) and line[left + 1] >= 0:
            share = -line[left] / (line[left + 1] - line[left])
            return float(doses[left] + share * (doses[left + 1] - doses[left]))
    return None
