"""Power of the *verdict*, before the run: how often a claim with a true effect comes out supported.

The whole rule is simulated, since a claim has more to pass than its test: the interval must lie beyond 0, the effect must stand
out among what the null gives (random directions, which differ among themselves), and the larger of both p-values must hold after
the correction in the family. Units are normal; their differences have a spread of 1, so effects are standardised (``d``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics.claims import ALPHA
from emotion_circuits.statistics.coverage import Rate, rate
from emotion_circuits.statistics.intervals import ends_of_means
from emotion_circuits.statistics.power import required_n

__all__ = ["Verdicts", "verdict_effect", "verdict_n", "verdict_power"]

_LARGEST_N = 20_000


class Verdicts(NamedTuple):
    """What a family of claims goes through.

    Attributes:
        tests: tests in the family.
        true: how many of them have the effect; the others have none.
        draws: figures the null gives each of them (random directions); 0: there is no null.
        null_spread: standard deviation of the null's true effects, in units of the differences' spread: 0 where random directions
            do nothing but chance.
    """

    tests: int = 1
    true: int = 1
    draws: int = 0
    null_spread: float = 0.0

    def check(self) -> None:
        """Refuse families that cannot be.

        Raises:
            EmotionCircuitsError: counts that do not fit, or a null too small to let any effect through, however large.
        """
        if not 1 <= self.true <= self.tests:
            raise EmotionCircuitsError(
                f"of {self.tests} tests, {self.true} cannot have an effect: give 1 to {self.tests}"
            )
        if self.draws < 0 or self.null_spread < 0 or not math.isfinite(self.null_spread):
            raise EmotionCircuitsError("draws and the null's spread cannot be below 0")
        least = self.tests / (self.true * (self.draws + 1))
        if self.draws and least > ALPHA:
            needed = math.ceil(self.tests / (self.true * ALPHA)) - 1
            raise EmotionCircuitsError(
                f"a null of {self.draws} draws gives no p below 1/{self.draws + 1}: with {self.true} of {self.tests} tests true, "
                f"q stays above {ALPHA:g} whatever the effect. Plan at least {needed} draws, or a smaller family"
            )


_ONE = Verdicts()


def verdict_power(
    effect: float, n: int, family: Verdicts = _ONE, *, repeats: int = 2000, seed: int = 0
) -> Rate:  # fmt: skip
    """Share of simulated families' true claims that are supported, with its exact interval.

    Args:
        effect: standardised paired effect of the true ones, above 0 (the claimed side).
        n: prompts.
        family: the family.
        repeats: simulated true claims.
        seed: of the simulation.

    Raises:
        EmotionCircuitsError: fewer than 2 prompts, or a family that cannot be.

    Example:
        >>> found = verdict_power(0.5, 34)
        >>> 0.76 < found.rate < 0.84  # the test alone has 0.81
        True
    """
    family.check()
    if n < 2:
        raise EmotionCircuitsError(f"a paired test needs at least 2 prompts, got {n}")
    if not math.isfinite(effect):
        raise EmotionCircuitsError(f"the effect size must be finite, got {effect}")
    families = math.ceil(repeats / family.true)
    hits = _supported(effect, n, family, families, np.random.default_rng(seed))
    return rate(int(hits.sum()), hits.size)


def _supported(
    effect: float, n: int, family: Verdicts, families: int, rng: np.random.Generator
) -> Bool[np.ndarray, "family true"]:
    """Verdicts of the true claims of every family."""
    x = rng.normal(size=(n, families * family.true)) + effect
    mean, error = x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(n)
    # The sign-flip test has the power of the t-test; the p of the claimed side, as `draft` has it.
    p = 2 * t.sf(np.abs(mean / error), n - 1)
    p = np.where(mean > 0, p, 1 - p / 2).reshape(families, family.true)
    low = ends_of_means(x)[0].reshape(families, family.true)
    others = rng.uniform(size=(families, family.tests - family.true))
    if family.draws:
        p = np.maximum(p, _ranks(mean.reshape(families, family.true), n, family, rng))
        # A null claim is one of its own null's draws.
        ranks = np.ceil(rng.uniform(size=others.shape) * (family.draws + 1)) / (family.draws + 1)
        others = np.maximum(others, ranks)
    q = _corrected(np.concatenate([p, others], axis=1))[:, : family.true]
    supported: Bool[np.ndarray, "family true"] = (low > 0) & (q <= ALPHA)
    return supported


def _ranks(
    means: Float[np.ndarray, "family true"], n: int, family: Verdicts, rng: np.random.Generator
) -> Float[np.ndarray, "family true"]:
    """Rank p of each mean among its null's figures, measured on as many prompts."""
    spread = math.hypot(family.null_spread, 1 / math.sqrt(n))
    null = rng.normal(scale=spread, size=(*means.shape, family.draws))
    found: Float[np.ndarray, "family true"] = (1 + (null >= means[..., None]).sum(axis=-1)) / (family.draws + 1)
    return found


