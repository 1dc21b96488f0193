"""Strengths of arms from pairs: Bradley and Terry (1952), a tie as half a win for both."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

from emotion_circuits.human.two_ways import TwoWay, linear

__all__ = ["bradley_terry", "strengths"]

_STEPS = 100


def bradley_terry(wins: Float[np.ndarray, "arm arm"]) -> Float[np.ndarray, " arm"]:
    """Log strengths, those of the first arm being 0.

    Args:
        wins: how often the arm of the row was taken over that of the column, ties counted half for both.

    Example:
        >>> bradley_terry(np.array([[0.0, 10.0], [30.0, 0.0]])).round(3).tolist()
        [0.0, 1.099]
    """
    arms = len(wins)
    at = np.zeros(arms)
    for _ in range(_STEPS):
        expected = expit(at[:, None] - at[None, :])
        both = wins + wins.T
        slope = (wins - both * expected).sum(axis=1)[1:]
        step = np.linalg.solve(_curvature(both, expected)[1:, 1:], slope)
        at[1:] += np.clip(step, -2, 2)
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return at


def _curvature(
    both: Float[np.ndarray, "arm arm"], expected: Float[np.ndarray, "arm arm"]
) -> Float[np.ndarray, "arm arm"]:
    weight = both * expected * (1 - expected)
    found: Float[np.ndarray, "arm arm"] = np.diag(weight.sum(axis=1)) - weight
    return found


def strengths(
    first: Int[np.ndarray, " rating"], second: Int[np.ndarray, " rating"], score: Float[np.ndarray, " rating"],
    raters: Int[np.ndarray, " rating"], openings: Int[np.ndarray, " rating"], arms: int,
) -> list[TwoWay] | None:  # fmt: skip
    """Log strengths against the first arm, with intervals over raters and openings; ``None`` where arms are not connected.

    One tie is added to every pair of arms that was compared, so that an arm that always won has a strength, too.

    Args:
        first: arm of one text.
        second: arm of the other one.
        score: 1 where the first one was taken, 0 where the second one was, 0.5 for a tie.
        raters: whose.
        openings: of what.
        arms: how many.
    """
    wins = np.zeros((arms, arms))
    np.add.at(wins, (first, second), score)
    np.add.at(wins, (second, first), 1 - score)
    wins += 0.5 * ((wins + wins.T) > 0)
    if not _connected(wins + wins.T > 0):
        return None
    at = bradley_terry(wins)
    expected = expit(at[:, None] - at[None, :])
    inverse = np.linalg.inv(_curvature(wins + wins.T, expected)[1:, 1:])
    error = score - expit(at[first] - at[second])
    slopes = np.zeros((len(score), arms))
    rows = np.arange(len(score))
    slopes[rows, first] += error
    slopes[rows, second] -= error
    parts = slopes[:, 1:] @ inverse
    found = [TwoWay(0.0, 0.0, 0.0, 1.0, 0)]
    return found + [linear(float(at[i + 1]), parts[:, i], raters, openings) for i in range(arms - 1)]


def _connected(known: np.ndarray) -> bool:
    reached, waiting = {0}, [0]
    while waiting:
        for other in np.flatnonzero(known[waiting.pop()]).tolist():
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    return len(reached) == len(known)
