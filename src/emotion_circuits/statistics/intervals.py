"""Intervals of means: which method is used follows from the data, and none of them loses its width.

* **Shares** of units (every value 0 or 1): Wilson's score interval with the lower ends of Brown, Cai & DasGupta (2001) for 1 to
  3 successes.
* **Differences of paired shares** (every value −1, 0 or 1): Tango's score interval (1998), from the discordant units alone.
* **Shares and their differences by cluster** (every value a fraction with a small denominator, of several samples of a prompt):
  the same two with the effective number of units: as many as binary ones would have to be to vary as little (Korn & Graubard
  1998), reduced for the degrees of freedom the variance is estimated with.
* **Everything else**: the envelope of Student's t interval and of Hall's skewness-corrected one (Johnson 1978; Hall 1992), with
  the unbiased skewness. In simulation it is nearer to its level on skewed samples of 8 to 34 units than the percentile
  bootstrap, BCa and the studentised bootstrap, keeps it on heavy tails, where those lose it, and has no draws to differ by.
* **Constant values** carry no spread: the interval is that of a share, in units of the largest size that the values can have
  (of differences: the range of both arms together). Only where both arms are one constant is there no width to be had.

The unit is the prompt: rows of a cluster are averaged first. `docs/method.md` has the coverage of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm, t

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.resampling import Estimate, cluster_means

__all__ = [
    "bootstrap_mean_interval",
    "bootstrap_mean_intervals",
    "ends_of_means",
    "fractions",
    "holding",
    "mean_interval",
    "mean_intervals",
]

_DENOMINATOR = 20
"""Samples of a prompt up to which a mean of zeros and ones is known for one."""

_Ends = tuple[NDArray[np.float64], NDArray[np.float64]]


def holding(estimate: float, low: float, high: float) -> tuple[float, float]:
    """The ends of an interval, moved out to its estimate where they leave it out.

    Quantiles of draws may: a figure of all units need not lie among those of resampled ones.

    Example:
        >>> holding(0.9, 0.2, 0.8)
        (0.2, 0.9)
    """
    return min(float(low), float(estimate)), max(float(high), float(estimate))


def mean_intervals(
    values: ArrayLike, *, clusters: Sequence[object] | None = None, confidence: float = 0.95
) -> list[Estimate]:
    """One :class:`Estimate` per condition, by the method that fits its values (see the head of this module).

    Args:
        values: ``[row]`` or ``[row, condition]``. Values of −1, 0 and 1 are taken for differences of paired shares where a −1 is
            among them, else for shares; :func:`emotion_circuits.statistics.paired_differences` knows what it compares.
        clusters: the prompt of each row; ``None``: one row per prompt.
        confidence: coverage, e.g. 0.95.

    Raises:
        EmotionCircuitsError: fewer than 2 prompts, confidence outside (0, 1), or values that are not finite.
    """
    means, _ = cluster_means(values, clusters)
    low, high = ends_of_means(means, confidence=confidence)
    return [
        Estimate(float(m), float(a), float(b), len(means))
        for m, a, b in zip(means.mean(axis=0), low, high, strict=True)
    ]


def mean_interval(values: ArrayLike, *, clusters: Sequence[object] | None = None, confidence: float = 0.95) -> Estimate:
    """As :func:`mean_intervals` for one condition.

    Example:
        >>> found = mean_interval([0, 0, 0, 0, 0, 0, 0, 0])
        >>> found.estimate, found.low, round(found.high, 3)
        (0.0, 0.0, 0.324)
    """
    if np.asarray(values).ndim != 1:
        raise EmotionCircuitsError("mean_interval takes one value per row; for more, the plural form")
    return mean_intervals(values, clusters=clusters, confidence=confidence)[0]


def bootstrap_mean_intervals(
    values: ArrayLike,
    *,
    clusters: Sequence[object] | None = None,
    confidence: float = 0.95,
    **_drawn: object,
) -> list[Estimate]:
    """The former name of :func:`mean_intervals`; nothing is drawn, so ``resamples`` and ``seed`` are taken and not used."""
    return mean_intervals(values, clusters=clusters, confidence=confidence)


def bootstrap_mean_interval(
    values: ArrayLike,
    *,
    clusters: Sequence[object] | None = None,
    confidence: float = 0.95,
    **_drawn: object,
) -> Estimate:
    """The former name of :func:`mean_interval`; nothing is drawn, so ``resamples`` and ``seed`` are taken and not used."""
    return mean_interval(values, clusters=clusters, confidence=confidence)


def ends_of_means(
    means: Float[np.ndarray, "unit condition"],
    *,
    confidence: float = 0.95,
    differences: Bool[np.ndarray, " condition"] | None = None,
    scale: Float[np.ndarray, " condition"] | None = None,
) -> _Ends:
    """Lower and upper ends of the intervals of the conditions' means.

    Args:
        means: one value per unit and condition.
        confidence: coverage.
        differences: which conditions are differences of paired shares; by default those of fractions with one below 0.
        scale: largest size that a condition's values can have, for those that are constant; by default the constant's.

    Raises:
        EmotionCircuitsError: fewer than 2 units, or confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise EmotionCircuitsError(f"confidence must lie between 0 and 1, got {confidence}")
    if len(means) < 2:
        raise EmotionCircuitsError(
            f"an interval needs at least 2 prompts (or pairs), there is {len(means)}; give more of them"
        )
    known = differences is not None
    of_shares = fractions(means)
    if differences is None:
        differences = of_shares & (means < 0).any(axis=0)
    shares = of_shares & ~differences & (means >= 0).all(axis=0) & (not known)
    differences = differences & of_shares
    constant = ~shares & ~differences & (np.ptp(means, axis=0) <= 1e-12 * np.abs(means).max(axis=0))
    low, high = _skewed(means, confidence)
    for chosen, ends in ((shares, _share), (differences, _difference)):
        if chosen.any():
            low[chosen], high[chosen] = ends(means[:, chosen], confidence)
    if constant.any():
        size = np.abs(means).max(axis=0) if scale is None else np.maximum(scale, np.abs(means).max(axis=0))
        size = size[constant]
        safe = np.where(size > 0, size, 1.0)
        a, b = _difference(means[:, constant] / safe, confidence)
        low[constant] = np.where(size > 0, a * safe, means[0, constant])
        high[constant] = np.where(size > 0, b * safe, means[0, constant])
    return low, high


