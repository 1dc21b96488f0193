"""How often intervals hold the truth, by simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.resampling import Estimate

__all__ = ["Rate", "coverage", "rate"]

_BLOCK = 500  # data sets drawn at once, as conditions


class Rate(NamedTuple):
    """How often something happened.

    Attributes:
        rate: share of the trials.
        low: lower end of its exact binomial 95 % interval.
        high: upper end.
        hits: trials in which it did.
        n: trials.
    """

    rate: float
    low: float
    high: float
    hits: int
    n: int


def rate(hits: int, trials: int) -> Rate:
    """A share of trials with its exact interval (Clopper & Pearson 1934).

    Raises:
        EmotionCircuitsError: no trial.

    Example:
        >>> found = rate(8, 100)
        >>> found.rate, round(found.low, 3), round(found.high, 3)
        (0.08, 0.035, 0.152)
    """
    from scipy.stats import binomtest

    if trials < 1:
        raise EmotionCircuitsError("a rate needs at least 1 trial")
    ends = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    return Rate(hits / trials, float(ends.low), float(ends.high), hits, trials)


def coverage(
    interval: Callable[[Float[np.ndarray, "row condition"]], Sequence[Estimate]],
    draw: Callable[[np.random.Generator, int, int], Float[np.ndarray, "row condition"]],
    truth: float,
    n: int,
    repeats: int,
    seed: int = 0,
) -> Rate:
    """Share of simulated data sets whose interval holds the truth.

    Args:
        interval: one estimate per condition, e.g. :func:`emotion_circuits.statistics.mean_intervals`; where rows are clustered
            it knows the clusters.
        draw: ``(generator, n, data sets)`` to values: ``n`` units of each data set.
        truth: what the intervals should hold.
        n: units of a data set.
        repeats: data sets.
        seed: of the draws.

    Raises:
        EmotionCircuitsError: no repeats.

    Example:
        >>> from emotion_circuits.statistics import mean_intervals
        >>> found = coverage(mean_intervals, lambda rng, n, k: rng.normal(size=(n, k)), truth=0.0, n=12, repeats=1000)
        >>> 0.93 < found.rate < 0.98
        True
    """
    rng, hits = np.random.default_rng(seed), 0
    slack = 1e-9 * max(1.0, abs(truth))
    for start in range(0, repeats, _BLOCK):
        found = interval(draw(rng, n, min(_BLOCK, repeats - start)))
        hits += sum(e.low - slack <= truth <= e.high + slack for e in found)
    return rate(hits, repeats)
