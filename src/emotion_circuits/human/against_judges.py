"""A run's judges beside people, on the same texts: absolute agreement, and whether a probability is a share of readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict

from emotion_circuits.human.records import Study
from emotion_circuits.human.tables import Ratings
from emotion_circuits.statistics import resample_counts

__all__ = ["Bin", "Judged", "against_judges", "icc"]

_DRAWS = 1000
_BINS = 5


class Bin(BaseModel):
    """Texts with like probabilities.

    Attributes:
        judge: mean probability.
        people: mean share of raters who name the value.
        texts: how many.
    """

    model_config = ConfigDict(frozen=True)

    judge: float
    people: float
    texts: int


class Judged(BaseModel):
    """One judge and one value.

    Attributes:
        judge: name.
        value: named.
        icc: absolute agreement of the judge's probability and the share of raters, ICC(A,1) of McGraw & Wong (1996).
        interval: 95 %, openings resampled; ``None`` where nothing varies.
        bias: mean of the judge minus mean of people.
        texts: how many.
        curve: calibration, by fifths of the judge's probability.
    """

    model_config = ConfigDict(frozen=True)

    judge: str
    value: str
    icc: float | None
    interval: tuple[float, float] | None
    bias: float
    texts: int
    curve: tuple[Bin, ...]


def icc(
    a: Float[np.ndarray, " text"], b: Float[np.ndarray, " text"], weights: Float[np.ndarray, "draw text"]
) -> Float[np.ndarray, " draw"]:
    """Absolute agreement of two measures of the same texts, single measures, per row of weights; NaN where nothing varies.

    Args:
        a: one measure.
        b: the other one.
        weights: how often each text counts.

    Example:
        >>> x = np.array([0.0, 0.5, 1.0])
        >>> icc(x, x, np.ones((1, 3))).tolist(), icc(x, x + 1, np.ones((1, 3))).round(3).tolist()
        ([1.0], [0.333])
    """
    n = weights.sum(axis=1)
    rows = (a + b) / 2
    mean, first, second = (weights @ x / n for x in (rows, a, b))
    of_texts = 2 * (weights * (rows - mean[:, None]) ** 2).sum(axis=1) / (n - 1)
    of_measures = n * ((first - mean) ** 2 + (second - mean) ** 2)
    rest = a - rows - (first - mean)[:, None]
    error = 2 * (weights * rest**2).sum(axis=1) / (n - 1)
    below = of_texts + error + 2 * (of_measures - error) / n
    found: Float[np.ndarray, " draw"] = np.where(
        below > 1e-12, (of_texts - error) / np.where(below > 1e-12, below, 1), np.nan
    )
    return found


def against_judges(study: Study, ratings: Ratings, *, seed: int = 0) -> list[Judged]:
    """Every judge that scored the texts, by value.

    Args:
        study: with its key.
        ratings: those that count.
        seed: of the resampling.
    """
    names, sources = sorted(study.key.texts), study.key.texts
    s = ratings.singles
    texts = np.unique(s.text)
    place = np.searchsorted(texts, s.text)
    rated = np.bincount(place, minlength=len(texts))
    judges = sorted({judge for name in names for judge in sources[name].judges})
    found = []
    for judge in judges:
        for number, value in enumerate(study.design.values):
            scores = [sources[names[t]].judges.get(judge, {}).get(value) for t in texts]
            known = np.array([score is not None for score in scores], dtype=bool)
            if known.sum() < 8:
                continue
            people = np.bincount(place, s.named == number, minlength=len(texts)) / rated
            judged = np.array([score for score in scores if score is not None])
            prompts = [sources[names[t]].prompt_id for t in texts[known]]
            _, openings = np.unique(prompts, return_inverse=True)
            found.append(_judged(judge, value, judged, people[known], openings, seed))
    return found


def _judged(
    judge: str, value: str, judged: Float[np.ndarray, " text"], people: Float[np.ndarray, " text"],
    openings: Int[np.ndarray, " text"], seed: int,
) -> Judged:  # fmt: skip
    n = int(openings.max()) + 1
    drawn = resample_counts(n, _DRAWS, [seed, 7])
    whole = float(icc(judged, people, np.ones((1, len(judged))))[0])
    some = icc(judged, people, drawn[:, openings].astype(float))
    ends = None if np.isnan(some).all() else tuple(float(q) for q in np.nanquantile(some, [0.025, 0.975]))
    return Judged(
        judge=judge, value=value, icc=None if np.isnan(whole) else whole, interval=ends,  # type: ignore[arg-type]
        bias=float(judged.mean() - people.mean()), texts=len(judged), curve=_curve(judged, people),
    )  # fmt: skip


def _curve(judged: Float[np.ndarray, " text"], people: Float[np.ndarray, " text"]) -> tuple[Bin, ...]:
    order: Sequence[np.ndarray] = np.array_split(np.argsort(judged, kind="stable"), min(_BINS, len(judged)))
    return tuple(
        Bin(judge=float(judged[part].mean()), people=float(people[part].mean()), texts=len(part)) for part in order
    )