def fractions(values: Float[np.ndarray, "unit condition"]) -> Bool[np.ndarray, " condition"]:
    """Which conditions hold nothing but fractions of small denominators from −1 to 1: shares of a few samples."""
    found: NDArray[np.bool_] = (np.abs(values) <= 1 + 1e-9).all(axis=0)
    if found.any():
        columns = values[:, found]
        whole = np.zeros(columns.shape, dtype=bool)
        for k in range(1, _DENOMINATOR + 1):
            whole |= np.abs(columns * k - np.round(columns * k)) < 1e-9 * k
        found[found] = whole.all(axis=0)
    return found


# -- the methods -------------------------------------------------------------------------------------------------------


def _skewed(x: Float[np.ndarray, "unit condition"], confidence: float) -> _Ends:
    """Envelope of the t interval and of Hall's (1992) monotone cubic transformation of the skewed t statistic."""
    n = len(x)
    mean, spread = x.mean(axis=0), x.std(axis=0, ddof=1)
    safe = np.where(spread > 0, spread, 1.0)
    quantile = float(t.ppf((1 + confidence) / 2, n - 1)) / np.sqrt(n)
    low, high = mean - quantile * spread, mean + quantile * spread
    if n < 3:
        return low, high
    skewness = (((x - mean) / safe) ** 3).mean(axis=0) * n**2 / ((n - 1) * (n - 2))
    skewness = np.where(np.abs(skewness) < 1e-6, 1e-6, skewness)

    def back(y: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = 3 * (np.cbrt(1 + skewness * (y - skewness / (6 * n))) - 1) / skewness
        return found

    return np.minimum(low, mean - spread * back(quantile)), np.maximum(high, mean - spread * back(-quantile))


def _effective(
    x: Float[np.ndarray, "unit condition"], binary_variance: Float[np.ndarray, " condition"], confidence: float
) -> Float[np.ndarray, " condition"]:
    """How many binary units would vary as little as these; as many as there are where every value is −1, 0 or 1."""
    n = len(x)
    variance = x.var(axis=0, ddof=1)
    binary = (x == np.round(x)).all(axis=0) | (variance <= 1e-12)
    lost = norm.ppf((1 + confidence) / 2) / t.ppf((1 + confidence) / 2, n - 1)
    effective: NDArray[np.float64] = np.where(
        binary, n, n * binary_variance / np.where(variance > 0, variance, 1) * lost**2
    )
    return effective


def _share(x: Float[np.ndarray, "unit condition"], confidence: float) -> _Ends:
    """Wilson's score interval of the mean of values from 0 to 1."""
    share = np.clip(x.mean(axis=0), 0, 1)
    n, z = _effective(x, share * (1 - share), confidence), float(norm.ppf((1 + confidence) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = np.where(share <= 0, 0.0, middle - half), np.where(share >= 1, 1.0, middle + half)
    binary, most = (x == np.round(x)).all(axis=0), 2 if len(x) <= 50 else 3
    for count in range(1, most + 1):
        end = chi2.ppf(1 - confidence, 2 * count) / (2 * len(x))
        low = np.where(binary & (np.round(share * len(x)) == count), np.minimum(low, end), low)
        high = np.where(binary & (np.round((1 - share) * len(x)) == count), np.maximum(high, 1 - end), high)
    return low, high


def _difference(x: Float[np.ndarray, "unit condition"], confidence: float) -> _Ends:
    """Tango's score interval of the mean of values from −1 to 1; units above and below 0 are the discordant pairs."""
    up, down = np.clip(x, 0, 1).mean(axis=0), np.clip(-x, 0, 1).mean(axis=0)
    mean = up - down
    n, z = _effective(x, up + down - mean**2, confidence), float(norm.ppf((1 + confidence) / 2))

    def statistic(at: NDArray[np.float64]) -> NDArray[np.float64]:
        # The share of pairs below 0 that is likeliest where the difference is `at` (Tango 1998, section 2).
        b = -up - down + (2 - up + down) * at
        below = (np.sqrt(np.maximum(b**2 + 8 * down * at * (1 - at), 0)) - b) / 4
        variance = np.maximum(2 * below + at * (1 - at), 0) / n
        found: NDArray[np.float64] = (mean - at) / np.sqrt(np.maximum(variance, 1e-30))
        return found

    ends = []
    for bound, sign in ((-1.0, 1.0), (1.0, -1.0)):
        inside, outside = mean.copy(), np.full_like(mean, bound)
        for _ in range(50):
            middle = (inside + outside) / 2
            kept = sign * statistic(middle) <= z
            inside, outside = np.where(kept, middle, inside), np.where(kept, outside, middle)
        ends.append((inside + outside) / 2)
    return ends[0], ends[1]
