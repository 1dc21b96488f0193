"""Claims as data, and the one place that decides what figures support.

A :class:`Claim` says of which *kind* it is, what it is *about*, its *figures*, and the verdict with the *reason* for it. It
holds no sentence: those are made from it, in any language, by the station that declares its kind.

The rules of :func:`judge`, in order, each with the reason's code:

1. **No interval** (``uncomputed``) or **too few units** (``few``, below :data:`MINIMUM_N`): *inconclusive*.
2. **The reference** is ``chance`` where there is one, else 0. Where a null was run (random directions, shuffled labels), its
   range is part of the reference: on the claimed side its far end counts if it lies beyond chance.
3. **Supported** (``above``, ``below``) – the whole interval lies beyond the reference on the claimed side, *and* the corrected q
   (or, where no family was declared, p) is at most :data:`ALPHA` (else ``level``: *inconclusive*); where neither was computed
   the interval decides alone. A claim that is ``given`` another one is not supported without it (``given``), and one that must
   ``reach`` the smallest effect that matters is not supported below it (``size``).
4. **Not supported** – the whole interval lies at or beyond the chance level on the other side (``opposite``), or stays short of
   ``smallest`` (``smallest``), or lies wholly within the null's range (``null``).
5. Everything else is **inconclusive** (``both``): the data allow both no effect and one that matters.

For the side ``different`` both sides count: supported where the interval lies wholly on either side of the reference.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["VERDICTS", "About", "Claim", "Figures", "Judged", "Reason", "Side", "Verdict", "judge"]

Verdict = Literal["supported", "not supported", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "inconclusive")
"""What :func:`judge` can say."""
Side = Literal["greater", "less", "different"]
Reason = Literal[
    "uncomputed", "few", "above", "below", "level", "given", "size", "opposite", "smallest", "null", "both"
]  # fmt: skip

MINIMUM_N = 8
"""Fewer units never support anything."""
ALPHA = 0.05
"""Level for q or p."""

Range = tuple[float, float]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figures(_Record):
    """The numbers of a claim.

    Attributes:
        estimate: the figure.
        interval: its 95 % interval.
        chance: chance level of the figure, or the bound it is held against, where it has one.
        null: where the null's figures lie.
        p: p-value before correction.
        q: after correction within its declared family.
        family: name of the declared family that q is corrected in.
        tests: how many tests that family holds.
        n: number of units.
        side: the claimed side of the reference.
        smallest: smallest distance from chance that would matter; lets a null result be one.
        beside: further figures that a reader needs, by name.
    """

    estimate: float = Field(allow_inf_nan=False)
    interval: Range | None = None
    chance: float | None = None
    null: Range | None = None
    p: float | None = Field(default=None, ge=0, le=1)
    q: float | None = Field(default=None, ge=0, le=1)
    family: str | None = None
    tests: int | None = Field(default=None, ge=1)
    n: int = Field(ge=0)
    side: Side = "greater"
    smallest: float | None = None
    beside: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Figures:
        if self.p is not None and self.interval is None:
            raise ValueError("no p-value without an interval")
        if self.q is not None and self.p is None:
            raise ValueError("no q without the p-value it corrects")
        for name in ("interval", "null"):
            ends = getattr(self, name)
            if ends is not None and not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] <= ends[1]):
                raise ValueError(f"{name}: {ends} is not a lower and an upper end")
        return self

    @property
    def zero(self) -> float:
        """What counts as no effect: the chance level, or 0."""
        return 0.0 if self.chance is None else self.chance

    @property
    def level(self) -> tuple[str, float] | None:
        """The level that decides, with its name: q where a family was declared, else p."""
        if self.q is not None:
            return "q", self.q
        return None if self.p is None else ("p", self.p)

    @property
    def clearness(self) -> float:
        """How far the estimate lies beyond chance on the claimed side, in widths of its interval: compares across units."""
        low, high = self.interval or (self.estimate, self.estimate)
        away = self.estimate - self.zero
        towards = {"greater": away, "less": -away, "different": abs(away)}[self.side]
        return towards / max(high - low, 1e-9)


class About(_Record):
    """What a claim speaks of; every field is there only where the claim's kind has such a thing.

    Attributes:
        corpus: whose sentences.
        value: of the attribute, e.g. ``gratitude``.
        other: a second value.
        part: a head or MLP, e.g. ``L17H8``.
        metric: what was measured of a text.
        task: name of the pairs.
        arm: which of several treatments.
        layer: block number from 0.
        layers: of two models, the first one's and the second one's.
        rank: place in the order in which parts were chosen, from 1.
        condition: how it was steered.
        method: by which method or direction set.
        model: whose.
    """

    corpus: str | None = None
    value: str | None = None
    other: str | None = None
    part: str | None = None
    metric: str | None = None
    task: str | None = None
    arm: str | None = None
    layer: int | None = None
    layers: tuple[int, int] | None = None
    rank: int | None = None
    condition: str | None = None
    method: str | None = None
    model: str | None = None

    def names(self) -> tuple[str, ...]:
        """What tells it from other claims of its kind, to be shown."""
        fields = (self.corpus, self.value, self.other, self.part, self.metric, self.task)
        return tuple(name for name in fields if name is not None)


class Judged(NamedTuple):
    """A verdict and the code of the rule that gave it."""

    verdict: Verdict
    reason: Reason


class Claim(_Record):
    """One statement with everything it stands on.

    Attributes:
        id: unique within a run, and the same for comparable figures of two runs, e.g. ``steering.gratitude.share``. It is a
            name: nothing is read back out of it.
        kind: one that a station declares, e.g. ``trace.writers``.
        about: what it speaks of.
        figures: its numbers.
        verdict: by :func:`judge`.
        reason: code of the rule that gave the verdict.
    """

    id: str = Field(min_length=1)
    kind: str = Field(pattern=r"^[a-z_]+\.[a-z_.]+$")
    about: About
    figures: Figures
    verdict: Verdict
    reason: Reason

    @property
    def station(self) -> str:
        """The station it comes from."""
        return self.kind.partition(".")[0]

    @classmethod
    def judged(
        cls, id: str, kind: str, about: About, *, reach: bool = False, given: Claim | None = None, **figures: object
    ) -> Claim:
        """A claim with its verdict.

        Args:
            id: as in :class:`Claim`.
            kind: as in :class:`Claim`.
            about: as in :class:`Claim`.
            reach: see :func:`judge`.
            given: see :func:`judge`.
            **figures: fields of :class:`Figures`.

        Raises:
            EmotionCircuitsError: a figure that is not finite, a p-value without an interval, ends in the wrong order.

        Example:
            >>> Claim.judged("a", "test.a", About(), estimate=0.3, interval=(0.1, 0.5), n=40).verdict
            'supported'
        """
        try:
            numbers = Figures.model_validate(figures)
            verdict, reason = judge(numbers, reach=reach, given=given)
            return cls(id=id, kind=kind, about=about, figures=numbers, verdict=verdict, reason=reason)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise EmotionCircuitsError(f"claim {id!r}: {problems}") from error


def judge(figures: Figures, *, reach: bool = False, given: Claim | None = None) -> Judged:
    """What figures support, by the rules at the top of this module.

    Args:
        figures: the numbers.
        reach: whether the estimate itself must reach ``figures.smallest`` to be supported.
        given: a claim without which this one cannot hold.

    Example:
        >>> judge(Figures(estimate=0.3, interval=(0.1, 0.5), chance=0.25, n=40))
        Judged(verdict='inconclusive', reason='both')
    """
    found = _judge(figures)
    if found.verdict != "supported":
        return found
    if given is not None and given.verdict != "supported":
        return Judged("not supported", "given")
    size = figures.smallest or 0.0
    if reach and not (size and abs(figures.estimate - figures.zero) >= size):
        assert figures.interval is not None
        ruled_out = max(abs(end - figures.zero) for end in figures.interval) < size
        return Judged("not supported" if ruled_out else "inconclusive", "size")
    return found


def _judge(figures: Figures) -> Judged:
    if figures.interval is None:
        return Judged("inconclusive", "uncomputed")
    if figures.n < MINIMUM_N:
        return Judged("inconclusive", "few")
    (low, high), zero, side, null = figures.interval, figures.zero, figures.side, figures.null
    above = zero if null is None else max(zero, null[1])
    below = zero if null is None else min(zero, null[0])
    beyond_above = low > above and side in ("greater", "different")
    beyond_below = high < below and side in ("less", "different")
    if beyond_above or beyond_below:
        if figures.level is not None and figures.level[1] > ALPHA:
            return Judged("inconclusive", "level")
        return Judged("supported", "above" if beyond_above else "below")
    if (side == "greater" and high <= zero) or (side == "less" and low >= zero):
        return Judged("not supported", "opposite")
    if figures.smallest is not None:
        size = abs(figures.smallest)
        short_above = side == "less" or high < zero + size
        short_below = side == "greater" or low > zero - size
        if short_above and short_below:
            return Judged("not supported", "smallest")
    if null is not None and low >= null[0] and high <= null[1]:
        return Judged("not supported", "null")
    return Judged("inconclusive", "both")
