"""Permutation tests: exact where the rearrangements are few, Monte Carlo with the +1 correction elsewhere."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.resampling import _generator, finite_matrix

__all__ = ["Alternative", "permutation_p", "permutation_ps"]

Alternative = Literal["two-sided", "greater", "less"]

_BLOCK = 4_000_000


def _check_alternative(alternative: str) -> None:
    if alternative not in ("two-sided", "greater", "less"):
        raise EmotionCircuitsError(f"alternative must be two-sided, greater or less, got {alternative!r}")


def permutation_ps(
    differences: ArrayLike,
    *,
    resamples: int = 10_000,
    alternative: Alternative = "two-sided",
    seed: int | np.random.Generator = 0,
) -> Float[np.ndarray, " condition"]:
    """Sign-flip test of paired differences, one p-value per condition.

    Under the null each prompt's difference is as likely to have either sign. All ``2^n`` sign patterns are used where
    they are no more than ``resamples``; otherwise ``p = (hits + 1) / (resamples + 1)`` (Phipson & Smyth 2010).

    Args:
        differences: ``[unit]`` or ``[unit, condition]``, one row per prompt.
        resamples: Monte-Carlo sign patterns.
        alternative: ``greater``: the mean difference is above 0.
        seed: seed or generator.

    Raises:
        EmotionCircuitsError: empty or not finite differences, or an unknown alternative.
    """
    _check_alternative(alternative)
    array = finite_matrix(differences, "permutation test")
    n = len(array)
    observed = array.sum(axis=0)
    # A pattern that ties with the data up to rounding counts as a hit.
    slack = 1e-9 * np.abs(array).sum(axis=0)
    exact = n <= 62 and 2**n <= resamples
    total = 2**n if exact else resamples
    hits = np.zeros(array.shape[1])
    rng = _generator(seed)
    step = max(1, _BLOCK // n)
    for start in range(0, total, step):
        rows = min(step, total - start)
        if exact:
            patterns = np.arange(start, start + rows, dtype=np.int64)
            bits = (patterns[:, None] >> np.arange(n, dtype=np.int64)) & 1
        else:
            bits = rng.integers(0, 2, size=(rows, n), dtype=np.int8)
        sums = (2.0 * bits - 1.0) @ array
        if alternative == "greater":
            hits += (sums >= observed - slack).sum(axis=0)
        elif alternative == "less":
            hits += (sums <= observed + slack).sum(axis=0)
        else:
            hits += (np.abs(sums) >= np.abs(observed) - slack).sum(axis=0)
    return hits / total if exact else (hits + 1) / (total + 1)  # type: ignore[no-any-return]


def permutation_p(
    differences: ArrayLike,
    *,
    resamples: int = 10_000,
    alternative: Alternative = "two-sided",
    seed: int | np.random.Generator = 0,
) -> float:
    """As :func:`permutation_ps` for one condition.

    Example:
        >>> permutation_p([1.0, 2.0, 3.0])  # 2 of 2^3 sign patterns are as extreme
        0.25
    """
    ps = permutation_ps(differences, resamples=resamples, alternative=alternative, seed=seed)
    if len(ps) != 1:
        raise EmotionCircuitsError("permutation_p takes one difference per prompt; for more, permutation_ps")
    return float(ps[0])
