"""Layer numbers that a model has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.model.language_model import LanguageModel

__all__ = ["check_layers"]


def check_layers(key: str, layers: Sequence[Any], model: LanguageModel) -> None:
    """Refuse layers that a model does not have.

    Args:
        key: option or configuration key, for the message.
        layers: numbers; in a study also relative depths below 1, and groups of either.
        model: the model, or its blueprint.

    Raises:
        EmotionCircuitsError: naming the key, the value and what is allowed.
    """
    for group in layers:
        for layer in group if isinstance(group, tuple | list) else (group,):
            if layer >= model.n_layers or layer < 0:
                raise EmotionCircuitsError(
                    f"{key}: {layer:g} is not a layer of this model, which has 0 to {model.n_layers - 1} ({model.name})"
                )
