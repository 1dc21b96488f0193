"""Claims as data, and the one place that decides what figures support.

A :class:`Claim` says of which *kind* it is, what it is *about*, its *figures*, and the verdict with the *reason* for it. It
holds no sentence: those are made from it, in any language, by the station that declares its kind.

The rules of :func:`judge`, in order, each with the reason's code. *Chance* is the chance level, or the bound, or 0; a null
(random directions, shuffled labels) speaks through its own p-value, which goes into the claim's, and its range is shown.

1. **No interval or no test** (``uncomputed``) or **too few units** (``few``, below :data:`MINIMUM_N`): *inconclusive*.
2. **Supported** (``above``, ``below``) – the whole interval lies beyond chance on the claimed side *and* q, corrected within the
   claim's declared family, is at most :data:`ALPHA`. A claim that is ``given`` another one gets no better a verdict than that
   one (``given``). One that must ``reach`` the smallest effect that matters is *inconclusive* while its estimate does not
   (``size``).
3. **Not supported** – the whole interval lies on the other side of chance (``opposite``), or stays short of the declared
   smallest effect that matters (``smallest``). Nothing else is a null result: an interval that merely holds chance is none.
4. **Inconclusive** – the interval lies beyond chance, but q is too high (``level``); q is low enough, but the interval reaches
   chance (``disagree``); or the data allow both no effect and one that matters (``both``).

For the side ``different`` both sides count. For ``greater`` and ``less`` p speaks for the claimed side
(:func:`emotion_circuits.statistics.draft` sees to it), so that a q of at most :data:`ALPHA` never stands beside an estimate on
the other one.
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
    "uncomputed", "few", "above", "below", "level", "given", "size", "opposite", "smallest", "disagree", "both"
]  # fmt: skip

MINIMUM_N = 8
"""Fewer units never support anything."""
ALPHA = 0.05
"""Level for q."""

Range = tuple[float, float]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figures(_Record):
    """The numbers of a claim.

    Attributes:
        estimate: the figure.
        interval: its 95 % interval.
        chance: chance level of the figure, or the bound it is held against, where it has one.
        null: where the null's figures lie; shown beside the figure, and not what decides (``p`` holds the null's share).
        p: p-value before correction, for the claimed side: the largest of all tests that the claim must pass.
        q: after correction within its declared family.
        family: name of the declared family that q is corrected in, e.g. ``trace.writers``.
        tests: how many tests that family holds.
        n: number of units.
        side: the claimed side of the reference.
        smallest: smallest distance from chance that would matter, above 0; only it lets a null result be one.
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
    smallest: float | None = Field(default=None, gt=0)
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
    def towards(self) -> float:
        """How far the estimate lies beyond chance on the claimed side; below 0 on the other one."""
        away = self.estimate - self.zero
        return {"greater": away, "less": -away, "different": abs(away)}[self.side]

    @property
    def clearness(self) -> float:
        """How far the estimate lies beyond chance on the claimed side, in widths of its interval: compares across units."""
        low, high = self.interval or (self.estimate, self.estimate)
        return self.towards / max(high - low, 1e-9)


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
        """A claim with its verdict. Stations hand drafts to :func:`emotion_circuits.statistics.corrected` instead.

        Args:
            id: as in :class:`Claim`.
            kind: as in :class:`Claim`.
            about: as in :class:`Claim`.
            reach: see :func:`judge`.
            given: see :func:`judge`.
            **figures: fields of :class:`Figures`.

        Raises:
            EmotionCircuitsError: a figure that is not finite, ends in the wrong order, a p-value without an interval; an
                interval without p, q and family; a q that speaks for the other side than the claimed one.

        Example:
            >>> figures = dict(estimate=0.3, interval=(0.1, 0.5), n=40, p=0.01, q=0.01, family="test.a", tests=1)
            >>> Claim.judged("a", "test.a", About(), **figures).verdict
            'supported'
        """
        try:
            numbers = Figures.model_validate(figures)
            _check(id, numbers)
            verdict, reason = judge(numbers, reach=reach, given=given)
            return cls(id=id, kind=kind, about=about, figures=numbers, verdict=verdict, reason=reason)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise EmotionCircuitsError(f"claim {id!r}: {problems}") from error


def _check(id: str, figures: Figures) -> None:
    lacking = [name for name in ("p", "q", "family", "tests") if getattr(figures, name) is None]
    if figures.interval is not None and lacking:
        raise EmotionCircuitsError(
            f"claim {id!r}: has an interval but no {', '.join(lacking)}: every figure is tested within a declared family "
            "(statistics.draft and statistics.corrected); one that was not computed has no interval"
        )
    if figures.q is not None and figures.q <= ALPHA and figures.towards < 0:
        raise EmotionCircuitsError(
            f"claim {id!r}: q = {figures.q:g}, but the estimate {figures.estimate:g} lies on the other side of "
            f"{figures.zero:g} than the claimed one ({figures.side}): p must be that of the claimed side"
        )


def judge(figures: Figures, *, reach: bool = False, given: Claim | None = None) -> Judged:
    """What figures support, by the rules at the top of this module.

    Args:
        figures: the numbers.
        reach: whether the estimate itself must reach ``figures.smallest`` to be supported.
        given: a claim without which this one cannot hold.

    Example:
        >>> judge(Figures(estimate=0.3, interval=(0.1, 0.5), chance=0.25, n=40, p=0.2, q=0.2, family="a", tests=1))
        Judged(verdict='inconclusive', reason='both')
    """
    if figures.interval is None or figures.q is None:
        return Judged("inconclusive", "uncomputed")
    if figures.n < MINIMUM_N:
        return Judged("inconclusive", "few")
    (low, high), zero, side = figures.interval, figures.zero, figures.side
    above = low > zero and side != "less"
    below = high < zero and side != "greater"
    beyond, level = above or below, figures.q <= ALPHA
    short = figures.smallest is not None and _short(low - zero, high - zero, side, figures.smallest)
    if beyond and level and not (reach and short):
        if given is not None and given.verdict != "supported":
            return Judged(given.verdict, "given")
        if reach and (figures.smallest is None or abs(figures.estimate - zero) < figures.smallest):
            return Judged("inconclusive", "size")
        return Judged("supported", "above" if above else "below")
    if (side == "greater" and low < zero and high <= zero) or (side == "less" and high > zero and low >= zero):
        return Judged("not supported", "opposite")
    if short:
        return Judged("not supported", "smallest")
    if beyond:
        return Judged("inconclusive", "level")
    return Judged("inconclusive", "disagree" if level else "both")


def _short(low: float, high: float, side: Side, size: float) -> bool:
    """Whether an interval of distances from chance holds no effect of that size on the claimed side."""
    return (side == "less" or high < size) and (side == "greater" or low > -size)
