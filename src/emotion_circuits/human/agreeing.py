"""How far raters agree: Krippendorff's alpha, resampled by text and by rater."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from emotion_circuits.statistics import resample_counts

__all__ = ["Agreement", "Scale", "alpha", "alpha_with_intervals"]

Scale = Literal["nominal", "ordinal", "interval"]
_DRAWS = 1000


class Agreement(NamedTuple):
    """Agreement on one scale.

    Attributes:
        alpha: 1 is agreement, 0 is what chance gives; NaN where nothing could differ.
        by_text: 95 %, texts resampled: how far it would be another on other texts.
        by_rater: 95 %, raters resampled.
        texts: with two ratings or more.
        raters: of these.
    """

    alpha: float
    by_text: tuple[float, float]
    by_rater: tuple[float, float]
    texts: int
    raters: int


def alpha(table: Int[np.ndarray, "rater text"], scale: Scale) -> float:
    """Krippendorff's alpha (2011), with missing ratings.

    Args:
        table: number of the category, from 0 and in order where the scale has one; −1: not rated.
        scale: what a difference is.

    Example:
        >>> round(alpha(np.array([[0, 1, 2, -1], [0, 1, 2, 3], [0, 2, 2, 3]]), "ordinal"), 3)
        0.92
    """
    given = _given(table)
    return float(_alpha(_coincidences(given, np.ones((1, len(table)))).sum(axis=1), scale)[0])


def alpha_with_intervals(table: Int[np.ndarray, "rater text"], scale: Scale, *, seed: int = 0) -> Agreement:
    """Alpha with both bootstraps.

    Args:
        table: as of :func:`alpha`.
        scale: as of :func:`alpha`.
        seed: of the resampling.
    """
    table = table[:, (table >= 0).sum(axis=0) >= 2]
    table = table[(table >= 0).any(axis=1)]
    raters, texts = table.shape
    nothing = (float("nan"), float("nan"))
    if raters < 2 or texts < 2:
        return Agreement(float("nan"), nothing, nothing, texts, raters)
    given, rng = _given(table), np.random.default_rng([seed, 6])
    each = _coincidences(given, np.ones((1, raters)))[0]
    by_text = _alpha(np.einsum("dt,tij->dij", resample_counts(texts, _DRAWS, rng).astype(float), each), scale)
    by_rater = np.concatenate(
        [
            _alpha(_coincidences(given, part).sum(axis=1), scale)
            for part in np.array_split(resample_counts(raters, _DRAWS, rng).astype(float), 20)
        ]
    )
    return Agreement(float(_alpha(each.sum(axis=0)[None], scale)[0]), _ends(by_text), _ends(by_rater), texts, raters)


def _ends(drawn: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _given(table: Int[np.ndarray, "rater text"]) -> Float[np.ndarray, "rater text category"]:
    found: Float[np.ndarray, "rater text category"] = (
        table[:, :, None] == np.arange(int(table.max(initial=0)) + 1)
    ).astype(float)
    return found


def _coincidences(
    given: Float[np.ndarray, "rater text category"], weights: Float[np.ndarray, "draw rater"]
) -> Float[np.ndarray, "draw text category category"]:
    """Pairs of ratings of a text by two different raters, each text counting as often as it was rated.

    A rater who is drawn twice is no second opinion: pairs of a rater with themselves are left out, and the text keeps its weight.
    """
    raters, texts, categories = given.shape
    flat = given.reshape(raters, -1)
    sums = (weights @ flat).reshape(len(weights), texts, categories)
    squares = (weights**2 @ flat).reshape(len(weights), texts, categories)
    pairs = sums[..., :, None] * sums[..., None, :]
    places = np.arange(categories)
    pairs[..., places, places] -= squares
    rated, self_pairs = sums.sum(axis=-1), squares.sum(axis=-1)
    possible = rated**2 - self_pairs
    scale = np.where(possible > 1e-9, rated / np.where(possible > 1e-9, possible, 1), 0)
    found: Float[np.ndarray, "draw text category category"] = pairs * scale[..., None, None]
    return found


def _alpha(pairs: Float[np.ndarray, "draw category category"], scale: Scale) -> Float[np.ndarray, " draw"]:
    counts = pairs.sum(axis=2)
    n = counts.sum(axis=1)
    distance = _distance(counts, scale)
    observed = (pairs * distance).sum(axis=(1, 2))
    expected = (counts[:, :, None] * counts[:, None, :] * distance).sum(axis=(1, 2))
    found: Float[np.ndarray, " draw"] = np.where(
        expected > 0, 1 - (n - 1) * observed / np.where(expected > 0, expected, 1), np.nan
    )
    return found


def _distance(counts: Float[np.ndarray, "draw category"], scale: Scale) -> Float[np.ndarray, "draw category category"]:
    draws, categories = counts.shape
    at = np.arange(categories)
    if scale == "nominal":
        plain = (at[:, None] != at[None, :]).astype(float)
        return np.broadcast_to(plain, (draws, categories, categories))
    if scale == "interval":
        plain = (at[:, None] - at[None, :]).astype(float) ** 2
        return np.broadcast_to(plain, (draws, categories, categories))
    # Ranks that lie between two categories, half of both ends.
    middle = np.cumsum(counts, axis=1) - counts / 2
    found: Float[np.ndarray, "draw category category"] = (middle[:, :, None] - middle[:, None, :]) ** 2
    return found
