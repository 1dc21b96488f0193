"""Cluster bootstrap: resample prompts, never tokens or samples.

A resample of ``n`` prompts is a row of multinomial counts, so all resamples of all conditions are one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray

from emotion_circuits.errors import EmotionCircuitsError

__all__ = [
    "Estimate",
    "bootstrap_means",
    "cluster_means",
    "finite_matrix",
    "resample_counts",
]

_BLOCK = 2_000_000  # weights drawn at once: bounds memory to some megabytes whatever the number of resamples


class Estimate(NamedTuple):
    """A mean with its interval.

    Attributes:
        estimate: mean over prompts.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of prompts.
    """

    estimate: float
    low: float
    high: float
    n: int


def finite_matrix(values: ArrayLike, what: str) -> Float[np.ndarray, "unit condition"]:
    """``values`` as ``[unit, condition]`` (a vector becomes one column).

    Raises:
        EmotionCircuitsError: empty, more than two axes, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise EmotionCircuitsError(f"{what}: needs [unit] or [unit, condition] with at least one of each")
    if not np.isfinite(array).all():
        row, column = map(int, np.argwhere(~np.isfinite(array))[0])
        raise EmotionCircuitsError(
            f"{what}: the value of unit {row}, condition {column} is {array[row, column]}; drop or impute the unit "
            "in every condition before comparing"
        )
    return array


def cluster_means(
    values: ArrayLike, clusters: Sequence[object] | None
) -> tuple[Float[np.ndarray, "cluster condition"], list[object]]:
    """Mean of each cluster (prompt), so that every prompt counts once however many samples it has.

    Args:
        values: ``[row]`` or ``[row, condition]``.
        clusters: the prompt of each row; ``None``: every row is its own.

    Returns:
        The means ``[cluster, condition]`` and the clusters in order of first appearance.

    Raises:
        EmotionCircuitsError: lengths differ, or a value is not finite.
    """
    array = finite_matrix(values, "cluster_means")
    if clusters is None:
        return array, list(range(len(array)))
    if len(clusters) != len(array):
        raise EmotionCircuitsError(f"cluster_means: {len(array)} rows but {len(clusters)} cluster names")
    codes, names = pd.factorize(pd.Series(list(clusters), dtype=object), use_na_sentinel=False)
    sums = np.zeros((len(names), array.shape[1]))
    np.add.at(sums, codes, array)
    return sums / np.bincount(codes)[:, None], list(names)


def _generator(seed: int | Sequence[int] | np.random.Generator) -> np.random.Generator:
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def resample_counts(
    units: int, resamples: int, seed: int | Sequence[int] | np.random.Generator = 0
) -> Int[np.ndarray, "resample unit"]:
    """How often each unit is drawn in each resample, for figures that are no means; those have :func:`bootstrap_means`.

    Args:
        units: that are drawn from, and as many are drawn.
        resamples: draws.
        seed: seed or generator.

    Example:
        >>> resample_counts(3, 2, seed=0).sum(axis=1).tolist()
        [3, 3]
    """
    return _generator(seed).multinomial(units, np.full(units, 1 / units), size=resamples)


def bootstrap_means(
    values: ArrayLike, *, resamples: int = 10_000, seed: int | np.random.Generator = 0
) -> Float[np.ndarray, "resample condition"]:
    """Means of ``resamples`` draws of units with replacement; every condition sees the same draws (paired).

    Args:
        values: ``[unit]`` or ``[unit, condition]``, one row per prompt (see :func:`cluster_means`).
        resamples: number of bootstrap draws.
        seed: seed or generator.

    Raises:
        EmotionCircuitsError: fewer than 1 resample, or values that are empty or not finite.
    """
    if resamples < 1:
        raise EmotionCircuitsError(f"resamples must be at least 1, got {resamples}")
    array = finite_matrix(values, "bootstrap")
    n = len(array)
    # Products in float32 on centred values: the rounding error is relative to the spread, not to the mean.
    centre = array.mean(axis=0)
    spread = np.abs(array - centre).max(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    small = ((array - centre) / scale).astype(np.float32)
    rng = _generator(seed)
    out: NDArray[np.float64] = np.empty((resamples, array.shape[1]))
    step = max(1, _BLOCK // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n), dtype=np.int32)
        flat = drawn + (np.arange(rows, dtype=np.int64) * n)[:, None]
        weights = np.bincount(flat.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float32)
        out[start : start + rows] = (weights @ small) / n
    out *= scale
    out += centre
    return out
