"""Differences of means among labelled states, and the same of shuffled labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing
from emotion_circuits.prompts.contrast import compared_with, labels_of
from emotion_circuits.record.notes import checked

__all__ = ["Contrast", "LabelledRows", "shuffled_labels"]

Contrast = Literal["neutral", "rest"]


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """States of labelled texts.

    Attributes:
        labels: ``[row]``.
        states: ``[row, layer, d_model]``.
        groups: ``[row]``; within one, everything but the label is as alike as the texts make it.
        where: which rows, in messages.
    """

    labels: Sequence[str]
    states: Float[Tensor, "row layer d_model"]
    groups: Sequence[str]
    where: str = "these texts"

    @classmethod
    def of_store(
        cls, store: ActivationStore, *, kind: str = "resid_post", pooling: str = "last", split: str = "train"
    ) -> LabelledRows:
        """Sentences of a capture.

        Args:
            store: captured activations with labels.
            kind: where.
            pooling: which state of the sentence.
            split: rows that are taken.
        """
        keep = store.mask(split=split)
        states = torch.stack([store.pooled(kind, pooling, layer)[keep].double() for layer in store.layers], dim=1)
        labels, groups = ([str(x) for x in store.rows[c].to_numpy()[keep.numpy()]] for c in ("label", "group"))
        # Rows without a state of this pooling are NaN in the store; they are left out of the means.
        present = torch.isfinite(states).all(dim=-1).all(dim=-1)
        kept = present.tolist()
        return cls(
            [label for label, ok in zip(labels, kept, strict=True) if ok],
            states[present],
            [group for group, ok in zip(groups, kept, strict=True) if ok],
            f"the {split} split",
        )

    def names(self, reference: str | None) -> list[str]:
        """Labels but the reference, in the order of the rows.

        Raises:
            EmotionCircuitsError: too few of them.
        """
        found = [label for label in dict.fromkeys(self.labels) if label != reference]
        if reference is None and len(found) < 2:
            raise EmotionCircuitsError("directions without a reference need rows of at least two emotions")
        if (reference is not None and reference not in self.labels) or not found:
            raise EmotionCircuitsError(f"directions need {reference} rows and rows of at least one emotion")
        return found

    def mean(self, label: str) -> Float[Tensor, "layer d_model"]:
        """Mean state of a label."""
        return self.states[[i for i, own in enumerate(self.labels) if own == label]].mean(0)

    def differences(self, reference: str | None) -> dict[str, Float[Tensor, "layer d_model"]]:
        """Mean of each label minus that of the reference, or of all others without one.

        Raises:
            EmotionCircuitsError: as :meth:`names`.
        """
        names = self.names(reference)
        means = {name: self.mean(name) for name in labels_of(names, reference)}
        return {
            name: means[name] - torch.stack([means[other] for other in compared_with(name, names, reference)]).mean(0)
            for name in names
        }

    def neutral(self, reference: str | None) -> Float[Tensor, "layer d_model"]:
        """Mean state of the reference's rows; without one the mean of all labels' means.

        Raises:
            EmotionCircuitsError: no such rows.
        """
        if reference is not None and reference not in self.labels:
            raise EmotionCircuitsError(f"no {reference} rows in {self.where}")
        of = tuple(dict.fromkeys(self.labels)) if reference is None else (reference,)
        return torch.stack([self.mean(name) for name in of]).mean(0)

    def shuffled(
        self,
        emotion: str | None = None,
        *,
        count: int,
        seed: int,
        contrast: Contrast = "neutral",
        reference: str | None = "neutral",
    ) -> dict[str, Float[Tensor, "layer d_model"]]:
        """Directions of shuffled labels (:func:`shuffled_labels`): raw directions by name.

        Args:
            emotion: whose is taken of every shuffle, named ``shuffled <emotion> <i>``. ``None``: the first one's, named
                ``shuffled <i>``.
            count: number of directions.
            seed: of the shuffles.
            contrast: as for the real directions: minus the reference, or minus the mean of all other labels (``rest``).
            reference: label that directions start from; ``None``: both contrasts are with all other labels.

        Raises:
            EmotionCircuitsError: no rows of the emotion, or none of the reference.
        """
        if emotion is not None and (emotion not in self.labels or emotion == reference):
            raise EmotionCircuitsError(f"no rows labelled {emotion!r} in {self.where}")
        names = self.names(reference)
        taken = emotion if emotion is not None else names[0]
        rest = contrast == "rest"
        others = compared_with(taken, labels_of(names, reference) if rest else names, None if rest else reference)
        name = "shuffled" if emotion is None else f"shuffled {emotion}"
        rng = np.random.default_rng(seed)
        weights = np.zeros((count, len(self.labels)))
        for k in range(count):
            drawn = shuffled_labels(self.labels, self.groups, rng)
            weights[k, drawn == taken] = 1 / (drawn == taken).sum()
            for other in others:
                weights[k, drawn == other] = -1 / (drawn == other).sum() / len(others)
        raw = torch.einsum("kr,rld->kld", torch.from_numpy(weights), self.states.double())
        return {f"{name} {k}": raw[k] for k in range(count)}

    def save(self, path: Path) -> None:
        """One safetensors file."""
        about = {"labels": list(self.labels), "groups": list(self.groups), "where": self.where}
        with replacing(path) as temporary:
            save_file(
                {"states": self.states.detach().cpu().float().contiguous()}, temporary, {"rows": json.dumps(about)}
            )

    @classmethod
    def load(cls, path: Path) -> LabelledRows:
        """Read :meth:`save` back.

        Raises:
            EmotionCircuitsError: missing, damaged or changed.
        """
        try:
            with safe_open(checked(path), framework="pt") as file:
                about: Mapping[str, object] = loads((file.metadata() or {})["rows"])
                states = file.get_tensor("states").double()
            labels, groups = ([str(x) for x in about[name]] for name in ("labels", "groups"))  # type: ignore[attr-defined]
            where = str(about["where"])
        except (OSError, KeyError, TypeError, SafetensorError) as error:
            raise EmotionCircuitsError(f"{path}: no labelled states can be read here: {error}") from error
        if states.dim() != 3 or not len(states) == len(labels) == len(groups):
            raise EmotionCircuitsError(f"{path}: {len(labels)} labels for states of shape {list(states.shape)}")
        return cls(labels, states, groups, where)


def shuffled_labels(labels: Sequence[str], groups: Sequence[object], rng: np.random.Generator) -> np.ndarray:
    """Labels that have changed places within each group; groups of one label each exchange theirs among one another.

    Within a group everything but the label is as alike as the corpus makes it, so that what is left of a contrast is chance.
    Where a group holds a single label there is nothing to exchange within it, and the label belongs to the group.

    Args:
        labels: ``[row]``.
        groups: ``[row]``.
        rng: of the draw.

    Example:
        >>> shuffled_labels(["a", "b"], ["x", "x"], np.random.default_rng(1)).tolist()
        ['a', 'b']
    """
    given, of = np.asarray(labels, dtype=object), pd.factorize(pd.Series(list(groups), dtype=object))[0]
    found = given.copy()
    pure: list[np.ndarray] = []
    for group in range(of.max() + 1):
        rows = np.flatnonzero(of == group)
        if len(set(given[rows])) > 1:
            found[rows] = given[rng.permutation(rows)]
        else:
            pure.append(rows)
    for rows, source in zip(pure, rng.permutation(len(pure)), strict=True):
        found[rows] = given[pure[int(source)][0]]
    return found
