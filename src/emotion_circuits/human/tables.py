"""Ratings as arrays: what the analysis reads, whether people gave them or a simulation did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["Pairs", "Ratings", "Singles"]


@dataclass(frozen=True)
class _Columns:
    """Arrays of one length, a row per rating."""

    def some(self, kept: Bool[np.ndarray, " rating"]) -> Self:
        """Some of them."""
        return replace(self, **{name: getattr(self, name)[kept] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Singles(_Columns):
    """Ratings of single texts; ``[rating]`` each.

    Attributes:
        rater: number of the rater.
        opening: number of the opening.
        text: number of the text.
        slot: arm and value of the text, by number.
        named: what was named: the number of a value, or that of none.
        intensity: 0 to 6.
        naturalness: 1 to 7.
    """

    rater: Int[np.ndarray, " rating"]
    opening: Int[np.ndarray, " rating"]
    text: Int[np.ndarray, " rating"]
    slot: Int[np.ndarray, " rating"]
    named: Int[np.ndarray, " rating"]
    intensity: Float[np.ndarray, " rating"]
    naturalness: Float[np.ndarray, " rating"]


@dataclass(frozen=True)
class Pairs(_Columns):
    """Comparisons of two texts on one opening; ``[rating]`` each.

    Attributes:
        rater: number of the rater.
        opening: number of the opening.
        value: number of the value asked about.
        first: slot of one text, by number.
        second: slot of the other one.
        score: 1 where the first one was taken, 0 where the second one was, 0.5 for a tie.
        left: whether the first one stood on the left.
    """

    rater: Int[np.ndarray, " rating"]
    opening: Int[np.ndarray, " rating"]
    value: Int[np.ndarray, " rating"]
    first: Int[np.ndarray, " rating"]
    second: Int[np.ndarray, " rating"]
    score: Float[np.ndarray, " rating"]
    left: Bool[np.ndarray, " rating"]


@dataclass(frozen=True)
class Ratings:
    """Everything that raters said of the run's texts.

    Attributes:
        singles: of single texts.
        pairs: of pairs.
    """

    singles: Singles
    pairs: Pairs

    def without(self, raters: set[int]) -> Ratings:
        """Without some raters."""
        out = np.array(sorted(raters), dtype=np.int64)
        return Ratings(
            self.singles.some(~np.isin(self.singles.rater, out)), self.pairs.some(~np.isin(self.pairs.rater, out))
        )
