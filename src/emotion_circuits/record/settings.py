"""What a study is asked: settings that every station shares, and the base of a station's own."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE

__all__ = ["Pooling", "ResidualKind", "Settings", "StudySettings"]

Pooling = Literal["last", "emotion", "mean", "weighted", "frame"]
ResidualKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]


class Settings(BaseModel):
    """Settings of one station: every key is known, none changes, and a number is a number: finite, no text, no truth value.

    A lone value will do where a list is asked for: ``prompts: letters.csv``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, given: Any) -> Any:
        """Lists, which is what YAML and JSON have, as tuples; refuses whole numbers that no computer counts to."""
        if not isinstance(given, dict):
            return given
        return {
            key: _frozen(value, listed=_is_list(cls.model_fields[key].annotation)) if key in cls.model_fields else value
            for key, value in given.items()
        }


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(get_origin(part) is tuple for part in get_args(annotation))


def _frozen(value: Any, *, listed: bool = False) -> Any:
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        raise ValueError(f"{value:.3e} is larger than any setting")
    if isinstance(value, list | tuple):
        return tuple(_frozen(one) for one in value)
    return (value,) if listed and isinstance(value, str | int | float) else value


_LARGEST_WHOLE = 2**53


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
        writer: what writes continuations: the study's ``own`` model in this program, or ``vllm``, a service of the same model in
            an environment of its own.
        attribute: what is studied: a bundled attribute or a YAML file. What follows of corpora and values is the attribute's
            where it is null.
        prompts: corpora (bundled names or files, ``FILE#text=COLUMN`` where columns have other names) directions are fitted and
            tested on.
        continuations: corpus of neutral openings.
        emotions: which of the attribute's values are studied, in this order.
        prefix: ``auto`` puts one neutral token before every text that the model reads, in every station, so that the attention
            sink is never a text's first word; ``none`` leaves texts as the tokenizer makes them.
        leave_out: stations that are not run, by name; those that need one of them are left out too, and the page says so.
        seed: fixes everything that is drawn.
    """

    model: str = "smollm2-135m"
    revision: str | None = None
    device: str | None = None
    dtype: Dtype | None = "auto"
    writing_dtype: Dtype = "auto"
    writer: Literal["own", "vllm"] = "own"
    attribute: str = DEFAULT_ATTRIBUTE
    prompts: tuple[str, ...] | None = None
    continuations: str | None = None
    emotions: tuple[str, ...] | None = None
    prefix: Literal["auto", "none"] = "none"
    leave_out: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)

    def of(self, kind: type[S]) -> S:
        """A station's own settings, by their class."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, kind):
                return value
        raise KeyError(f"no station with {kind.__name__} belongs to this study")
