"""p-values where a null was drawn, or where there is nothing but an interval."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.resampling import finite_matrix

__all__ = ["interval_p", "rank_p", "rank_ps"]

_Side = Literal["greater", "less", "different"]


def rank_ps(
    observed: ArrayLike, null: ArrayLike, *, side: _Side = "greater", pooled: bool = False
) -> Float[np.ndarray, " test"]:
    """Rank of each figure among those that a null gave: ``(1 + as extreme) / (1 + draws)`` (Phipson & Smyth 2010).

    For ``different`` a figure is as extreme as it lies far from the median of its null.

    Args:
        observed: ``[test]``.
        null: ``[draw, test]``, figures of the same procedure where nothing is to be found.
        side: which way a figure is extreme.
        pooled: rank every figure among the draws of all tests, each in units of its own test's spread around that test's
            median (Storey & Tibshirani 2003). Resolves smaller p-values; valid only where the nulls differ in place and spread
            alone.

    Raises:
        EmotionCircuitsError: no draw, another number of tests, a value that is not finite.

    Example:
        >>> rank_ps([3.0, 0.0], [[0.0, 0.0], [1.0, -1.0], [-1.0, 1.0]])
        array([0.25, 0.75])
    """
    found, drawn = finite_matrix(observed, "rank_ps")[:, 0], finite_matrix(null, "rank_ps: null")
    if side not in ("greater", "less", "different"):
        raise EmotionCircuitsError(f"side must be greater, less or different, got {side!r}")
    if drawn.shape[1] != len(found):
        raise EmotionCircuitsError(f"rank_ps: {len(found)} figures, but the null has {drawn.shape[1]} tests")
    middle = np.median(drawn, axis=0)
    found, drawn = found - middle, drawn - middle
    if side == "less":
        found, drawn = -found, -drawn
    if side == "different":
        found, drawn = np.abs(found), np.abs(drawn)
    if not pooled:
        hits = (drawn >= found - 1e-12 * np.abs(found)).sum(axis=0)
        return (1.0 + hits) / (1.0 + len(drawn))  # type: ignore[no-any-return]
    spread = np.sqrt((drawn**2).mean(axis=0))
    spread = np.where(spread > 0, spread, 1.0 if not (spread > 0).any() else spread[spread > 0].min())
    every = np.sort((drawn / spread).ravel())
    hits = len(every) - np.searchsorted(every, found / spread * (1 - 1e-12), side="left")
    return (1.0 + hits) / (1.0 + len(every))  # type: ignore[no-any-return]


def rank_p(observed: float, null: ArrayLike, *, side: _Side = "greater") -> float:
    """As :func:`rank_ps` for one figure and the ``[draw]`` figures of its null.

    A null of ``N`` draws gives no p below ``1/(N+1)``; corrected in a family of ``m`` tests, a single strong one reaches
    q = 0.05 from ``N = 20 m - 1`` draws on.

    Example:
        >>> rank_p(3.0, [0.0, 1.0, 4.0])
        0.5
    """
    return float(rank_ps([observed], np.asarray(null, dtype=float)[:, None], side=side)[0])


def interval_p(
    estimate: float, interval: tuple[float, float], *, zero: float = 0.0, n: int, confidence: float = 0.95
) -> float:
    """Two-sided p-value that agrees with an interval: at most ``1 - confidence`` exactly where the interval leaves ``zero`` out.

    The side of the interval towards ``zero`` is read as a quantile of Student's t with ``n - 1`` degrees of freedom (Altman &
    Bland 2011); of a biased bootstrap whose interval does not hold the estimate, half of the interval's width around its middle.
    For figures that have no test of their own, such as those of resampled correlations. Ratios go in as logarithms.

    Args:
        estimate: the figure.
        interval: its interval.
        zero: chance.
        n: units.
        confidence: of the interval.

    Raises:
        EmotionCircuitsError: fewer than 2 units.

    Example:
        >>> round(interval_p(0.3, (0.1, 0.5), n=40), 4)
        0.0043
    """
    from scipy.stats import t

    low, high = interval
    if n < 2:
        raise EmotionCircuitsError(f"interval_p: needs at least 2 units, got {n}")
    if not low <= estimate <= high:
        estimate = (low + high) / 2
    distance = abs(estimate - zero)
    if distance == 0:
        return 1.0
    half = estimate - low if estimate > zero else high - estimate
    if half == 0:
        return 0.0
    return float(2 * t.sf(distance / half * t.ppf((1 + confidence) / 2, n - 1), n - 1))