def _corrected(p: Float[np.ndarray, "family test"]) -> Float[np.ndarray, "family test"]:
    """Benjamini & Hochberg's q of every family at once."""
    order = np.argsort(p, axis=1)
    scaled = np.take_along_axis(p, order, axis=1) * p.shape[1] / np.arange(1, p.shape[1] + 1)
    least = np.minimum(np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1], 1)
    q = np.empty_like(p)
    np.put_along_axis(q, order, least, axis=1)
    return q


def verdict_n(
    effect: float, family: Verdicts = _ONE, *, power: float = 0.8, repeats: int = 2000, seed: int = 0
) -> int:  # fmt: skip
    """Prompts with which a true claim is supported with the given power.

    The search begins at the number that the test alone needs (:func:`emotion_circuits.statistics.required_n`).

    Args:
        effect: standardised paired effect, above 0.
        family: the family.
        power: wanted share of true claims supported.
        repeats: simulated claims per number of prompts.
        seed: of the simulation; the same for every number of prompts.

    Raises:
        EmotionCircuitsError: an effect that no number of prompts supports: not above 0, or no clearer than the null's spread.

    Example:
        >>> 30 <= verdict_n(0.5) <= 38
        True
    """
    family.check()
    if not effect > 0:
        raise EmotionCircuitsError(
            f"no number of prompts supports an effect of {effect}: give its size on the claimed side"
        )

    def reached(n: int) -> bool:
        return verdict_power(effect, n, family, repeats=repeats, seed=seed).rate >= power

    high = max(8, required_n(effect, power=power))
    low = 7
    while not reached(high):
        low, high = high, math.ceil(high * 1.4)
        if high > _LARGEST_N:
            raise EmotionCircuitsError(
                f"no number of prompts up to {_LARGEST_N} supports an effect of {effect:g} with power {power:g}, where null "
                f"effects spread by {family.null_spread:g}: the effect must stand out among them, not only be measured well"
            )
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def verdict_effect(
    n: int, family: Verdicts = _ONE, *, power: float = 0.8, repeats: int = 2000, seed: int = 0
) -> float:  # fmt: skip
    """Smallest standardised effect that is supported with the given power, to two digits.

    Args:
        n: prompts, at least 8.
        family: the family.
        power: wanted share of true claims supported.
        repeats: simulated claims per effect.
        seed: of the simulation.
    """
    low, high = 0.0, 1.0
    while verdict_power(high, n, family, repeats=repeats, seed=seed).rate < power:
        low, high = high, high * 2
        if high > 1000:
            raise EmotionCircuitsError(f"no effect is supported with {n} prompts")
    while high - low > 0.005:
        middle = (low + high) / 2
        reached = verdict_power(middle, n, family, repeats=repeats, seed=seed).rate >= power
        low, high = (low, middle) if reached else (middle, high)
    return round(high, 2)
