"""Coverage of the intervals that claims carry, on simulated data of the shapes that a study's units have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from emotion_circuits.statistics.coverage import Rate, coverage
from emotion_circuits.statistics.intervals import mean_intervals
from emotion_circuits.statistics.paired import paired_differences
from emotion_circuits.statistics.resampling import Estimate

__all__ = ["SHAPES", "SIZES", "interval_coverage"]

SIZES = (8, 12, 20, 34, 65, 200)
"""Numbers of units: from the fewest a claim may rest on to more than any profile has."""

_SAMPLES = 4
Values = Float[np.ndarray, "unit dataset"]
_Draw = Callable[[np.random.Generator, int, int], Values]
_Interval = Callable[[Values], Sequence[Estimate]]


def _clustered(rng: np.random.Generator, n: int, k: int) -> Values:
    """Samples of each of n prompts, half of whose variance lies between prompts."""
    return np.repeat(rng.normal(size=(n, k)), _SAMPLES, axis=0) + rng.normal(size=(_SAMPLES * n, k))


def _of_clusters(values: Values) -> Sequence[Estimate]:
    names = np.repeat(np.arange(len(values) // _SAMPLES), _SAMPLES)
    return mean_intervals(values, clusters=names.tolist())


def _flips(up: float, down: float) -> _Draw:
    """Differences of two yes-or-no figures of a prompt."""

    def draw(rng: np.random.Generator, n: int, k: int) -> Values:
        u = rng.uniform(size=(n, k))
        return (u < up).astype(float) - (u > 1 - down)

    return draw


def _in_samples(up: float, down: float, correlation: float = 0.3) -> _Draw:
    """Differences of two shares of some samples of a prompt, whose rate differs between prompts."""

    def arm(rng: np.random.Generator, share: float, n: int, k: int) -> Values:
        a = (1 - correlation) / correlation
        found: Values = rng.binomial(_SAMPLES, rng.beta(share * a, (1 - share) * a, size=(n, k))) / _SAMPLES
        return found

    return lambda rng, n, k: arm(rng, 0.05 + up, n, k) - arm(rng, 0.05 + down, n, k)


def _of_pairs(d: Values) -> Sequence[Estimate]:
    """As :func:`paired_differences` of arms that are shares."""
    found = paired_differences(np.clip(d, 0, 1), np.clip(-d, 0, 1), resamples=1)
    return [Estimate(f.estimate, f.low, f.high, f.n) for f in found]


def _share(p: float) -> _Draw:
    return lambda rng, n, k: rng.binomial(1, p, size=(n, k)).astype(float)


_FLIPS = ((0.0, 0.0), (0.02, 0.0), (0.1, 0.0), (0.1, 0.1), (0.5, 0.0))

SHAPES: Mapping[str, tuple[_Interval, _Draw, float]] = {
    "normal": (mean_intervals, lambda rng, n, k: rng.normal(size=(n, k)), 0.0),
    "heavy tails": (mean_intervals, lambda rng, n, k: rng.standard_t(3, size=(n, k)), 0.0),
    "exponential": (mean_intervals, lambda rng, n, k: rng.exponential(size=(n, k)), 1.0),
    "lognormal": (mean_intervals, lambda rng, n, k: rng.lognormal(size=(n, k)), float(np.exp(0.5))),
    "mostly zero": (
        mean_intervals,
        lambda rng, n, k: rng.exponential(size=(n, k)) * (rng.uniform(size=(n, k)) < 0.3),
        0.3,
    ),
    "clusters": (_of_clusters, _clustered, 0.0),
    **{f"share {p}": (mean_intervals, _share(p), p) for p in (0.02, 0.1, 0.5)},
    **{f"yes or no, +{up:g} −{down:g}": (_of_pairs, _flips(up, down), up - down) for up, down in _FLIPS},
    **{f"share of 4, +{up:g} −{down:g}": (_of_pairs, _in_samples(up, down), up - down) for up, down in _FLIPS},
}
"""Shape of a study's units → how its interval is made, how it is drawn, its true mean."""


def interval_coverage(
    sizes: Sequence[int] = SIZES, *, repeats: int = 2000, shapes: Sequence[str] | None = None
) -> dict[tuple[str, int], Rate]:
    """How often 95 % intervals hold the truth, by shape of the data and number of units.

    Args:
        sizes: numbers of units.
        repeats: simulated data sets of each.
        shapes: some of :data:`SHAPES`; all by default.

    Example:
        >>> found = interval_coverage((34,), repeats=500, shapes=["normal"])
        >>> 0.92 < found["normal", 34].rate < 0.98
        True
    """
    return {
        (name, n): coverage(SHAPES[name][0], SHAPES[name][1], SHAPES[name][2], n, repeats, seed=n)
        for n in sizes
        for name in shapes or SHAPES
    }
