"""Subspaces and how much two of them share, always beside chance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import subspace_angles
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError

__all__ = [
    "linear_cka",
    "orthonormal_basis",
    "overlap",
    "overlap_chance",
    "overlap_null",
    "principal_angles",
    "principal_subspace",
    "rsa",
]


def checked(x: Tensor, what: str) -> Float[Tensor, "row d"]:
    """``x`` in float64.

    Raises:
        EmotionCircuitsError: not a matrix, empty, NaN or infinity.
    """
    if x.dim() != 2 or not x.numel():
        raise EmotionCircuitsError(f"{what}: needs a non-empty matrix [row, d], got {list(x.shape)}")
    x = x.double()
    if not bool(torch.isfinite(x).all()):
        raise EmotionCircuitsError(f"{what}: holds NaN or infinity (an overflow?); capture in float32 or bfloat16")
    return x


def orthonormal_basis(vectors: Float[Tensor, "vector d"]) -> Float[Tensor, "d k"]:
    """Orthonormal basis of the span of vectors; linearly dependent ones do not add a dimension.

    Each vector counts the same whatever its length.

    Raises:
        EmotionCircuitsError: NaN, or nothing but zeros.
    """
    x = checked(vectors, "basis")
    lengths = x.norm(dim=-1)
    x = x[lengths > 0] / lengths[lengths > 0, None]
    if not len(x):
        raise EmotionCircuitsError("basis: every vector is 0")
    _, s, vh = torch.linalg.svd(x, full_matrices=False)
    basis: Tensor = vh[s > s[0] * 1e-9].T.contiguous()
    return basis


def principal_subspace(states: Float[Tensor, "row d"], k: int, *, centre: bool = True) -> Float[Tensor, "d k"]:
    """The ``k`` leading principal axes of states.

    For an emotion subspace give paired differences (emotion − neutral of the same group; ``centre=False``), so that
    the axes are those along which emotion moves states and not those of topics; for a control give neutral states.

    Raises:
        EmotionCircuitsError: NaN, or fewer than ``k`` dimensions with any variance.
    """
    x = checked(states, "subspace")
    if centre:
        x = x - x.mean(0)
    _, s, vh = torch.linalg.svd(x, full_matrices=False)
    rank = int((s > s[0] * 1e-9).sum()) if bool(s[0] > 0) else 0
    if not 1 <= k <= rank:
        raise EmotionCircuitsError(f"subspace: {k} axes were asked of states that vary in {rank} dimensions")
    axes: Tensor = vh[:k].T.contiguous()
    return axes


def overlap(a: Float[Tensor, "d ka"], b: Float[Tensor, "d kb"]) -> float:
    """‖QₐᵀQ_b‖²_F / min(kₐ, k_b) of orthonormal bases: 1 where one lies in the other, 0 where they are orthogonal.

    Chance: :func:`overlap_chance`.

    Raises:
        EmotionCircuitsError: different widths (no shared axes: align first, or use CKA), or bases not orthonormal.
    """
    if a.shape[0] != b.shape[0]:
        raise EmotionCircuitsError(
            f"overlap: widths {a.shape[0]} and {b.shape[0]} share no axes; map one onto the other, or use linear_cka"
        )
    for q in (a, b):
        if not torch.allclose(q.T @ q, torch.eye(q.shape[1], dtype=q.dtype), atol=1e-6):
            raise EmotionCircuitsError("overlap: the bases must be orthonormal; use orthonormal_basis first")
    return float((a.T @ b).square().sum() / min(a.shape[1], b.shape[1]))


def overlap_chance(d: int, k_a: int, k_b: int) -> float:
    """Expected overlap of independent random subspaces: max(kₐ, k_b)/d, which is k/d for equal k."""
    return max(k_a, k_b) / d


def overlap_null(d: int, k_a: int, k_b: int, *, draws: int = 200, seed: int = 0) -> Float[np.ndarray, " draw"]:
    """Overlaps of independent random subspaces."""
    g = torch.Generator().manual_seed(seed)
    # One may stay fixed: only their relation is random.
    fixed = torch.eye(d, k_a, dtype=torch.float64)
    found = []
    for _ in range(draws):
        q = torch.linalg.qr(torch.randn(d, k_b, generator=g, dtype=torch.float64)).Q
        found.append(overlap(fixed, q))
    return np.array(found)


def principal_angles(a: Float[Tensor, "d ka"], b: Float[Tensor, "d kb"]) -> Float[np.ndarray, " k"]:
    """Principal angles in degrees, smallest first (Björck & Golub 1973)."""
    if a.shape[0] != b.shape[0]:
        raise EmotionCircuitsError(f"angles: widths {a.shape[0]} and {b.shape[0]} share no axes")
    return np.sort(np.degrees(subspace_angles(a.numpy(), b.numpy())))


def linear_cka(x: Float[Tensor, "row da"], y: Float[Tensor, "row db"]) -> float:
    """Linear CKA of the same sentences in two models (Kornblith et al. 2019), with the unbiased HSIC (Song et al. 2012).

    The usual estimate is far above 0 for unrelated data when there are fewer rows than dimensions; this one has
    expectation 0 there. 1 means equal up to rotation and scale.

    Raises:
        EmotionCircuitsError: other rows, fewer than 4, NaN, or states without variance.
    """
    x, y = checked(x, "CKA"), checked(y, "CKA")
    n = len(x)
    if n != len(y) or n < 4:
        raise EmotionCircuitsError(f"CKA: needs the same 4 or more sentences on both sides, got {n} and {len(y)}")

    def gram(z: Tensor) -> Tensor:
        z = z - z.mean(0)
        k = z @ z.T
        return k - torch.diag(k.diagonal())

    def hsic(k: Tensor, m: Tensor) -> float:
        one = torch.ones(n, dtype=torch.float64)
        a = (k * m).sum() + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
        return float(a / (n * (n - 3)))

    k, m = gram(x), gram(y)
    scale = hsic(k, k) * hsic(m, m)
    if not scale > 0:
        raise EmotionCircuitsError("CKA: the states of one side do not vary")
    return float(hsic(k, m) / np.sqrt(scale))


def rsa(
    x: Float[Tensor, "row da"], y: Float[Tensor, "row db"], *, draws: int = 200, seed: int = 0
) -> tuple[float, float, float]:
    """Representational similarity (Kriegeskorte et al. 2008): Spearman correlation of the two models' cosine distances.

    Returns:
        The correlation, and the 2.5 and 97.5 percent points under permuted sentences.

    Raises:
        EmotionCircuitsError: other rows, fewer than 4, NaN.
    """
    x, y = checked(x, "RSA"), checked(y, "RSA")
    n = len(x)
    if n != len(y) or n < 4:
        raise EmotionCircuitsError(f"RSA: needs the same 4 or more sentences on both sides, got {n} and {len(y)}")

    def distances(z: Tensor) -> np.ndarray:
        z = torch.nn.functional.normalize(z - z.mean(0), dim=-1)
        return np.asarray((1 - z @ z.T).numpy())

    a, b = distances(x), distances(y)
    upper = np.triu_indices(n, 1)
    value = float(spearmanr(a[upper], b[upper]).statistic)
    rng = np.random.default_rng(seed)
    ranks_a = rankdata(a[upper])
    ranks = np.zeros_like(b)
    ranks[upper] = rankdata(b[upper])
    ranks += ranks.T
    found = []
    for _ in range(draws):
        p = rng.permutation(n)
        found.append(float(np.corrcoef(ranks_a, ranks[np.ix_(p, p)][upper])[0, 1]))
    low, high = np.quantile(found, [0.025, 0.975])
    return value, float(low), float(high)
