"""A capture's sentences of some labels as arrays: what comparisons of several captures work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.activations import ActivationStore, group_numbers
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["LabelledStates", "contrast_weights", "rows_of_drawn_groups", "shuffled_within"]


@dataclass(frozen=True, eq=False)
class LabelledStates:
    """Sentences of an attribute's labels that have a state in every layer.

    Attributes:
        name: whose they are.
        values: labels that are studied.
        reference: label that directions start from; empty: the mean of all labels.
        layers: numbers of the layers.
        states: ``[layer, row, d_model]``, float32.
        ids: of the sentences.
        texts: the sentences.
        labels: of the sentences.
        groups: numbers of their groups.
        splits: of the sentences.
    """

    name: str
    values: tuple[str, ...]
    reference: str
    layers: tuple[int, ...]
    states: Float[Tensor, "layer row d_model"]
    ids: np.ndarray
    texts: np.ndarray
    labels: np.ndarray
    groups: Int[np.ndarray, " row"]
    splits: np.ndarray

    @classmethod
    def of(
        cls,
        store: ActivationStore,
        name: str,
        values: Sequence[str],
        reference: str,
        *,
        pooling: str = "mean",
        kind: str = "resid_post",
    ) -> LabelledStates:
        """Those of a capture.

        Args:
            store: the capture.
            name: whose it is.
            values: labels that are studied.
            reference: label that directions start from; empty: the mean of all labels.
            pooling: which states of a sentence.
            kind: site kind.

        Raises:
            EmotionCircuitsError: the capture has no such states, or a split without a label.
        """
        labels = [v for v in (*values, reference) if v]
        wanted = store.rows["label"].isin(labels).to_numpy()
        every = torch.stack([store.pooled(kind, pooling, layer) for layer in store.layers])[:, torch.tensor(wanted)]
        there = ~every.isnan().any(-1).any(0)
        rows = store.rows[wanted][there.numpy()]
        found = cls(
            name=name,
            values=tuple(values),
            reference=reference,
            layers=store.layers,
            states=every[:, there].float(),
            ids=rows["id"].to_numpy(dtype=object),
            texts=rows["text"].to_numpy(dtype=object),
            labels=rows["label"].to_numpy(dtype=object),
            groups=group_numbers(store.rows).numpy()[wanted][there.numpy()],
            splits=rows["split"].to_numpy(dtype=object),
        )
        for split in ("train", "validation", "test"):
            absent = sorted(set(labels) - set(found.labels[found.at(split)]))
            if absent:
                raise EmotionCircuitsError(f"{store.folder}: no {split} sentence of {', '.join(absent)}")
        return found

    def at(self, *splits: str, values: Sequence[str] | None = None) -> Int[np.ndarray, " row"]:
        """Places of the rows of some splits, of some values and the reference alone where they are given."""
        wanted = np.isin(self.splits.astype(str), splits)
        if values is not None:
            wanted &= np.isin(self.labels.astype(str), [*values, self.reference])
        return np.flatnonzero(wanted)

    def truth(self, at: np.ndarray, values: Sequence[str]) -> np.ndarray:
        """Which of some values each row is, ``[row, value]``."""
        found: np.ndarray = self.labels[at].astype(str)[:, None] == np.array(list(values))[None]
        return found


def contrast_weights(
    data: LabelledStates, labels: np.ndarray, values: Sequence[str]
) -> Float[np.ndarray, "direction row"]:
    """Weights of rows whose weighted sum is the mean of a value's states minus the reference's, per value and draw.

    Args:
        data: whose rows.
        labels: of the rows, ``[draw, row]``.
        values: whose directions.
    """
    found = []
    for row in labels:
        rest = row == data.reference if data.reference else np.ones(len(row), dtype=bool)
        for value in values:
            own = row == value
            if not own.any() or not rest.any():
                raise EmotionCircuitsError(f"{data.name}: no training sentence of {value} or of the reference")
            found.append(own / own.sum() - rest / rest.sum())
    return np.array(found, dtype=np.float32)


def rows_of_drawn_groups(
    groups: Int[np.ndarray, " row"], draws: int, rng: np.random.Generator
) -> list[Int[np.ndarray, " drawn"]]:
    """Places of the rows of as many groups as there are, drawn with replacement, per draw."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    return [np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]) for _ in range(draws)]


def shuffled_within(
    labels: np.ndarray, groups: Int[np.ndarray, " row"], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Labels permuted within groups, ``[draw, row]``."""
    order = np.argsort(groups, kind="stable")
    found = np.empty((draws, len(labels)), dtype=object)
    for draw in range(draws):
        found[draw, order] = labels[np.lexsort((rng.random(len(labels)), groups))]
    return found
