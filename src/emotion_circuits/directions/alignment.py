"""A linear map from one model's states to another's: fitted on some sentences, judged on others.

A map that is scored on what it was fitted on, or by the cosine of vectors that were not made orthonormal, finds
"alignment" in random numbers. Here strengths are chosen by cross-validation inside the train rows, and every figure is
from rows the map never saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from emotion_circuits.directions.subspaces import checked, orthonormal_basis, overlap
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["METHODS", "LinearMap", "explained_variance", "fit_map", "mapped_overlap", "random_map"]

METHODS = ("ridge", "reduced_rank", "procrustes")
_STRENGTHS = tuple(float(v) for v in np.logspace(-4, 3, 8))
_RANKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """``b ≈ mean_b + (a − mean_a) @ matrix``.

    Attributes:
        matrix: ``[d_a, d_b]``, float64.
        mean_a: ``[d_a]`` of the rows it was fitted on.
        mean_b: ``[d_b]``.
        method: one of :data:`METHODS`, or ``random``.
        strength: ridge penalty in units of the mean eigenvalue (0 for Procrustes).
        rank: rank of the map.
    """

    matrix: Float[Tensor, "d_a d_b"]
    mean_a: Float[Tensor, " d_a"]
    mean_b: Float[Tensor, " d_b"]
    method: str
    strength: float
    rank: int

    def states(self, a: Float[Tensor, "row d_a"]) -> Float[Tensor, "row d_b"]:
        """Predicted states of the other model."""
        return (a.double() - self.mean_a) @ self.matrix + self.mean_b

    def directions(self, vectors: Float[Tensor, "vector d_a"]) -> Float[Tensor, "vector d_b"]:
        """Where directions (differences of states) go."""
        return vectors.double() @ self.matrix


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = checked(a, "alignment, first model"), checked(b, "alignment, second model")
    if len(a) != len(b):
        raise EmotionCircuitsError(f"alignment: {len(a)} and {len(b)} rows; both need the same sentences in one order")
    if len(a) < 10:
        raise EmotionCircuitsError(f"alignment: {len(a)} sentences are too few to fit and cross-validate a map (10)")
    for side, x in (("first", a), ("second", b)):
        if not bool((x - x.mean(0)).abs().max() > 0):
            raise EmotionCircuitsError(f"alignment: the {side} model's states do not vary")
    return a, b


def _scale(x: Tensor) -> Tensor:
    s = x.std(0)
    # A coordinate that does not vary says nothing; it is left at its mean.
    return torch.where(s > s.max() * 1e-12, s, torch.full_like(s, float("inf")))


class _Ridge:
    """Ridge fits at any strength from one decomposition; the penalty is relative to the mean eigenvalue."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.u, self.s, self.vh = torch.linalg.svd(x, full_matrices=False)
        self.uty = self.u.T @ y
        self.unit = float(self.s.square().sum()) / min(x.shape)

    def matrix(self, strength: float) -> Tensor:
        shrunk = self.s / (self.s.square() + strength * self.unit)
        fit: Tensor = self.vh.T @ (shrunk[:, None] * self.uty)
        return fit


def _cut(matrix: Tensor, axes: Tensor, rank: int) -> Tensor:
    """Reduced-rank regression (Izenman 1975): the fit projected on its leading predicted axes."""
    result: Tensor = matrix @ axes[:rank].T @ axes[:rank]
    return result


