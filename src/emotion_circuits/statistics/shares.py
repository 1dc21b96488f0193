"""Shares of dependent units: exact intervals whose width knows that claims of one draw go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Share", "clustered_share"]


@dataclass(frozen=True)
class Share:
    """A share with its two-sided 95 % interval.

    Attributes:
        rate: the share.
        low: lower end.
        high: upper end.
        hits: how many units.
        n: of how many.
        clusters: independent groups they came in.
    """

    rate: float
    low: float
    high: float
    hits: int
    n: int
    clusters: int


def clustered_share(hits: Sequence[bool], clusters: Sequence[object]) -> Share:
    """Share of units that are hits, with the interval of Korn and Graubard (1998).

    The exact interval of Clopper and Pearson at the effective number of units: their number over the design effect, which is
    the variance of the share between clusters over what independent units would have. Where no unit, or every one, is a hit,
    the variance says nothing and every cluster counts as one unit.

    Args:
        hits: of each unit.
        clusters: of each unit.

    Raises:
        EmotionCircuitsError: no unit, or lengths that differ.

    Example:
        >>> share = clustered_share([False] * 60, range(60))
        >>> share.rate, round(share.high, 3)
        (0.0, 0.06)
    """
    if not len(hits) or len(hits) != len(clusters):
        raise EmotionCircuitsError(f"a share of {len(hits)} units in {len(clusters)} clusters cannot be given")
    values = np.asarray(hits, dtype=float)
    numbers: dict[object, int] = {}
    index = np.array([numbers.setdefault(c, len(numbers)) for c in clusters])
    n, k, rate = len(values), len(numbers), float(values.mean())
    effective = float(k)
    if 0 < rate < 1 and k > 1:
        residual = np.bincount(index, weights=values - rate, minlength=k)
        variance = k / (k - 1) * float((residual**2).sum()) / n**2
        effective = min(float(n), rate * (1 - rate) / variance) if variance > 0 else float(n)
    x = rate * effective
    low = 0.0 if x <= 0 else float(beta.ppf(0.025, x, effective - x + 1))
    high = 1.0 if x >= effective else float(beta.ppf(0.975, x + 1, effective - x))
    return Share(rate, low, high, int(values.sum()), n, k)
