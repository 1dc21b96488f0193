"""Steering along a dimension that people rate: the direction in which the values' ratings rise, and what it does to texts.

A dimension's direction is the sum of the values' unit directions, each weighted by its rating less the mean rating: what
pleasant values share and unpleasant ones lack. What a text is along it is read off a judge of the *values*: the mean rating of
what the judge sees in the text, counted from the mean of all values, so that a text with none of them is 0. The null is the
same sum with ratings permuted among the values: it pushes as hard, and knows all of the model's directions, but not which value
is pleasant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import bootstrap_mean_intervals, paired_difference, rank_p
from emotion_circuits.steering.conditions import NONE, Condition
from emotion_circuits.steering.finding import Place
from emotion_circuits.steering.scoring import aligned, per_prompt
from emotion_circuits.steering.vectors import SteeringVectors

__all__ = [
    "SIDES",
    "axis_arms",
    "axis_costs",
    "axis_directions",
    "axis_effects",
    "permuted_ratings",
    "rated",
    "with_ratings",
]

Ratings = Mapping[str, Mapping[str, float]]
"""Dimension → value → rating."""

SIDES = {"+": 1.0, "−": -1.0}
"""Towards high ratings and towards low ones."""


def rated(ratings: Mapping[str, float]) -> dict[str, float]:
    """Ratings counted from their mean.

    Example:
        >>> rated({"joy": 8.0, "fear": 2.0})
        {'joy': 3.0, 'fear': -3.0}
    """
    mean = sum(ratings.values()) / len(ratings)
    return {value: rating - mean for value, rating in ratings.items()}


def permuted_ratings(ratings: Ratings, draw: int, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Every dimension's ratings permuted among the values that have one.

    Args:
        ratings: dimension → value → rating.
        draw: number of the permutation.
        seed: of all of them.
    """
    rng = np.random.default_rng([seed, draw])
    return {
        dimension: dict(zip(own, rng.permutation(list(own.values())).tolist(), strict=True))
        for dimension, own in ratings.items()
    }


def axis_directions(vectors: SteeringVectors, ratings: Ratings) -> dict[str, Float[Tensor, "layer d_model"]]:
    """One direction per dimension and layer, of any length.

    Args:
        vectors: with a unit direction for every rated value.
        ratings: dimension → value → rating.

    Raises:
        EmotionCircuitsError: a rated value without a direction, or ratings that are all the same.
    """
    found = {}
    for dimension, given in ratings.items():
        absent = [value for value in given if value not in vectors.unit]
        if absent:
            raise EmotionCircuitsError(f"{dimension}: no direction of {', '.join(absent)}, which have a rating")
        weights = rated(given)
        if not any(weights.values()):
            raise EmotionCircuitsError(f"{dimension}: all values have the same rating, so there is no way along it")
        rows = torch.stack([vectors.unit[value].double() for value in weights])
        found[dimension] = torch.einsum("v,vld->ld", torch.tensor(list(weights.values())).double(), rows)
    return found


def axis_arms(names: Sequence[str], place: Place, *, null: bool = False) -> list[Condition]:
    """Every direction towards high and towards low ratings at one place, as hard as a value is pushed there.

    Args:
        names: of the directions, those of :func:`axis_directions` or of permuted ratings.
        place: where and how strongly.
        null: whether they are of permuted ratings.
    """
    return [
        Condition(
            name=f"{name} {side}", kind="shuffled" if null else "emotion", direction=name, layers=place.layers,
            alpha=sign * place.alpha, first=sign * place.first, positions="rest",
        )
        for name in names
        for side, sign in SIDES.items()
    ]  # fmt: skip


