"""Power before the run: how many prompts an effect of a given size needs.

The test planned for is the paired one (:func:`emotion_circuits.statistics.paired_difference`); its permutation p-value
has the power of the paired t-test, which statsmodels gives in closed form.
"""

from __future__ import annotations

import math

from statsmodels.stats.power import TTestPower

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.permutation import Alternative

__all__ = ["power", "required_n", "smallest_effect"]

_SIDES = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}


def _level(alpha: float, tests: int) -> float:
    if not 0 < alpha < 1:
        raise EmotionCircuitsError(f"alpha must lie between 0 and 1, got {alpha}")
    if tests < 1:
        raise EmotionCircuitsError(f"a family holds at least 1 test, got {tests}")
    return alpha / tests


def power(d: float, n: int, *, alpha: float = 0.05, tests: int = 1, alternative: Alternative = "two-sided") -> float:
    """Probability that an effect of size ``d`` is detected with ``n`` prompts.

    Args:
        d: standardised paired effect (mean difference over the standard deviation of differences).
        n: prompts.
        alpha: level of the family.
        tests: tests in the family; planned with Bonferroni's share ``alpha / tests``, so the false-discovery
            correction that is used afterwards has at least this power for the family's strongest effect.
        alternative: of the test.
    """
    level = _level(alpha, tests)
    if n < 2:
        raise EmotionCircuitsError(f"a paired test needs at least 2 prompts, got {n}")
    if not math.isfinite(d):
        raise EmotionCircuitsError(f"the effect size must be finite, got {d}")
    return float(TTestPower().power(d, n, level, alternative=_SIDES[alternative]))


def required_n(
    d: float, *, power: float = 0.8, alpha: float = 0.05, tests: int = 1, alternative: Alternative = "two-sided"
) -> int:
    """Smallest number of prompts that detects an effect of size ``d`` with the given power.

    Args:
        d: standardised paired effect, not 0 (for one-sided alternatives of the right sign).
        power: wanted probability of detection.
        alpha: level of the family.
        tests: tests in the family (see :func:`power`).
        alternative: of the test.

    Raises:
        EmotionCircuitsError: an effect of 0 or of the wrong sign, or one that needs more than ten million prompts.

    Example:
        >>> required_n(0.5)
        34
    """
    detect = globals()["power"]
    if not 0 < power < 1:
        raise EmotionCircuitsError(f"power must lie between 0 and 1, got {power}")
    wrong = d == 0 or (alternative == "greater" and d < 0) or (alternative == "less" and d > 0)
    if wrong or not math.isfinite(d):
        raise EmotionCircuitsError(f"no number of prompts detects an effect of size {d} ({alternative})")
    low, high = 1, 2
    while detect(d, high, alpha=alpha, tests=tests, alternative=alternative) < power:
        low, high = high, high * 2
        if high > 10_000_000:
            raise EmotionCircuitsError(f"an effect of size {d} needs more than ten million prompts")
    while high - low > 1:
        middle = (low + high) // 2
        reached = detect(d, middle, alpha=alpha, tests=tests, alternative=alternative) >= power
        low, high = (low, middle) if reached else (middle, high)
    return high


def smallest_effect(
    n: int, *, power: float = 0.8, alpha: float = 0.05, tests: int = 1, alternative: Alternative = "two-sided"
) -> float:
    """Smallest standardised effect that ``n`` prompts detect with the given power."""
    if n < 2:
        raise EmotionCircuitsError(f"a paired test needs at least 2 prompts, got {n}")
    sign = -1.0 if alternative == "less" else 1.0
    solved = TTestPower().solve_power(
        effect_size=None, nobs=n, alpha=_level(alpha, tests), power=power,
        alternative="larger" if alternative == "less" else _SIDES[alternative],
    )  # fmt: skip
    return sign * float(solved)
