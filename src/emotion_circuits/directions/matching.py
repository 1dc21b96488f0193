"""The same sentences in two captures, and which layers of two models are compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.subspaces import linear_cka
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["match_layers", "shared_sentences"]


def shared_sentences(a: ActivationStore, b: ActivationStore) -> tuple[pd.DataFrame, Tensor, Tensor]:
    """Rows that both captures have with the same text, and where they are in each.

    Raises:
        EmotionCircuitsError: fewer than 40.
    """
    left = a.rows.reset_index(drop=True).assign(at_a=range(len(a.rows)))
    right = b.rows.reset_index(drop=True).assign(at_b=range(len(b.rows)))[["id", "text", "at_b"]]
    rows = left.merge(right, on=["id", "text"], how="inner")
    if len(rows) < 40:
        raise EmotionCircuitsError(
            f"{a.folder} and {b.folder} share only {len(rows)} sentences; capture both models on the same corpora"
        )
    return rows, torch.tensor(rows["at_a"].to_numpy().copy()), torch.tensor(rows["at_b"].to_numpy().copy())


def match_layers(
    a: ActivationStore,
    b: ActivationStore,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    depths: Sequence[float],
    reference: str = "neutral",
) -> list[tuple[str, int, int]]:
    """Pairs of layers: at the same relative depth, and for each of ``a``'s layers ``b``'s most similar one.

    Similarity is linear CKA on **train** sentences of the reference, so that the best match is not chosen on what it is
    judged by.

    Returns:
        ``(matching, layer_a, layer_b)`` with matching ``depth`` or ``best``.
    """
    rows, at_a, at_b = shared_sentences(a, b)
    neutral = torch.tensor(((rows["label"] == reference) & (rows["split"] == "train")).to_numpy().copy())
    others = {layer: b.pooled(kind, pooling, layer)[at_b][neutral] for layer in b.layers}
    pairs: list[tuple[str, int, int]] = []
    for depth in depths:
        la = a.layers[round(depth * (len(a.layers) - 1))]
        pairs.append(("depth", la, b.layers[round(depth * (len(b.layers) - 1))]))
        x = a.pooled(kind, pooling, la)[at_a][neutral]
        found = [linear_cka(x, y) for y in others.values()]
        pairs.append(("best", la, b.layers[int(np.argmax(found))]))
    return pairs
