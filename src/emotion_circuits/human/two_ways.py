"""Intervals of means and differences over raters *and* openings, of whom both are a sample.

Ratings of one rater hang together, and so do those of one opening. The variance of a figure is that of resampling raters, plus
that of resampling openings, minus that of resampling single ratings, which both hold (Cameron, Gelbach & Miller 2011; of the
bootstrap Menzel 2021, MacKinnon, Nielsen & Webb 2021). All three have a closed form for what is linear in the ratings, so that
nothing is drawn: it is what the two-way bootstrap tends to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr, stdtrit

__all__ = ["TwoWay", "difference", "linear", "mean"]

Values = Float[np.ndarray, " rating"]
Groups = Int[np.ndarray, " rating"]


class TwoWay(NamedTuple):
    """A figure with its interval.

    Attributes:
        estimate: the figure.
        low: lower end, 95 %.
        high: upper end.
        p: two-sided, of no difference from the reference; it and the interval say the same.
        n: the smaller of the numbers of raters and of openings.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int


def linear(
    estimate: float, parts: Values, raters: Groups, openings: Groups, *, zero: float = 0.0, least: float = 0.0
) -> TwoWay:
    """A figure from what each rating adds to its error.

    Args:
        estimate: the figure.
        parts: ``[rating]`` influence of each rating; they sum to 0.
        raters: whose.
        openings: of what.
        zero: reference of the p-value.
        least: variance below which the figure's is not taken.
    """
    by_rater, by_opening = _sums(parts, raters), _sums(parts, openings)
    n = min(len(by_rater), len(by_opening))
    of_raters, of_openings, of_ratings = (_variance(x) for x in (by_rater, by_opening, parts))
    # The sum is right on average; where it comes out near 0 or below, that is chance.
    variance = max(of_raters + of_openings - of_ratings, 0.75 * min(of_raters, of_openings), least)
    if n < 2 or variance <= 0:
        return TwoWay(estimate, float("nan"), float("nan"), float("nan"), n)
    half = float(stdtrit(n - 1, 0.975)) * variance**0.5
    p = 2 * float(stdtr(n - 1, -abs(estimate - zero) / variance**0.5))
    return TwoWay(estimate, estimate - half, estimate + half, p, n)


def _sums(parts: Values, groups: Groups) -> Values:
    sums = np.bincount(groups, parts)
    return sums[np.bincount(groups) > 0]


def _variance(sums: Values) -> float:
    n = len(sums)
    return float(np.sum(sums**2)) * n / (n - 1) if n > 1 else 0.0


def mean(values: Values, raters: Groups, openings: Groups, *, zero: float = 0.0, span: float = 1.0) -> TwoWay:
    """Mean of ratings.

    Args:
        values: the ratings.
        raters: whose.
        openings: of what.
        zero: reference of the p-value.
        span: width of the scale: ratings that are all the same have an interval, too.
    """
    m = float(values.mean())
    return linear(m, _parts(values), raters, openings, zero=zero, least=_least(values, raters, openings, span))


def difference(values: Values, treated: Values, raters: Groups, openings: Groups, *, span: float = 1.0) -> TwoWay:
    """Mean of treated ratings minus that of the others.

    Args:
        values: the ratings.
        treated: 1 or 0.
        raters: whose.
        openings: of what.
        span: width of the scale.

    Example:
        >>> values, treated = np.array([1.0, 2, 3, 2, 3, 4]), np.array([0, 0, 0, 1, 1, 1])
        >>> found = difference(values, treated, np.array([0, 1, 2, 0, 1, 2]), np.array([0, 1, 2, 1, 2, 0]))
        >>> found.estimate, found.n
        (1.0, 3)
    """
    on = treated.astype(bool)
    a, b = float(values[on].mean()), float(values[~on].mean())
    parts = np.empty(len(values))
    parts[on], parts[~on] = _parts(values[on]), -_parts(values[~on])
    least = sum(_least(values[side], raters[side], openings[side], span) for side in (on, ~on))
    return linear(a - b, parts, raters, openings, least=least)


def _parts(values: Values) -> Values:
    """What each rating adds to the error of a mean that was computed from the same ratings."""
    n = len(values)
    found: Values = (values - values.mean()) / max(n * (n - 1), 1) ** 0.5
    return found


def _least(values: Values, raters: Groups, openings: Groups, span: float) -> float:
    """Variance of a mean as if one unit of so many had been at the other end: nothing that varies is known to be constant."""
    if np.ptp(values) > 0:
        return 0.0
    n = min(len(np.unique(raters)), len(np.unique(openings)))
    share = 1 / (n + 2)
    return span**2 * share * (1 - share) / (n + 2)
