"""Layer numbers that a model has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["check_layers"]


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
