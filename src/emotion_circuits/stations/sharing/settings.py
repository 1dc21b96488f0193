"""What the sharing station can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.record.settings import Settings

__all__ = ["SharingSettings"]


class SharingSettings(Settings):
    """How heads and circuits of one model are compared.

    Attributes:
        draws: permutations of heads within layers; with N of them no p-value is below 1/(N + 1).
        halvings: random halves of the groups per figure.
        resamples: of the bootstrap over groups.
        strongest: numbers of strongest heads whose Jaccard index is told.
        circuits: also run every supported circuit on the other runs' pairs, which loads the model.
        samples: random circuits of either kind beside each of them.
    """

    draws: int = Field(default=999, ge=199)
    halvings: int = Field(default=50, ge=10)
    resamples: int = Field(default=500, ge=100)
    strongest: tuple[int, ...] = (5, 10, 20)
    circuits: bool = True
    samples: int = Field(default=99, ge=99)
