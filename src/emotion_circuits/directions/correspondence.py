"""Two models' states of the same training sentences, and the directions they give: with their labels, and with none.

Directions of two models that were fitted on the same sentences share those sentences' sampling noise, so a map that
carries sentences over carries the noise too, and cos² is above k/d even where labels mean nothing. Two controls catch
it: directions from labels shuffled alike in both models, and directions fitted on disjoint halves of the groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.directions.evaluating import auroc
from emotion_circuits.directions.extractors import Examples, extract, permute_within
from emotion_circuits.directions.labelled_states import rows_of_drawn_groups

__all__ = ["DirectionPair", "Sides", "mean_auroc", "mean_auroc_draws", "mean_auroc_interval"]


class DirectionPair(NamedTuple):
    """Directions of the first and of the second model.

    Attributes:
        a: ``[label, d_a]``.
        b: ``[label, d_b]``.
    """

    a: Float[Tensor, "label d_a"]
    b: Float[Tensor, "label d_b"]


@dataclass(frozen=True, eq=False)
class Sides:
    """Train states of both models, row by row the same sentences.

    Attributes:
        a: the first model's examples.
        b: the second's, with the same labels and groups.
        extractor: how directions are found.
    """

    a: Examples
    b: Examples
    extractor: str = "mean_difference"

    def directions(
        self, labels: Int[Tensor, " row"] | None = None, rows: tuple[Tensor, Tensor] | None = None
    ) -> DirectionPair:
        """Directions of both models.

        Args:
            labels: instead of the true ones.
            rows: which rows of the first and of the second model (boolean); all by default.
        """
        labels = self.a.labels if labels is None else labels
        whole = torch.ones(len(labels), dtype=torch.bool)
        found = []
        for side, chosen in zip((self.a, self.b), rows or (whole, whole), strict=True):
            part = replace(side, labels=labels).some(chosen)
            found.append(extract(self.extractor, part).vectors)
        return DirectionPair(*found)

    def shuffled_labels(self, rng: np.random.Generator) -> Int[Tensor, " row"]:
        """Labels permuted within groups; use the same for both models."""
        return permute_within(self.a, rng).labels

    def halves(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Two disjoint halves of the groups, as boolean rows."""
        groups = self.a.groups.unique().numpy()
        half = torch.isin(self.a.groups, torch.tensor(rng.permutation(groups)[: len(groups) // 2]))
        return half, ~half


def mean_auroc(scores: Float[Tensor, "row label"], truth: Int[Tensor, " row"]) -> float:
    """Mean over emotions of the AUROC of each score against its own label; 0.5 is chance."""
    return float(np.nanmean([auroc(scores[:, k], truth == k) for k in range(scores.shape[1])]))


def mean_auroc_draws(
    scores: Float[Tensor, "row label"],
    truth: Int[Tensor, " row"],
    groups: Int[Tensor, " row"],
    *,
    draws: int = 200,
    seed: int = 0,
) -> Float[np.ndarray, " draw"]:
    """:func:`mean_auroc` of as many groups, drawn with replacement; one seed draws the same groups for any scores."""
    drawn = rows_of_drawn_groups(groups.numpy(), draws, np.random.default_rng(seed))
    return np.array([mean_auroc(scores[at], truth[at]) for at in map(torch.from_numpy, drawn)])


def mean_auroc_interval(
    scores: Float[Tensor, "row label"],
    truth: Int[Tensor, " row"],
    groups: Int[Tensor, " row"],
    *,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of :func:`mean_auroc`: bootstrap over groups, percentiles."""
    low, high = np.nanquantile(mean_auroc_draws(scores, truth, groups, draws=draws, seed=seed), [0.025, 0.975])
    return float(low), float(high)
