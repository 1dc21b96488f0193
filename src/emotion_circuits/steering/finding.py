"""Where and how strongly a model can be steered: looked for coarse to fine, with what it costs in fluency as the guard.

A *line* is a place (layers, with or without a push at the first token) along which one number, the strength, grows. A few texts
at two strengths of every line say how its cost and its effect grow; the strength that comes close to the bound is read off, and
the best lines are tried again there on more openings. What is left
goes to the choice (:mod:`emotion_circuits.steering.selecting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotion_circuits.steering.scoring import BUDGET, REPEATS

__all__ = ["STRENGTHS", "Line", "Place", "best_places", "lines", "place_of", "refined_places"]

STRENGTHS = (0.5, 1.0)
"""At which every line is tried first."""
ALPHA, FIRST, BESIDE_FIRST = 0.3, 6.0, 0.1
"""Residual norms at strength 1: at all tokens but the first; or at the first token, with so much at the others."""
FARTHEST = 2.0
"""Largest strength that is tried."""
MARGIN = 0.17
"""Nats below the bound that are aimed at: about the half width of a ratio's 95 % interval on sixty openings."""


@dataclass(frozen=True)
class Place:
    """Where and how strongly: fields of :class:`emotion_circuits.steering.Condition`."""

    layers: tuple[int, ...]
    alpha: float
    first: float = 0.0

    def times(self, factor: float) -> Place:
        """The same place, so much stronger, to two digits."""
        return Place(self.layers, _two_digits(self.alpha * factor), _two_digits(self.first * factor))


@dataclass(frozen=True)
class Line:
    """A place whose strength is still open.

    Attributes:
        layers: that are steered together.
        alpha: at strength 1.
        first: at strength 1.
    """

    layers: tuple[int, ...]
    alpha: float
    first: float = 0.0

    def at(self, strength: float) -> Place:
        """The place at a strength, to two digits."""
        return Place(self.layers, self.alpha, self.first).times(strength)


def lines(layers: Sequence[int | tuple[int, ...]], *, first: bool = True, rest: bool = True) -> list[Line]:
    """Every layer (or group) without a push at the first token, and with one.

    Args:
        layers: layers or groups of them.
        first: with a push at the first token.
        rest: without one.
    """
    groups = [(layer,) if isinstance(layer, int) else tuple(layer) for layer in layers]
    without = [Line(group, ALPHA) for group in groups if rest]
    return [*without, *(Line(group, BESIDE_FIRST, FIRST) for group in groups if first)]


def place_of(row: pd.Series) -> Place:
    """The place of a row of :func:`emotion_circuits.steering.condition_table`."""
    layers = tuple(int(layer) for layer in str(row["layers"]).split())
    return Place(layers, float(row["alpha"]), float(row["first"]))


def refined_places(
    table: pd.DataFrame, along: Sequence[Line], *, budget: float = BUDGET, count: int = 3
) -> list[Place]:
    """The most promising lines, each at the strength that all values bear and at the one that they bear in the mean.

    Args:
        table: of :func:`emotion_circuits.steering.condition_table`, with every line at :data:`STRENGTHS`.
        along: the lines.
        budget: largest perplexity ratio.
        count: lines that are kept.
    """
    rows = table[table["kind"] == "emotion"]
    by = {(str(row["emotion"]), place_of(row)): row for _, row in rows.iterrows()}
    values = list(dict.fromkeys(rows["emotion"].astype(str)))
    aim = max(float(np.log(budget)) - MARGIN, 0.02)
    ranked = []
    for line in along:
        curves = [[by[value, line.at(strength)] for strength in STRENGTHS] for value in values]
        borne = np.array([_strength_at(curve, aim) for curve in curves])
        shared = float(borne.min())
        promise = float(np.mean([_effect_at(curve, shared) for curve in curves]))
        ranked.append((promise, line, sorted({shared, float(borne.mean())})))
    ranked.sort(key=lambda row: -row[0])
    found = [line.at(strength) for _, line, strengths in ranked[:count] for strength in strengths]
    return [place for place in dict.fromkeys(found) if place.alpha or place.first]


def best_places(table: pd.DataFrame, *, budget: float = BUDGET, count: int = 3) -> list[Place]:
    """Those within the bound for most values and, of equals, with the largest effect.

    Args:
        table: of :func:`emotion_circuits.steering.condition_table`.
        budget: largest perplexity ratio; the estimate counts, since few openings leave wide intervals.
        count: places at most.
    """
    rows = table[table["kind"] == "emotion"]
    fits = (np.log(rows["ratio"]) <= np.log(budget) - MARGIN / 2) & (rows["repetition_gain"] < REPEATS)
    scores: dict[Place, tuple[float, float]] = {}
    for (_, row), fit in zip(rows.iterrows(), fits, strict=True):
        within, effect = scores.get(place_of(row), (0.0, 0.0))
        scores[place_of(row)] = within + float(fit), effect + float(row["p"])
    return sorted(scores, key=lambda place: scores[place], reverse=True)[:count]


def _strength_at(curve: Sequence[pd.Series], aim: float) -> float:
    """Strength at which a value's texts cost so many nats, from the two that were tried; less where texts repeat."""
    low, high = STRENGTHS
    costs = [0.0, *np.maximum.accumulate([max(_cost(row), 0.0) for row in curve])]
    if costs[-1] >= aim:
        found = float(np.interp(aim, costs, [0.0, low, high]))
    else:
        slope = max((costs[2] - costs[1]) / (high - low), costs[2] / high, 1e-6)
        found = min(high + (aim - costs[2]) / slope, FARTHEST)
    repeats = [s for s, row in zip(STRENGTHS, curve, strict=True) if not row["repetition_gain"] < REPEATS]
    return min([found, *(0.8 * s for s in repeats)])


def _cost(row: pd.Series) -> float:
    ratio = float(row["ratio"])
    return float(np.log(ratio)) if np.isfinite(ratio) and ratio > 0 else float("inf")


def _effect_at(curve: Sequence[pd.Series], strength: float) -> float:
    """Change of the value's probability at a strength, along the straight pieces through those that were tried."""
    points, changes = [0.0, *STRENGTHS], [0.0, *(float(row["change"]) for row in curve)]
    if strength <= STRENGTHS[-1]:
        return float(np.interp(strength, points, changes))
    slope = (changes[2] - changes[1]) / (points[2] - points[1])
    return float(np.clip(changes[2] + slope * (strength - points[2]), -1, 1))


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
