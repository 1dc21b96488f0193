"""What ``config.json`` says and transformers would pass over without a word: refused by name.

A configuration takes every key. One that the architecture's code does not read stays in it, is saved again, and changes nothing:
a model with its positions scaled, its window or its caps left out computes something else than the one it was trained as.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["check_read", "check_said_once"]


def check_said_once(said: Mapping[str, Any], place: str) -> None:
    """Refuse rotary settings that are said twice and differently; transformers takes one of them.

    Args:
        said: what a configuration's file says.
        place: where it stands, for the message.

    Raises:
        EmotionCircuitsError: naming both.
    """
    found = {name: rope for name in ("rope_scaling", "rope_parameters") if isinstance(rope := said.get(name), Mapping)}
    for name, rope in found.items():
        if {"type", "rope_type"} <= rope.keys() and _kind(rope) != _kind({"type": rope["type"]}):
            raise EmotionCircuitsError(
                f"{place}, {name}: rope_type is {rope['rope_type']!r}, and type is {rope['type']!r}; keep one of them"
            )
        for key, inside in (
            ("rope_theta",) * 2,
            ("partial_rotary_factor",) * 2,
            ("rotary_pct", "partial_rotary_factor"),
        ):
            if None not in (said.get(key), rope.get(inside)) and said[key] != rope[inside]:
                raise EmotionCircuitsError(
                    f"{place}: {key} is {said[key]}, and {rope[inside]} in {name}; keep one of them"
                )
    if len(found) == 2 and len({str(sorted(_alone(rope).items(), key=str)) for rope in found.values()}) == 2:
        raise EmotionCircuitsError(f"{place}: rope_scaling and rope_parameters say different things; keep one of them")


def _alone(rope: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rope.items() if key not in ("type", "rope_theta")} | {"rope_type": _kind(rope)}


_SAME = {"su": "longrope", "mrope": "default"}
"""Kinds by their former names."""


def _kind(rope: Mapping[str, Any]) -> str:
    kind = str(rope.get("rope_type", rope.get("type", "default")))
    return _SAME.get(kind, kind)


def check_read(config: Any, place: str) -> None:
    """Refuse settings that would change what a model computes and that its architecture does not read.

    Args:
        config: of the language model, as transformers has read it.
        place: where it stands, for the message.

    Raises:
        EmotionCircuitsError: naming the setting and its value.
    """
    said = config.to_dict()
    rope = said.get("rope_parameters")
    code = inspect.getsource(inspect.getmodule(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]))  # type: ignore[arg-type]
    for key, neutral in _COMPUTES.items():
        value = said.get(key)
        if value is not None and key not in code and not neutral(value, said):
            raise EmotionCircuitsError(
                f"{place}: {key} is {value!r}, which changes what a model computes and which models of type "
                f"{config.model_type!r} do not read here: the file belongs to another kind of model, or the key to none"
            )
    unread = _unread_rope(config)
    if isinstance(rope, Mapping) and _kind(rope) == "default" and "partial_rotary_factor" not in code:
        unread["partial_rotary_factor"] = rope.get("partial_rotary_factor") or 1
    for key, value in unread.items():
        if key not in _ROPE_NEUTRAL or not _ROPE_NEUTRAL[key](value, said):
            raise EmotionCircuitsError(
                f"{place}: {key} is {value!r} among the rotary settings, and their kind {_kind(rope or {})!r} does not read "
                "it here; take it away, or name it as transformers does (yarn: attention_factor, beta_fast, beta_slow)"
            )


_Neutral = Callable[[Any, Mapping[str, Any]], bool]


def _one(value: Any, _: Mapping[str, Any]) -> bool:
    return bool(value == 1)


def _off(value: Any, _: Mapping[str, Any]) -> bool:
    return value is False or value == 0


def _everywhere(value: Any, _: Mapping[str, Any]) -> bool:
    return not value or all(one in (1, True, "full_attention") for one in value)


_COMPUTES: dict[str, _Neutral] = {
    "rope_scaling": lambda value, _: not value or _kind(value) == "default",
    "rope_parameters": lambda value, _: not value or _kind(value) == "default",
    "rope_interleaved": _off,
    "partial_rotary_factor": _one,
    "no_rope_layers": _everywhere,
    "layer_types": _everywhere,
    "sliding_window": lambda value, said: (
        said.get("use_sliding_window") is False or value >= (said.get("max_position_embeddings") or float("inf"))
    ),
    "alibi": _off,
    "attn_logit_softcapping": _off,
    "final_logit_softcapping": _off,
    "query_pre_attn_scalar": lambda value, said: value == said.get("head_dim"),
    "attention_multiplier": _one,
    "embedding_multiplier": _one,
    "residual_multiplier": _one,
    "logits_scaling": _one,
    "logit_scale": _one,
    "clip_qkv": _off,
    "scale_attn_by_inverse_layer_idx": _off,
}
"""Settings of some architectures, and values with which they change nothing."""

_ROPE_NEUTRAL: dict[str, _Neutral] = {
    "factor": _one,
    "attn_factor": _one,
    "partial_rotary_factor": _one,
    "original_max_position_embeddings": lambda *_: True,
    "finetuned": lambda *_: True,
    "mrope_section": lambda *_: True,  # positions of pictures
}
"""Rotary settings that may stand beside a kind that does not read them."""


def _unread_rope(config: Any) -> dict[str, Any]:
    """The rotary settings that their kind does not read, as transformers itself tells them."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, Mapping) or not hasattr(config, "validate_rope"):
        return {}
    found: set[str] = set()

    def note(_: str, given: set[str], needed: set[str], optional_keys: Any = None, ignore_keys: Any = None) -> None:
        found.update(
            given - needed - (optional_keys or set()) - set(ignore_keys or ()) - {"type", "partial_rotary_factor"}
        )

    asked = copy.deepcopy(config)
    object.__setattr__(asked, "_check_received_keys", note)
    asked.validate_rope()
    nested = [one for one in rope.values() if isinstance(one, Mapping)] or [rope]
    return {key: one[key] for one in nested for key in sorted(found) if one.get(key) is not None}
