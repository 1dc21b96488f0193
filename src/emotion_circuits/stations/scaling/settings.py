"""What the scaling station can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.record.settings import Pooling, Settings

__all__ = ["ScalingSettings"]


class ScalingSettings(Settings):
    """How models are compared.

    Attributes:
        pooling: which states of a sentence.
        corpora: of whose sentences; null: of all that every run captured.
        axes: principal axes that states are read from, the same number in every model.
        resamples: of the bootstrap over scenes, which are drawn together for all models.
        ratio: perplexity ratio at which steering is compared.
    """

    pooling: Pooling = "mean"
    corpora: tuple[str, ...] | None = None
    axes: int = Field(default=64, ge=2)
    resamples: int = Field(default=1000, ge=100)
    ratio: float = Field(default=1.25, gt=1)
