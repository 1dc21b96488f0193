"""A model with an adapter in it, at a strength of one's choice: the base model's weights plus so many times what was learnt."""

from __future__ import annotations

from pathlib import Path

from emotion_circuits.model import LanguageModel, weights_sha256
from emotion_circuits.model.adapters import adapter_sums, checked_adapter, merged
from emotion_circuits.model.replicas import replica

__all__ = ["adapted"]


def adapted(model: LanguageModel, folder: Path, strength: float = 1.0) -> LanguageModel:
    """A copy of the model with an adapter merged into it.

    Args:
        model: the base model, which stays as it is.
        folder: of the adapter.
        strength: times what was learnt; 1 is the adapter, 0 the base model.

    Raises:
        EmotionCircuitsError: the adapter does not fit.
    """
    checked_adapter(folder)
    made = replica(model, own=True)
    made.hf = merged(made.hf, folder, model.name, strength=strength)
    made.hf.eval().requires_grad_(False)
    made.name, made.adapter = f"{model.name} with {folder.name} x {strength:g}", folder
    if model.source is not None:
        weights_sha256(model)  # holds the sums of its files from now on
        made.sums = {**(model.sums or {}), **adapter_sums(folder), "adapter/strength": f"{strength:g}"}
    return made
