"""What the transfer station can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.record.settings import Pooling, Settings

__all__ = ["TransferSettings"]


class TransferSettings(Settings):
    """How directions are carried over.

    Attributes:
        pooling: which states of a sentence.
        draws: shuffles of labels, each choosing its own layer; with N of them no p-value is below 1/(N + 1).
        resamples: of the bootstrap over groups of test sentences.
        corpora: of whose sentences; null: of all that a run captured.
    """

    pooling: Pooling = "mean"
    draws: int = Field(default=500, ge=20)
    resamples: int = Field(default=1000, ge=100)
    corpora: tuple[str, ...] | None = None
