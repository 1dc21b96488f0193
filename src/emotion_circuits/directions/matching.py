"""The same sentences in two captures, and which layers of two models are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.subspaces import linear_cka
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Shared", "match_layers", "shared_sentences"]


class Shared(NamedTuple):
    """Sentences that two captures have in common.

    Attributes:
        rows: their table.
        at_a: where they are in the first capture.
        at_b: where they are in the second.
        excluded: how many more there are of which attention sinks leave nothing in some layer of a model.
    """

    rows: pd.DataFrame
    at_a: Int[Tensor, " row"]
    at_b: Int[Tensor, " row"]
    excluded: int


def shared_sentences(a: ActivationStore, b: ActivationStore, kind: str, pooling: str) -> Shared:
    """Rows that both captures have with the same text, and with a state in every layer of both.

    Raises:
        EmotionCircuitsError: fewer than 40.
    """
    left = a.rows.reset_index(drop=True).assign(at_a=range(len(a.rows)), kept_a=_present(a, kind, pooling))
    right = b.rows.reset_index(drop=True).assign(at_b=range(len(b.rows)), kept_b=_present(b, kind, pooling))
    found = left.merge(right[["id", "text", "at_b", "kept_b"]], on=["id", "text"], how="inner")
    kept = found["kept_a"] & found["kept_b"]
    rows = found[kept].drop(columns=["kept_a", "kept_b"]).reset_index(drop=True)
    if len(rows) < 40:
        raise EmotionCircuitsError(
            f"{a.folder} and {b.folder} share only {len(rows)} sentences; capture both models on the same corpora"
        )
    at_a, at_b = (torch.tensor(rows[column].to_numpy().copy()) for column in ("at_a", "at_b"))
    return Shared(rows, at_a, at_b, int((~kept).sum()))


def _present(store: ActivationStore, kind: str, pooling: str) -> np.ndarray:
    there = torch.ones(len(store.rows), dtype=torch.bool)
    for layer in store.layers:
        there &= ~store.pooled(kind, pooling, layer).isnan().all(-1)
    return there.numpy()


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
    rows, at_a, at_b, _ = shared_sentences(a, b, kind, pooling)
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
