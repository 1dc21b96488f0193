"""Sentence embeddings from a language model's own states: in whatever languages it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations.sinks import Sinks, measure_sinks
from emotion_circuits.directions.reading import pooled_states
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.evaluation.caching import TextCache
from emotion_circuits.model import LanguageModel, blueprint, load_model, weights_sha256
from emotion_circuits.prompts import evenly, load_prompts

__all__ = ["StateEmbedder"]

_MEASURED_ON = ("core", "languages/ja/core", "languages/zh/core")
"""Corpora on whose neutral sentences the sink rule's lengths, and what all texts share, are measured, whatever is judged."""
_BASIS = 128
"""Of their sentences, evenly over them."""


class StateEmbedder:
    """A text as the mean of its tokens' states in the middle of a model, attention sinks left out, of unit length.

    Middle layers hold what is meant in a form that languages share (Wendler et al. 2024, *Do Llamas Work in English?*), and
    the words that come next do not outweigh it yet. What all texts share there, a mean that is many times longer than what tells
    them apart and a few dimensions that are many times wider than the rest, is taken off before: every dimension is counted from
    its mean over neutral sentences, in its standard deviations there.

    Args:
        model: bundled name, hub id, folder or GGUF file.
        cache: remember embeddings by text under the user's cache.
        root: folder instead of the user's cache.

    Raises:
        EmotionCircuitsError: no such model, or a bundled one that is not installed.
    """

    languages: tuple[str, ...] | None = None

    def __init__(self, model: str, *, cache: bool = True, root: Path | None = None) -> None:
        plan = blueprint(model)
        if plan is None:
            raise EmotionCircuitsError(
                f"the judge reads states of {model}, which is not installed: emotion-circuits models install {model}"
            )
        self.model, self.root = model, root
        self.layer, self.width = plan.n_layers // 2, plan.d_model
        self.name = f"states of {plan.name}"
        self.version = f"{weights_sha256(plan)}, layer {self.layer}, mean without sinks, standardised on {_BASIS}"
        self._cache = TextCache("embeddings", self.name, self.version, root=root) if cache else None

    @cached_property
    def _loaded(self) -> LanguageModel:
        return load_model(self.model, device="cpu", dtype="float32", prefix="auto")

    @cached_property
    def _basis(self) -> list[str]:
        return [p.text for p in evenly(load_prompts(_MEASURED_ON, split="train", labels=["neutral"]), _BASIS)]

    @cached_property
    def _sinks(self) -> Sinks:
        return measure_sinks(self._loaded, self._basis, layers=[self.layer])

    @cached_property
    def _shared(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every dimension over what is common to texts."""
        states = self._pooled(self._basis)
        return states.mean(0), states.std(0).clamp_min(1e-6)

    def _pooled(self, texts: Sequence[str]) -> Float[Tensor, "text d"]:
        return pooled_states(self._loaded, texts, self._sinks, pooling="mean", layers=[self.layer])[0]

    def _compute(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]:
        out = np.zeros((len(texts), self.width), dtype=np.float32)
        # What has no token, or none that is no sink, has no state: it says nothing.
        said = [i for i, text in enumerate(texts) if text.strip()]
        mean, spread = self._shared
        states = (self._pooled([texts[i] for i in said]) - mean) / spread
        out[said] = torch.nn.functional.normalize(states.nan_to_num(0.0), dim=-1).numpy()
        return out

    def embed(self, texts: Sequence[str], *, remember: bool = True) -> Float[np.ndarray, "text d"]:
        """Embeddings ``[text, d_model]`` of unit length; zeros for a text without any token that is no sink.

        Args:
            texts: the texts.
            remember: ``False`` leaves the cache alone (for texts whose scores are remembered elsewhere).
        """
        rows = check_texts(texts, self.name)
        if not rows:
            return np.zeros((0, self.width), dtype=np.float32)
        if self._cache is None or not remember:
            return self._compute(rows)
        return self._cache.vectors(rows, self._compute)
