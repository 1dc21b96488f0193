"""What a study is asked: settings that every station shares, and the base of a station's own."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

__all__ = ["Pooling", "ResidualKind", "Settings", "StudySettings"]

Pooling = Literal["last", "emotion", "mean", "weighted", "frame"]
ResidualKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]


class Settings(BaseModel):
    """Settings of one station: every key is known, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)
Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]


class StudySettings(Settings):
    """What all stations of a study share; the whole configuration adds one field per station, named after it.

    Attributes:
        model: bundled name, hub id, folder or GGUF file.
        revision: hub revision.
        device: ``cpu``, ``cuda`` …; default: what there is.
        dtype: of the model in all figures; ``auto``: by its size, the device and what the processor multiplies.
        writing_dtype: of the model in writing; ``auto``: as ``dtype`` where that is named, else by size and processor.
        attribute: what is studied: a bundled attribute or a YAML file. What follows of corpora and values is the attribute's
            where it is null.
        prompts: corpora (bundled names or JSONL files) directions are fitted and tested on.
        continuations: corpus of neutral openings.
        emotions: which of the attribute's values are studied, in this order.
        prefix: ``auto`` puts one neutral token before every text that the model reads, in every station, so that the attention
            sink is never a text's first word; ``none`` leaves texts as the tokenizer makes them.
        seed: fixes everything that is drawn.
    """

    model: str = "smollm2-135m"
    revision: str | None = None
    device: str | None = None
    dtype: Dtype | None = "auto"
    writing_dtype: Dtype = "auto"
    attribute: str = DEFAULT_ATTRIBUTE
    prompts: tuple[str, ...] | None = None
    continuations: str | None = None
    emotions: tuple[str, ...] | None = None
    prefix: Literal["auto", "none"] = "none"
    seed: int = Field(default=0, ge=0)

    def of(self, kind: type[S]) -> S:
        """A station's own settings, by their class."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, kind):
                return value
        raise KeyError(f"no station with {kind.__name__} belongs to this study")