def fit_map(
    a: Float[Tensor, "row d_a"],
    b: Float[Tensor, "row d_b"],
    *,
    method: str = "ridge",
    folds: int = 5,
    seed: int = 0,
) -> LinearMap:
    """Fit a map on paired states of the same sentences.

    ``ridge``: on coordinates brought to unit variance, strength by cross-validation. ``reduced_rank``: the ridge fit cut
    to the rank that cross-validates best. ``procrustes``: the rotation (and one scale) that brings the centred states
    closest (Schönemann 1966); widths that differ are filled up with zeros.

    Args:
        a: states of the first model.
        b: states of the second.
        method: one of :data:`METHODS`.
        folds: of the cross-validation.
        seed: of the folds.

    Raises:
        EmotionCircuitsError: unknown method, unpaired rows, fewer than 10, NaN or infinity, states that do not vary.
    """
    if method not in METHODS:
        raise EmotionCircuitsError(f"no alignment method {method!r}; choose from {', '.join(METHODS)}")
    a, b = _pair(a, b)
    mean_a, mean_b = a.mean(0), b.mean(0)
    if method == "procrustes":
        width = max(a.shape[1], b.shape[1])
        x = torch.nn.functional.pad(a - mean_a, (0, width - a.shape[1]))
        y = torch.nn.functional.pad(b - mean_b, (0, width - b.shape[1]))
        rotation, singular = orthogonal_procrustes(x.numpy(), y.numpy())
        scale = float(singular) / float(x.square().sum())
        matrix = torch.tensor(rotation)[: a.shape[1], : b.shape[1]] * scale
        return LinearMap(matrix, mean_a, mean_b, method, 0.0, min(a.shape[1], b.shape[1]))
    scale_a, scale_b = _scale(a), _scale(b)
    x, y = (a - mean_a) / scale_a, (b - mean_b) / scale_b
    fold = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed)) % folds
    full = min(*x.shape, y.shape[1])
    # The full rank competes too: where the map needs every dimension, a cut would only lose.
    ranks = [*(r for r in _RANKS if r < full), full] if method == "reduced_rank" else []
    errors: dict[tuple[float, int], float] = {}
    for k in range(folds):
        inside, held = fold != k, fold == k
        centre_x, centre_y = x[inside].mean(0), y[inside].mean(0)
        fitted = x[inside] - centre_x
        ridge = _Ridge(fitted, y[inside] - centre_y)
        for strength in _STRENGTHS:
            matrix = ridge.matrix(strength)
            axes = torch.linalg.svd(fitted @ matrix, full_matrices=False).Vh if ranks else matrix
            for rank in ranks or [0]:
                cut = _cut(matrix, axes, rank) if rank else matrix
                miss = (x[held] - centre_x) @ cut - (y[held] - centre_y)
                errors[strength, rank] = errors.get((strength, rank), 0.0) + float(miss.square().sum())
    (strength, rank), _ = min(errors.items(), key=lambda item: item[1])
    matrix = _Ridge(x, y).matrix(strength)
    if rank:
        matrix = _cut(matrix, torch.linalg.svd(x @ matrix, full_matrices=False).Vh, rank)
    finite_b = torch.where(torch.isfinite(scale_b), scale_b, torch.zeros_like(scale_b))
    matrix = matrix / scale_a[:, None] * finite_b
    return LinearMap(matrix, mean_a, mean_b, method, strength, rank or min(*x.shape, y.shape[1]))


def random_map(like: LinearMap, *, seed: int = 0) -> LinearMap:
    """A Gaussian map between the same spaces with the same Frobenius norm: the control."""
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(like.matrix.shape, generator=g, dtype=torch.float64)
    noise *= like.matrix.norm() / noise.norm()
    return LinearMap(noise, like.mean_a, like.mean_b, "random", 0.0, min(noise.shape))


def explained_variance(fitted: LinearMap, a: Float[Tensor, "row d_a"], b: Float[Tensor, "row d_b"]) -> float:
    """Share of variance explained on rows the map was not fitted on.

    Coordinates are brought to unit variance, so that a few huge ones do not decide. Measured about the held-out rows'
    own mean: 0 is what the mean predicts, below 0 is worse than that.

    Raises:
        EmotionCircuitsError: unpaired rows, NaN, states that do not vary.
    """
    a, b = checked(a, "alignment, first model"), checked(b, "alignment, second model")
    if len(a) != len(b) or len(a) < 2:
        raise EmotionCircuitsError(f"alignment: {len(a)} and {len(b)} held-out rows; needs the same 2 or more")
    spread = _scale(b)
    keep = torch.isfinite(spread)
    residual = ((fitted.states(a) - b) / spread)[:, keep]
    total = ((b - b.mean(0)) / spread)[:, keep]
    return float(1 - residual.square().sum() / total.square().sum())


def mapped_overlap(
    fitted: LinearMap, directions_a: Float[Tensor, "label d_a"], directions_b: Float[Tensor, "label d_b"]
) -> float:
    """Mean cos² between the mapped span and the target's, both made orthonormal: ‖QᵀQ'‖²_F / k. Chance: k/d_b.

    Raises:
        EmotionCircuitsError: the map sends every direction to 0, or NaN.
    """
    return overlap(
        orthonormal_basis(fitted.directions(checked(directions_a, "directions of the first model"))),
        orthonormal_basis(checked(directions_b, "directions of the second model")),
    )
