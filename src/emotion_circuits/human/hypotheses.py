"""What a study tests, declared before anybody has rated: all of it is one family of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from emotion_circuits.human import two_ways
from emotion_circuits.human.records import RIVALS, Arm, Hypothesis
from emotion_circuits.human.tables import Ratings
from emotion_circuits.human.two_ways import TwoWay
from emotion_circuits.statistics import About, Claim, Draft, corrected, draft

__all__ = ["FAMILY", "claims_of", "declared", "measured"]

FAMILY = "human.study"

Side = Literal["greater", "less", "different"]
_MEASURES: dict[str, tuple[float, str]] = {
    "human.transmitted": (0.1, "share of ratings that name the value, steered minus other arm"),
    "human.intense": (0.5, "intensity where the value is named, else 0, steered minus other arm"),
    "human.stronger": (0.05, "how often the steered text of a pair expresses more, ties half; no preference: 0.5"),
    "human.natural": (0.5, "naturalness, steered minus other arm"),
}
"""Kind → smallest distance that matters, and what is measured."""
_EITHER: dict[Arm, Side] = dict.fromkeys(RIVALS, "different")
_SIDES: dict[str, dict[Arm, Side]] = {
    "human.transmitted": {"unsteered": "greater", "random": "greater", **_EITHER},
    "human.intense": {"unsteered": "greater", "random": "greater"},
    "human.stronger": {"unsteered": "greater", "random": "greater", **_EITHER},
    "human.natural": {"unsteered": "less", **_EITHER},
}
_HOW = "two-way clusters of raters and openings, t test, Benjamini–Hochberg over all hypotheses of the study"


def declared(values: Sequence[str], arms: Sequence[Arm]) -> tuple[Hypothesis, ...]:
    """All hypotheses of a study with these values and arms.

    Example:
        >>> [h.id for h in declared(["anger"], ["unsteered", "steered"])][:2]
        ['human.transmitted.anger.unsteered', 'human.intense.anger.unsteered']
    """
    return tuple(
        Hypothesis(
            id=f"{kind}.{value}.{against}", kind=kind, value=value, against=against, side=side, smallest=_MEASURES[kind][0],
            test=f"{_MEASURES[kind][1]}; {_HOW}",
        )
        for value in values for kind, sides in _SIDES.items() for against, side in sides.items() if against in arms
    )  # fmt: skip


def measured(
    hypothesis: Hypothesis, ratings: Ratings, values: Sequence[str], slots: Sequence[tuple[Arm, str]]
) -> tuple[TwoWay, dict[str, float]] | None:
    """Its figure and the means it is made of; ``None`` where there are no ratings of either side.

    Args:
        hypothesis: one that was declared.
        ratings: all.
        values: of the study, whose places are the numbers that were named.
        slots: of the study, whose places are the numbers of slots.
    """
    value, against = hypothesis.value, hypothesis.against
    here = slots.index(("steered", value))
    there = slots.index((against, "" if against == "unsteered" else value))
    number = values.index(value)
    if hypothesis.kind == "human.stronger":
        p = ratings.pairs
        own = (p.value == number) & (
            ((p.first == here) & (p.second == there)) | ((p.first == there) & (p.second == here))
        )
        if not own.any():
            return None
        score = np.where(p.first[own] == here, p.score[own], 1 - p.score[own])
        found = two_ways.mean(score, p.rater[own], p.opening[own], zero=0.5)
        return _within(found, 0, 1), {"ties": float(np.mean(score == 0.5)), "comparisons": float(own.sum())}
    s = ratings.singles
    own = (s.slot == here) | (s.slot == there)
    treated = s.slot[own] == here
    if treated.all() or not treated.any():
        return None
    named = s.named[own] == number
    y, span = {
        "human.transmitted": (named.astype(float), 1.0),
        "human.intense": (np.where(named, s.intensity[own], 0.0), 6.0),
        "human.natural": (s.naturalness[own], 6.0),
    }[hypothesis.kind]
    found = two_ways.difference(y, treated, s.rater[own], s.opening[own], span=span)
    return _within(found, -span, span), {
        "steered": float(y[treated].mean()),
        "other": float(y[~treated].mean()),
        "ratings": float(own.sum()),
    }


def _within(found: TwoWay, low: float, high: float) -> TwoWay:
    """No figure lies beyond its scale."""
    return found._replace(low=max(found.low, low), high=min(found.high, high))


def claims_of(
    hypotheses: Sequence[Hypothesis], ratings: Ratings, values: Sequence[str], slots: Sequence[tuple[Arm, str]]
) -> list[Claim]:
    """Every hypothesis as a claim with its verdict.

    Args:
        hypotheses: all of the study.
        ratings: those that count.
        values: as in :func:`measured`.
        slots: as in :func:`measured`.
    """
    return corrected([_draft(h, measured(h, ratings, values, slots)) for h in hypotheses])


def _draft(hypothesis: Hypothesis, found: tuple[TwoWay, dict[str, float]] | None) -> Draft:
    about = About(value=hypothesis.value, arm=hypothesis.against)
    zero = 0.5 if hypothesis.kind == "human.stronger" else 0.0
    fixed: dict[str, Any] = {"chance": zero, "side": hypothesis.side, "smallest": hypothesis.smallest}
    if found is None:
        return draft(hypothesis.id, hypothesis.kind, about, family=FAMILY, estimate=zero, n=0, **fixed)
    figure, beside = found
    tested: dict[str, Any] = {"interval": (figure.low, figure.high), "p": figure.p} if figure.p == figure.p else {}
    return draft(
        hypothesis.id, hypothesis.kind, about, family=FAMILY, estimate=figure.estimate, n=figure.n, beside=beside, **fixed,
        **tested,
    )  # fmt: skip
