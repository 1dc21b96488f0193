"""A trace on disk: ``<name>.safetensors`` and ``<name>.json``."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from emotion_circuits.directions.trace_text import Trace
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import make_folder, replacing, write_json
from emotion_circuits.record.notes import checked

__all__ = ["load_trace", "save_trace"]

_TENSORS = ("projection", "embedding", "attention", "mlp", "bias", "whole")
_OPTIONAL = ("middle", "heads", "attention_from_last")


def save_trace(found: Trace, base: Path | str) -> None:
    """Write both files; ``base`` has no suffix."""
    base = Path(base)
    tensors = {
        name: getattr(found, name).contiguous() for name in (*_TENSORS, *_OPTIONAL) if getattr(found, name) is not None
    }
    make_folder(base.parent)
    with replacing(base.with_name(f"{base.name}.safetensors")) as temporary:
        save_file(tensors, temporary)
    note = {
        key: getattr(found, key) for key in ("text", "tokens", "labels", "layer", "gap", "logit_lens", "note", "sinks")
    }
    write_json(base.with_name(f"{base.name}.json"), note)


def load_trace(base: Path | str) -> Trace:
    """Read a saved trace.

    Raises:
        EmotionCircuitsError: missing or damaged.
    """
    base = Path(base)
    try:
        note = loads(checked(base.with_name(f"{base.name}.json")).read_text(encoding="utf-8"))
        tensors = load_file(checked(base.with_name(f"{base.name}.safetensors")))
        return Trace(
            **{name: tensors[name] for name in _TENSORS},
            **{name: tensors.get(name) for name in _OPTIONAL},
            text=str(note["text"]),
            tokens=tuple(note["tokens"]),
            labels=tuple(note["labels"]),
            layer=int(note["layer"]),
            gap=float(note["gap"]),
            logit_lens=tuple(tuple((str(t), float(p)) for t, p in depth) for depth in note["logit_lens"]),
            note=str(note["note"]),
            sinks=tuple(int(i) for i in note["sinks"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise EmotionCircuitsError(f"{base}: holds no readable trace ({error})") from error
