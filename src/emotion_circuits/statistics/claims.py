"""Claims, and the one place that decides what a figure supports.

The rules of :func:`judge`, in order:

1. **Too few units** – fewer than ``minimum_n`` prompts (or no interval): *inconclusive*.
2. **The reference** is ``chance`` where there is one, else 0. Where a null was run (random directions, shuffled
   labels), its ``null_interval`` is part of the reference: on the claimed side its far end counts if it lies beyond
   chance.
3. **Supported** – the whole interval lies beyond the reference on the claimed side, *and* the corrected q (or, where no
   family was declared, p) is at most ``alpha``; where neither was computed the interval decides alone.
4. **Not supported** – the whole interval lies at or below the chance level (the effect runs the other way), or the
   whole interval stays short of ``smallest_effect`` beyond chance, or it lies wholly within the null interval.
5. Everything else is **inconclusive**: the data allow both no effect and one that matters.

For the claim ``different`` both sides count: supported where the interval lies wholly on either side of the reference.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["VERDICTS", "Claim", "Verdict", "judge"]

Verdict = Literal["supported", "not supported", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "inconclusive")
"""What :func:`judge` can say."""
Direction = Literal["greater", "less", "different"]


class Claim(BaseModel):
    """One statement with everything it stands on.

    Attributes:
        id: unique within a run, e.g. ``steering.<emotion>.share``.
        station: the stage it comes from.
        statement: one sentence.
        estimate: the figure.
        interval: its 95 % interval.
        unit: of the estimate, e.g. ``share of continuations``.
        chance: chance level of the figure, where it has one.
        null: what the null is, in words, e.g. ``20 random directions of the same norm``.
        null_interval: where the null's figures lie.
        p: p-value before correction.
        q: after correction within its declared family.
        n: number of units.
        unit_of_n: what is counted (``prompts``).
        verdict: by :func:`judge`.
        notes: the reason for the verdict, exclusions, and anything a reader must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    station: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    estimate: float = Field(allow_inf_nan=False)
    interval: tuple[float, float] | None = None
    unit: str
    chance: float | None = None
    null: str | None = None
    null_interval: tuple[float, float] | None = None
    p: float | None = Field(default=None, ge=0, le=1)
    q: float | None = Field(default=None, ge=0, le=1)
    n: int = Field(ge=0)
    unit_of_n: str
    verdict: Verdict
    notes: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        if self.p is not None and self.interval is None:
            raise ValueError("no p-value without an interval")
        if self.q is not None and self.p is None:
            raise ValueError("no q without the p-value it corrects")
        for name in ("interval", "null_interval"):
            ends = getattr(self, name)
            if ends is not None and not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] <= ends[1]):
                raise ValueError(f"{name}: {ends} is not a lower and an upper end")
        if self.null_interval is not None and not self.null:
            raise ValueError("a null interval needs the null in words")
        return self


def judge(
    *,
    id: str,
    station: str,
    statement: str,
    estimate: float,
    interval: tuple[float, float] | None,
    unit: str,
    n: int,
    unit_of_n: str = "prompts",
    chance: float | None = None,
    null: str | None = None,
    null_interval: tuple[float, float] | None = None,
    p: float | None = None,
    q: float | None = None,
    direction: Direction = "greater",
    smallest_effect: float | None = None,
    minimum_n: int = 8,
    alpha: float = 0.05,
    notes: str = "",
) -> Claim:
    """A :class:`Claim` with its verdict, by the rules at the top of this module.

    Args:
        id: as in :class:`Claim`.
        station: as in :class:`Claim`.
        statement: as in :class:`Claim`.
        estimate: as in :class:`Claim`.
        interval: as in :class:`Claim`.
        unit: as in :class:`Claim`.
        n: as in :class:`Claim`.
        unit_of_n: as in :class:`Claim`.
        chance: as in :class:`Claim`.
        null: as in :class:`Claim`.
        null_interval: as in :class:`Claim`.
        p: as in :class:`Claim`.
        q: as in :class:`Claim`.
        direction: the claimed side of the reference.
        smallest_effect: smallest distance from chance that would matter; lets a null result be one.
        minimum_n: fewer units never support anything.
        alpha: level for q or p.
        notes: added behind the reason for the verdict.

    Raises:
        EmotionCircuitsError: a figure that is not finite, a p-value without an interval, ends in the wrong order.
    """
    verdict, reason = _verdict(
        interval=interval, n=n, chance=chance, null_interval=null_interval, p=p, q=q, direction=direction,
        smallest_effect=smallest_effect, minimum_n=minimum_n, alpha=alpha,
    )  # fmt: skip
    try:
        return Claim(
            id=id, station=station, statement=statement, estimate=estimate, interval=interval, unit=unit,
            chance=chance, null=null, null_interval=null_interval, p=p, q=q, n=n, unit_of_n=unit_of_n,
            verdict=verdict, notes=f"{reason}. {notes}".strip() if notes else f"{reason}.",
        )  # fmt: skip
    except ValueError as error:
        raise EmotionCircuitsError(f"claim {id!r}: {error}") from error


def _verdict(
    *,
    interval: tuple[float, float] | None,
    n: int,
    chance: float | None,
    null_interval: tuple[float, float] | None,
    p: float | None,
    q: float | None,
    direction: Direction,
    smallest_effect: float | None,
    minimum_n: int,
    alpha: float,
) -> tuple[Verdict, str]:
    if direction not in ("greater", "less", "different"):
        raise EmotionCircuitsError(f"direction must be greater, less or different, got {direction!r}")
    if interval is None:
        return "inconclusive", "No interval was computed"
    if n < minimum_n:
        return "inconclusive", f"Only {n} units, fewer than the {minimum_n} that a verdict needs"
    low, high = interval
    zero = 0.0 if chance is None else chance
    above = max(zero, null_interval[1]) if null_interval is not None else zero
    below = min(zero, null_interval[0]) if null_interval is not None else zero
    beyond_above = low > above and direction in ("greater", "different")
    beyond_below = high < below and direction in ("less", "different")
    level, name = (q, "q") if q is not None else (p, "p")
    if beyond_above or beyond_below:
        side = "above" if beyond_above else "below"
        reference = above if beyond_above else below
        if level is None or level <= alpha:
            tail = "" if level is None else f", {name} = {level:.3g}"
            return "supported", f"The interval lies {side} the reference {reference:.3g}{tail}"
        return "inconclusive", f"The interval lies {side} the reference, but {name} = {level:.3g} exceeds {alpha:g}"
    if direction == "greater" and high <= zero:
        return "not supported", "The whole interval lies at or below the chance level"
    if direction == "less" and low >= zero:
        return "not supported", "The whole interval lies at or above the chance level"
    if smallest_effect is not None:
        size = abs(smallest_effect)
        short_above = direction == "less" or high < zero + size
        short_below = direction == "greater" or low > zero - size
        if short_above and short_below:
            return "not supported", f"The interval rules out an effect of {size:.3g}, the smallest that matters"
    if null_interval is not None and low >= null_interval[0] and high <= null_interval[1]:
        return "not supported", "The interval lies wholly within what the null gives"
    return "inconclusive", "The interval allows both no effect beyond the reference and one that matters"
