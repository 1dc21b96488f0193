"""What a study is asked: settings that every station shares, and the base of a station's own."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from emotion_circuits.prompts.schema import EMOTIONS

__all__ = ["Pooling", "ResidualKind", "Settings", "StudySettings"]

Pooling = Literal["last", "emotion", "mean", "weighted", "frame"]
ResidualKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]


class Settings(BaseModel):
    """Settings of one station: every key is known, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


class StudySettings(Settings):
    """What all stations of a study share; the whole configuration adds one field per station, named after it.

    Attributes:
        model: bundled name, hub id, folder or GGUF file.
        revision: hub revision.
        device: ``cpu``, ``cuda`` …; default: what there is.
        dtype: parameter dtype; default by device.
        prompts: corpora (bundled names or JSONL files) directions are fitted and tested on.
        continuations: corpus of neutral openings.
        emotions: which labels are studied (``neutral`` is always the reference).
        seed: fixes everything that is drawn.
    """

    model: str = "smollm2-135m"
    revision: str | None = None
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "float64"] | None = None
    prompts: tuple[str, ...] = ("core", "implicit", "scenarios", "implicit-fresh")
    continuations: str = "continuations"
    emotions: tuple[str, ...] = EMOTIONS
    seed: int = Field(default=0, ge=0)

    @field_validator("emotions")
    @classmethod
    def _some_emotions(cls, emotions: tuple[str, ...]) -> tuple[str, ...]:
        if not emotions or len(set(emotions)) != len(emotions) or "neutral" in emotions:
            raise ValueError("name at least one emotion, each once, and not 'neutral', which is the reference")
        return emotions

    def of(self, kind: type[S]) -> S:
        """A station's own settings, by their class."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, kind):
                return value
        raise KeyError(f"no station with {kind.__name__} belongs to this study")
