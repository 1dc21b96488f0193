"""A configuration against its model, from the model's configuration alone: before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.study.config import StudyConfig

__all__ = ["check_against_model", "check_layers"]


def check_layers(key: str, layers: Sequence[Any], n_layers: int, model: str = "") -> None:
    """Refuse layers that a model does not have.

    Args:
        key: option or configuration key, for the message.
        layers: numbers; in a study also relative depths below 1, and groups of either.
        n_layers: how many it has.
        model: its name, where it is known.

    Raises:
        EmotionCircuitsError: naming the key, the value and what is allowed.
    """
    for group in layers:
        for layer in group if isinstance(group, tuple | list) else (group,):
            if layer >= n_layers or layer < 0:
                named = f" ({model})" if model else ""
                raise EmotionCircuitsError(
                    f"{key}: {layer:g} is not a layer of this model, which has 0 to {n_layers - 1}{named}"
                )


def check_against_model(config: StudyConfig, model: LanguageModel) -> None:
    """Refuse what this model cannot do.

    Args:
        config: the study.
        model: the model, or its blueprint.

    Raises:
        EmotionCircuitsError: layers, heads or site kinds the model does not have; the key and what is allowed are named.
    """
    check_layers("steering.layers", config.steering.layers, model.n_layers, model.name)
    check_layers("steering.raw_layers", config.steering.raw_layers, model.n_layers, model.name)
    heads = model.n_layers * model.n_heads
    for key, asked in (
        ("circuits.emotion_heads", config.circuits.emotion_heads),
        ("circuits.roles", config.circuits.roles),
    ):
        if asked > heads:
            raise EmotionCircuitsError(f"{key}: {asked} heads asked for, {model.name} has {heads}")
    if "resid_mid" in config.capture.kinds and not model.has_resid_mid:
        raise EmotionCircuitsError(
            f"capture.kinds: resid_mid does not exist in {model.name}, whose blocks run attention and MLP in parallel; "
            "choose from resid_pre, resid_post, attn_out, mlp_out"
        )
