"""Ways to find a direction, behind one interface, all layers alike, all in float64.

An extractor takes states ``[row, d_model]`` of one layer with their labels and groups, and gives one vector per emotion
``[label, d_model]``, and for probes the thresholds that belong to it. Row differences are always *emotion − neutral*. Where no
label is the reference, the mean of all other emotions' means stands in neutral's place.

=====================  ==============================================================================================
``mean_difference``    mean of the emotion − mean of neutral (Marks & Tegmark 2023; Turner et al. 2023)
``paired``             mean over groups of (emotion − neutral of the same group): what the scenes share cancels
``pca``                first principal axis of the paired differences (uncentred; Zou et al. 2023), its sign and its
                       length fixed by the mean paired difference
``denoised``           mean difference with the leading principal components of neutral states projected out
``lda``                whitened mean difference: (shrunk within-class covariance)⁻¹ (mean − neutral mean) (Fisher 1936;
                       shrinkage towards the diagonal, Ledoit & Wolf 2004)
``logistic``           multinomial logistic regression on standardised states; difference to neutral's weights
``token``              mean difference on emotion words against position-matched neutral tokens; it is
                       ``mean_difference`` on pooling ``emotion``
=====================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.contrast import labels_of

__all__ = [
    "EXTRACTORS",
    "Examples",
    "Found",
    "extract",
    "midpoint_thresholds",
    "names_with_reference",
    "permute_within",
]

Vectors = Float[Tensor, "label d_model"]


@dataclass(frozen=True, eq=False)
class Examples:
    """States of one layer with what they express.

    Attributes:
        states: ``[row, d_model]``, float64, finite.
        labels: ``[row]`` index into ``names``.
        groups: ``[row]`` group number; rows of one group are one scene.
        names: emotions, then the reference, called neutral below.
        reference: whether the last name is one; without it each emotion is compared with the mean of the others.
    """

    states: Float[Tensor, "row d_model"]
    labels: Int[Tensor, " row"]
    groups: Int[Tensor, " row"]
    names: tuple[str, ...]
    reference: bool = True

    @property
    def emotions(self) -> int:
        """How many of the names are emotions."""
        return len(self.names) - self.reference

    def against(self, emotion: int) -> list[int]:
        """Indices of the labels an emotion is compared with."""
        return [self.emotions] if self.reference else [k for k in range(self.emotions) if k != emotion]

    def some(self, rows: Tensor) -> Examples:
        """Some rows (boolean, or indices)."""
        return replace(self, states=self.states[rows], labels=self.labels[rows], groups=self.groups[rows])

    @property
    def background(self) -> Float[Tensor, "row d_model"]:
        """States that hold what scenes differ in and nothing of an emotion, around their mean.

        Those of neutral; without a reference all states, each around the mean of its own label.
        """
        if not self.reference:
            return self.states - self.means[self.labels]
        neutral = self.states[self.labels == self.emotions]
        return neutral - neutral.mean(0)

    @property
    def means(self) -> Float[Tensor, "name d_model"]:
        """Mean state of every label."""
        return torch.stack([self.states[self.labels == k].mean(0) for k in range(len(self.names))])

    def paired(self, emotion: int) -> Float[Tensor, "group d_model"]:
        """Emotion − neutral within each group that has both (means where it has several).

        Without a reference neutral is the mean of the group's other emotions.

        Raises:
            EmotionCircuitsError: no group has both an emotion and what it is compared with.
        """
        ids = self.groups.unique()
        position = torch.searchsorted(ids, self.groups)

        def group_means(label: int) -> tuple[Tensor, Tensor]:
            chosen = self.labels == label
            sums = self.states.new_zeros(len(ids), self.states.shape[1])
            sums.index_add_(0, position[chosen], self.states[chosen])
            counts = torch.bincount(position[chosen], minlength=len(ids))
            return sums / counts.clamp(min=1)[:, None], counts > 0

        (a, has_a), others = group_means(emotion), [group_means(k) for k in self.against(emotion)]
        beside = torch.stack([has for _, has in others]).sum(0)
        b = torch.stack([mean for mean, _ in others]).sum(0) / beside.clamp(min=1)[:, None]
        both = has_a & (beside > 0)
        if not bool(both.any()):
            raise EmotionCircuitsError(
                f"no group holds both a {self.names[emotion]!r} and a {self._beside} row, so there are no pairs; "
                "use mean_difference"
            )
        return (a - b)[both]

    @property
    def _beside(self) -> str:
        return "neutral" if self.reference else "differently labelled"


def differences(by_name: Float[Tensor, "*batch name d"], *, reference: bool) -> Float[Tensor, "*batch emotion d"]:
    """Each emotion's row minus the reference's, which is the last; without one, minus the mean of all others.

    Example:
        >>> differences(torch.tensor([[4.0], [1.0], [1.0]]), reference=False).flatten().tolist()
        [3.0, -1.5, -1.5]
    """
    if reference:
        return by_name[..., :-1, :] - by_name[..., -1:, :]
    others = (by_name.sum(-2, keepdim=True) - by_name) / (by_name.shape[-2] - 1)
    return by_name - others


class Found(NamedTuple):
    """An extractor's answer.

    Attributes:
        vectors: ``[label, d_model]``.
        thresholds: ``[label]`` where the extractor has its own (a probe's intercepts), else ``None``.
    """

    vectors: Vectors
    thresholds: Float[Tensor, " label"] | None = None


def midpoint_thresholds(vectors: Vectors, examples: Examples) -> Float[Tensor, " label"]:
    """Halfway between the emotion's and neutral's mean projection; without a reference, and that of all labels' mean.

    For the difference of means, ``argmax(score, 0)`` is then exactly the nearest class mean, and without a reference
    ``argmax(score)``.
    """
    means = examples.means
    start = means[-1] if examples.reference else means.mean(0)
    return (vectors * (means[: examples.emotions] + start)).sum(-1) / 2


def leading_axes(x: Float[Tensor, "row d"], count: int) -> Float[Tensor, "axis d"]:
    """The leading right singular vectors, at most as many as ``x`` has dimensions of any size.

    Only those asked for are computed, from the smaller of the two Gram matrices.
    """
    wide = x.shape[0] < x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    size = len(gram)
    values, vectors = eigh(gram.numpy(), subset_by_index=(max(size - count, 0), size - 1))
    order = [i for i in range(len(values) - 1, -1, -1) if values[i] > max(values[-1], 0) * 1e-12]
    found = torch.tensor(vectors[:, order].T.copy())
    return torch.nn.functional.normalize(found @ x, dim=-1) if wide else found


def _mean_difference(e: Examples, _options: dict[str, float]) -> Found:
    return Found(differences(e.means, reference=e.reference))


def _paired(e: Examples, _options: dict[str, float]) -> Found:
    return Found(torch.stack([e.paired(k).mean(0) for k in range(e.emotions)]))


def _pca(e: Examples, _options: dict[str, float]) -> Found:
    vectors = []
    for k in range(e.emotions):
        differences = e.paired(k)
        axes = leading_axes(differences, 1)
        if not len(axes):  # every pair has the same states: no direction, as the difference of means says too
            vectors.append(differences.mean(0))
            continue
        axis = axes[0]
        # The mean pair fixes the sign and gives it the length of a difference.
        vectors.append(axis * (differences.mean(0) @ axis))
    return Found(torch.stack(vectors))


def _denoised(e: Examples, options: dict[str, float]) -> Found:
    count = int(options.get("components", 10))
    centred = e.background
    axes = leading_axes(centred, count)
    # Few neutral rows: at least one dimension of what they span is left.
    axes = axes[: len(axes) - (len(axes) >= len(centred) - 1)]
    raw = _mean_difference(e, {}).vectors
    return Found(raw - raw @ axes.T @ axes)


def _lda(e: Examples, options: dict[str, float]) -> Found:
    shrinkage = float(options.get("shrinkage", 0.2))
    if not 0 < shrinkage <= 1:
        raise EmotionCircuitsError(f"lda: shrinkage must be above 0 and at most 1, got {shrinkage}")
    means = e.means
    within = e.states - means[e.labels]
    # On the correlation scale, so that a few huge coordinates do not set the strength for all.
    scale = within.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    difference = differences(means, reference=e.reference) / scale
    return Found(shrunk_solve(within / scale, difference, shrinkage) / scale)


def shrunk_solve(x: Float[Tensor, "row d"], to: Float[Tensor, "k d"], shrinkage: float) -> Float[Tensor, "k d"]:
    """What a covariance that is shrunk towards the identity maps onto given vectors.

    Solved in the smaller of the two spaces, since a wide model has more dimensions than there are sentences: with ``n`` rows the
    inverse of ``γ + (1 - γ) xᵀx / n`` is ``(1 - xᵀ (n γ / (1 - γ) + x xᵀ)⁻¹ x) / γ`` (Woodbury).

    Args:
        x: centred rows.
        to: right-hand sides.
        shrinkage: γ, above 0 and at most 1.
    """
    if shrinkage == 1:
        return to
    wide = x.shape[0] < x.shape[1]
    gram = x @ x.T if wide else x.T @ x
    if wide:
        gram.diagonal().add_(len(x) * shrinkage / (1 - shrinkage))
        return (to - torch.cholesky_solve(x @ to.T, torch.linalg.cholesky(gram)).T @ x) / shrinkage
    gram *= (1 - shrinkage) / len(x)
    gram.diagonal().add_(shrinkage)
    return torch.cholesky_solve(to.T, torch.linalg.cholesky(gram)).T


def _logistic(e: Examples, options: dict[str, float]) -> Found:
    strength = float(options.get("strength", 0.01))
    if not strength > 0:
        raise EmotionCircuitsError(f"logistic: strength must be above 0, got {strength}")
    centre, scale = e.states.mean(0), e.states.std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x = ((e.states - centre) / scale).numpy()
    y = e.labels.numpy()
    with threadpool_limits(1):
        fitted = LogisticRegression(C=strength, max_iter=2000, tol=1e-4).fit(x, y)
    weights, bias = torch.tensor(fitted.coef_), torch.tensor(fitted.intercept_)
    if len(weights) == 1:  # two classes: one row of weights, for the larger index (neutral)
        weights, bias = torch.cat([-weights, weights]) / 2, torch.cat([-bias, bias]) / 2
    weights, bias = (differences(v, reference=e.reference) for v in (weights, bias[:, None]))
    vectors = weights / scale
    return Found(vectors, vectors @ centre - bias[:, 0])


EXTRACTORS: dict[str, Callable[[Examples, dict[str, float]], Found]] = {
    "mean_difference": _mean_difference,
    "paired": _paired,
    "pca": _pca,
    "denoised": _denoised,
    "lda": _lda,
    "logistic": _logistic,
    "token": _mean_difference,
}
"""Extractors by name."""

OPTIONS: dict[str, tuple[str, ...]] = {"denoised": ("components",), "lda": ("shrinkage",), "logistic": ("strength",)}


def extract(name: str, examples: Examples, options: dict[str, float] | None = None) -> Found:
    """Vectors of one layer.

    Args:
        name: one of :data:`EXTRACTORS`.
        examples: states with labels.
        options: of the extractor (``components``, ``shrinkage``, ``strength``).

    Raises:
        EmotionCircuitsError: unknown extractor or option, a label without rows, states that are not finite.
    """
    if name not in EXTRACTORS:
        raise EmotionCircuitsError(f"no extractor {name!r}; choose from {', '.join(EXTRACTORS)}")
    unknown = set(options or {}) - set(OPTIONS.get(name, ()))
    if unknown:
        known = ", ".join(OPTIONS.get(name, ())) or "none"
        raise EmotionCircuitsError(f"extractor {name} has no option {', '.join(sorted(unknown))}; it has: {known}")
    counts = np.bincount(examples.labels.numpy(), minlength=len(examples.names))
    for label, count in zip(examples.names, counts, strict=True):
        if count == 0:
            raise EmotionCircuitsError(f"extractor {name}: no row labelled {label!r} to fit on")
    if not bool(torch.isfinite(examples.states).all()):
        raise EmotionCircuitsError(
            f"extractor {name}: states hold NaN or infinity; capture in float32 or bfloat16, and leave out rows "
            "without the pooled token"
        )
    found = EXTRACTORS[name](examples, dict(options or {}))
    if not bool(torch.isfinite(found.vectors).all()):
        raise EmotionCircuitsError(f"extractor {name}: the fit overflowed; the states are too large or degenerate")
    return found


def permute_within(examples: Examples, rng: np.random.Generator) -> Examples:
    """Labels permuted within each group: what groups share stays as it is, what labels mean is gone."""
    labels = examples.labels.numpy().copy()
    order = np.lexsort((rng.random(len(labels)), examples.groups.numpy()))
    by_group = np.argsort(examples.groups.numpy(), kind="stable")
    shuffled = labels.copy()
    shuffled[by_group] = labels[order]
    return replace(examples, labels=torch.tensor(shuffled))


def names_with_reference(
    present: Sequence[str], labels: Sequence[str] | None = None, reference: str | None = "neutral"
) -> tuple[str, ...]:
    """Emotions in the order given, or else in that of the rows, then the reference where there is one.

    Args:
        present: label of every row.
        labels: emotions; those of the rows by default.
        reference: label that directions start from; ``None``: the mean of all other emotions.

    Raises:
        EmotionCircuitsError: no rows of the reference, or nothing to compare.
    """
    found = dict.fromkeys(present)
    if reference is not None and reference not in found:
        raise EmotionCircuitsError(f"no row is labelled {reference!r}, which is the reference of every direction")
    names = tuple(name for name in (found if labels is None else labels) if name in found and name != reference)
    if not names:
        raise EmotionCircuitsError(f"every row is {reference}: there is nothing to find a direction for")
    if reference is None and len(names) < 2:
        raise EmotionCircuitsError(f"every row is {names[0]}: without a reference there is nothing to compare it with")
    return labels_of(names, reference)
