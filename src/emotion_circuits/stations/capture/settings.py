"""What the capture station can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.settings import Pooling, ResidualKind, Settings, StudySettings

if TYPE_CHECKING:
    from emotion_circuits.model import LanguageModel

__all__ = ["CaptureSettings", "possible"]


class CaptureSettings(Settings):
    """Which states are recorded.

    Attributes:
        kinds: residual-stream site kinds.
        poolings: ``last`` (sentence end), ``emotion`` (emotion words), ``mean``, ``weighted``, ``frame`` (the state after
            the words " I feel").
        batch_tokens: tokens per forward pass (memory).
    """

    kinds: tuple[ResidualKind, ...] = ("resid_post",)
    poolings: tuple[Pooling, ...] = ("last", "emotion", "mean", "frame")
    batch_tokens: int = Field(default=1024, ge=16)


def possible(config: StudySettings, model: LanguageModel) -> None:
    """Refuse site kinds that a model does not have.

    Raises:
        EmotionCircuitsError: naming the kinds it has.
    """
    if "resid_mid" in config.of(CaptureSettings).kinds and not model.has_resid_mid:
        raise EmotionCircuitsError(
            f"capture.kinds: resid_mid does not exist in {model.name}, whose blocks run attention and MLP in parallel; "
            "choose from resid_pre, resid_post, attn_out, mlp_out"
        )