def with_ratings(scored: pd.DataFrame, ratings: Ratings) -> pd.DataFrame:
    """The table with columns ``judge <dimension>`` and, where words were counted, ``words <dimension>``.

    ``judge``: mean over the values of rating (counted from the mean of all) times the judge's probability. ``words``: mean
    rating of the text's lexicon words, 0 for a text without any.

    Args:
        scored: of :func:`emotion_circuits.steering.score_sweep`, with ``p_<value>`` and perhaps ``n_<value>``.
        ratings: dimension → value → rating.

    Raises:
        EmotionCircuitsError: the judge gives no probability of a rated value.
    """
    found = scored.copy()
    for dimension, given in ratings.items():
        weights = rated(given)
        absent = [value for value in weights if f"p_{value}" not in scored]
        if absent:
            raise EmotionCircuitsError(
                f"{dimension}: the judge knows nothing of {', '.join(absent)}, which have a rating"
            )
        of = np.array(list(weights.values()))
        found[f"judge {dimension}"] = scored[[f"p_{value}" for value in weights]].to_numpy(float) @ of
        if all(f"n_{value}" in scored for value in weights):
            counts = scored[[f"n_{value}" for value in weights]].to_numpy(float)
            found[f"words {dimension}"] = counts @ of / np.maximum(counts.sum(1), 1)
    return found


def axis_effects(
    scored: pd.DataFrame, dimensions: Sequence[str], permuted: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """What pushing along each dimension does to the ratings of the texts: towards high ones minus towards low ones.

    Args:
        scored: of :func:`with_ratings`: the unsteered texts, both sides of every dimension, and of every permuted one.
        dimensions: that were pushed along.
        permuted: what the permutations are called: direction ``<dimension> | <name>`` is that of a permutation.
        seed: of the intervals.

    Returns:
        One row per axis, dimension that is read and measure (``judge``, ``words``): ``change low high`` in units of the ratings,
        paired by opening; ``up`` and ``down``, what each side changes from the unsteered text; ``null_low null_high``, the
        middle 95 % of the permutations; ``p_permuted`` (share of permutations that do at least as much on the same openings,
        +1 rule), ``p`` (the larger of that and of the paired permutation test), ``n``.
    """
    rows = []
    for axis in dimensions:
        for read in dimensions:
            for measure in ("judge", "words"):
                column = f"{measure} {read}"
                if column not in scored:
                    continue
                up, down = aligned(scored, f"{axis} +", f"{axis} −", column)
                own = paired_difference(up, down, seed=seed)
                each = {
                    name: float(np.mean(np.subtract(*aligned(scored, f"{axis} {side}", NONE.name, column))))
                    for name, side in (("up", "+"), ("down", "−"))
                }
                null, p = _among(scored, axis, permuted, column)
                low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (float("nan"), float("nan"))
                rows.append(
                    {
                        "axis": axis, "read": read, "measure": measure, "change": own.estimate, "low": own.low, "high": own.high,
                        **each, "null_low": float(low), "null_high": float(high), "p_permuted": p,
                        "p": float(np.nanmax([own.p, p])), "n": own.n,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _among(scored: pd.DataFrame, axis: str, permuted: Sequence[str], column: str) -> tuple[np.ndarray, float]:
    """Changes of the permuted directions, and the rank of the real one's on the openings that both have."""
    if not permuted:
        return np.array([]), float("nan")
    apart = [_sides(scored, f"{axis} | {name}", column) for name in permuted]
    null = np.array([float(change.mean()) for change in apart])
    real = float(_sides(scored, axis, column).loc[apart[0].index].mean())
    return null, rank_p(real, null)


def _sides(scored: pd.DataFrame, name: str, column: str) -> pd.Series:
    """By opening: towards high ratings minus towards low ones."""
    return per_prompt(scored, f"{name} +", column) - per_prompt(scored, f"{name} −", column)


def axis_costs(scored: pd.DataFrame, dimensions: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Perplexity of each side of each dimension over that of the unsteered texts: ``axis side ratio low high``."""
    rows = []
    for axis in dimensions:
        for side in SIDES:
            a, b = aligned(scored, f"{axis} {side}", NONE.name, "nats")
            (found,) = bootstrap_mean_intervals(a - b, seed=seed)
            ends = np.exp([found.estimate, found.low, found.high])
            rows.append({"axis": axis, "side": side, **dict(zip(("ratio", "low", "high"), ends.tolist(), strict=True))})
    return pd.DataFrame(rows)
