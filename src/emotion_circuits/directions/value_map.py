"""How the values of an attribute lie to one another: their distances, their first axes, and what people say of them.

A value's vector is the mean over groups of its states minus those of the reference sentence of the same group, or without a
reference minus the mean of the other values' sentences there, so that what scenes share cancels. Axes are fitted on training
sentences and read on test sentences. Whether one of them is valence or arousal is asked of the values' ratings: the axis is
chosen, and given its sign, on training vectors, and its correlation with the ratings is read on test vectors. Two nulls go
through the same choice: ratings permuted among the values, and vectors of labels that were shuffled within groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.contrast import compared_with, labels_of

__all__ = [
    "AXES", "Aligned", "Placed", "aligned_axes", "ceiling", "distances", "map_of", "principal_axes", "value_vectors",
]  # fmt: skip

AXES = 4
"""Leading axes among which the one of a dimension is looked for."""
_LEAST = 6
"""Values with a rating without which nothing is asked."""


@dataclass(frozen=True, eq=False)
class Placed:
    """States of one layer, or any other vectors of texts, of both splits.

    Attributes:
        states: ``[row, d]``.
        labels: of each row.
        groups: of each row.
        train: whether the row is a training sentence; the others are test sentences.
        values: in their order.
        reference: label that is subtracted; ``None``: the mean of the other values.
    """

    states: Float[np.ndarray, "row d"]
    labels: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    values: tuple[str, ...]
    reference: str | None

    def vectors(self, labels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The values' vectors ``[value, d]`` on training and on test sentences, with other labels where they are given."""
        named = self.labels if labels is None else labels
        return tuple(  # type: ignore[return-value]
            value_vectors(self.states[rows], named[rows], self.groups[rows], self.values, self.reference)
            for rows in (self.train, ~self.train)
        )

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Labels permuted within groups."""
        order = np.lexsort((rng.random(len(self.groups)), self.groups))
        inside = np.argsort(self.groups, kind="stable")
        found = self.labels.copy()
        found[inside] = self.labels[order]
        return found


def value_vectors(
    states: Float[np.ndarray, "row d"],
    labels: np.ndarray,
    groups: np.ndarray,
    values: tuple[str, ...],
    reference: str | None,
) -> Float[np.ndarray, "value d"]:
    """Mean over groups of a value's state minus that of what it is compared with there, each label counting the same.

    Raises:
        EmotionCircuitsError: a value that stands with nothing to compare it with in any group.
    """
    # A mean of differences is a weighted sum of the rows: one product.
    _, place = np.unique(groups, return_inverse=True)
    size = int(place.max()) + 1
    counts = {name: np.bincount(place[labels == name], minlength=size) for name in labels_of(values, reference)}
    weights = np.zeros((len(values), len(states)))
    for index, value in enumerate(values):
        compared = compared_with(value, values, reference)
        present = np.sum([counts[name] > 0 for name in compared], axis=0)
        rows = (labels == value) & (present[place] > 0)
        if not rows.any():
            raise EmotionCircuitsError(f"no group holds both a {value!r} and a sentence of {' or '.join(compared)}")
        weights[index, rows] = 1 / rows.sum()
        often = np.bincount(place[rows], minlength=size)
        for name in compared:
            calm = labels == name
            weights[index, calm] -= (often / np.maximum(counts[name] * present, 1))[place[calm]] / rows.sum()
    return weights @ states  # type: ignore[no-any-return]


def distances(vectors: Float[np.ndarray, "value d"]) -> Float[np.ndarray, "value value"]:
    """One minus the cosine of the vectors, their mean taken off.

    Example:
        >>> distances(np.array([[1.0, 0.0], [-1.0, 0.0]])).tolist()
        [[0.0, 2.0], [2.0, 0.0]]
    """
    centred = vectors - vectors.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return 1 - unit @ unit.T  # type: ignore[no-any-return]


def ceiling(train: Float[np.ndarray, "value d"], test: Float[np.ndarray, "value d"]) -> float:
    """Rank correlation of the distances on two sets of sentences: what no explanation of them can surpass by much."""
    upper = np.triu_indices(len(train), 1)
    a, b = (rankdata(distances(v)[upper]) for v in (train, test))
    return float(np.corrcoef(a, b)[0, 1])


def principal_axes(vectors: Float[np.ndarray, "value d"], count: int = AXES) -> Float[np.ndarray, "axis d"]:
    """The leading axes of the vectors around their mean, of unit length."""
    _, _, axes = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    return axes[: min(count, len(vectors) - 1)]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Aligned:
    """One dimension of ratings beside the axis that was chosen for it.

    Attributes:
        dimension: e.g. ``valence``.
        axis: which of the leading axes, counted from 0.
        values: that have a rating.
        scores: their place along the axis on test sentences, towards the rating.
        ratings: what people said.
        r: Pearson's correlation of both.
        low: lower end of its 95 % interval, over values.
        high: upper end.
        p: share of permuted ratings whose own axis correlates at least as much (+1 rule).
    """

    dimension: str
    axis: int
    values: tuple[str, ...]
    scores: Float[np.ndarray, " value"]
    ratings: Float[np.ndarray, " value"]
    r: float
    low: float
    high: float
    p: float


def aligned_axes(
    train: Float[np.ndarray, "value d"],
    test: Float[np.ndarray, "value d"],
    values: tuple[str, ...],
    ratings: Mapping[str, Mapping[str, float]],
    *,
    axes: int = AXES,
    draws: int = 999,
    seed: int = 0,
) -> list[Aligned]:
    """The leading axes of training vectors against ratings, on test vectors.

    Args:
        train: values' vectors on training sentences.
        test: on test sentences.
        values: in the order of the vectors.
        ratings: dimension → value → rating; values without one are left out of that dimension.
        axes: how many leading axes are looked at.
        draws: permutations of the ratings, and resamples of the values.
        seed: of both.

    Raises:
        EmotionCircuitsError: fewer than six values have a rating.
    """
    leading = principal_axes(train, axes)
    scores = [(v - train.mean(0)) @ leading.T for v in (train, test)]
    found = []
    for dimension, given in ratings.items():
        rows = [i for i, value in enumerate(values) if value in given]
        if len(rows) < _LEAST:
            raise EmotionCircuitsError(f"{dimension}: {len(rows)} values have a rating, {_LEAST} are needed")
        rng = np.random.default_rng(seed)
        y = np.array([given[values[i]] for i in rows])
        permuted = np.stack([y, *(rng.permutation(y) for _ in range(draws))])
        r, axis, sign = _through_choice(scores[0][rows], scores[1][rows], permuted)
        own = sign[0] * scores[1][rows][:, axis[0]]
        picks = rng.integers(0, len(rows), (draws, len(rows)))
        drawn = _pearson(own[picks], y[picks])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        p = float((r >= r[0] - 1e-12).mean())
        named = tuple(values[i] for i in rows)
        found.append(Aligned(dimension, int(axis[0]), named, own, y, float(r[0]), float(low), float(high), p))
    return found


def _through_choice(
    train: Float[np.ndarray, "value axis"],
    test: Float[np.ndarray, "value axis"],
    ratings: Float[np.ndarray, "draw value"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each set of ratings: the test correlation of the axis that fits best on train, that axis, and its sign."""
    a, b = (_pearson(s.T[None], ratings[:, None]) for s in (train, test))
    axis = np.abs(a).argmax(1)
    rows = np.arange(len(ratings))
    sign = np.where(a[rows, axis] < 0, -1.0, 1.0)
    return sign * b[rows, axis], axis, sign


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation along the last axis; 0 where one side does not vary."""
    x, y = (v - v.mean(-1, keepdims=True) for v in (a, b))
    spread = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return (x * y).sum(-1) / np.where(spread > 0, spread, 1.0)  # type: ignore[no-any-return]


def map_of(
    placed: Placed, ratings: Mapping[str, Mapping[str, float]], *, draws: int = 999, shuffles: int = 99, seed: int = 0
) -> tuple[list[Aligned], pd.DataFrame, float]:
    """The alignment of one layer's vectors, what shuffled labels give, and the noise ceiling of their distances.

    Args:
        placed: states of a layer.
        ratings: dimension → value → rating.
        draws: permutations and resamples.
        shuffles: of the labels within groups.
        seed: of everything random.

    Returns:
        Alignments; a table ``dimension, low, high`` of the middle 95 % of correlations with labels shuffled; the ceiling.
    """
    train, test = placed.vectors()
    found = aligned_axes(train, test, placed.values, ratings, draws=draws, seed=seed)
    rng = np.random.default_rng(seed + 1)
    drawn: dict[str, list[float]] = {dimension: [] for dimension in ratings}
    for _ in range(shuffles):
        for one in aligned_axes(*placed.vectors(placed.shuffled(rng)), placed.values, ratings, draws=1, seed=seed):
            drawn[one.dimension].append(one.r)
    rows = [(name, *np.quantile(values, [0.025, 0.975])) for name, values in drawn.items() if values]
    return found, pd.DataFrame(rows, columns=["dimension", "low", "high"]), ceiling(train, test)
