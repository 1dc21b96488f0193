"""How directions lie to each other: cosines with intervals and chance, lengths, stability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.extractors import Examples, differences, extract, permute_within
from emotion_circuits.directions.fitting import examples_at, rows_of
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import rank_p

__all__ = ["chance_cosine", "cosines_by_layer", "norms_by_layer", "shuffled_vectors", "split_half_stability"]


def chance_cosine(d: int) -> float:
    """Root mean square cosine of two independent isotropic directions in ``d`` dimensions: 1/√d."""
    return float(1.0 / np.sqrt(d))


def _cosine(a: Tensor, b: Tensor) -> float:
    lengths = a.norm() * b.norm()
    return float((a @ b) / lengths) if bool(lengths > 0) else float("nan")


def _examples(store: ActivationStore, directions: DirectionSet, layer: int) -> Examples:
    names = directions.names
    chosen = rows_of(store, str(directions.fit.get("split", "train")), directions.fit.get("sets"), names)
    return examples_at(store, directions.kind, directions.pooling, layer, chosen, names, directions.reference)[0]


def _resampled_groups(examples: Examples, rng: np.random.Generator) -> Examples:
    """Whole groups drawn with replacement; a group drawn twice counts as two."""
    groups = examples.groups.numpy()
    members = pd.Series(np.arange(len(groups))).groupby(groups).apply(lambda s: s.to_numpy())
    drawn = rng.integers(0, len(members), len(members))
    index = np.concatenate([members.iloc[i] for i in drawn])
    new_groups = np.concatenate([np.full(len(members.iloc[i]), n) for n, i in enumerate(drawn)])
    at = torch.tensor(index)
    return replace(examples.some(at), groups=torch.tensor(new_groups))


def _bootstrap(
    examples: Examples, extractor: str, options: dict[str, float], count: int, rng: np.random.Generator
) -> Iterator[Float[Tensor, "label d_model"]]:
    """Directions of resampled groups."""
    if extractor not in ("mean_difference", "token"):
        for _ in range(count):
            yield extract(extractor, _resampled_groups(examples, rng), options).vectors
        return
    # A mean of resampled groups is a weighted sum of the groups' sums: no state is touched twice.
    ids, position = examples.groups.unique(return_inverse=True)
    cell = position * len(examples.names) + examples.labels
    size = len(ids) * len(examples.names)
    sums = examples.states.new_zeros(size, examples.states.shape[1]).index_add_(0, cell, examples.states)
    sums = sums.view(len(ids), -1)
    counts = torch.bincount(cell, minlength=size).view(len(ids), -1).double()
    for _ in range(count):
        drawn = rng.integers(0, len(ids), len(ids))
        weight = torch.bincount(torch.tensor(drawn), minlength=len(ids)).double()
        means = (weight @ sums).view(len(examples.names), -1) / (weight @ counts)[:, None]
        yield differences(means, reference=examples.reference)


def shuffled_vectors(
    store: ActivationStore, directions: DirectionSet, layer: int, *, draws: int = 20, seed: int = 0
) -> Float[Tensor, "draw label d_model"]:
    """Directions the same procedure finds at a layer when labels are permuted within groups: directions of nothing."""
    return _shuffled(_examples(store, directions, layer), directions, draws, np.random.default_rng(seed))


_OF_MEANS = ("mean_difference", "token")
"""Extractors whose directions are differences of means: those of many relabellings are one product."""


def _shuffled(
    examples: Examples, directions: DirectionSet, draws: int, rng: np.random.Generator
) -> Float[Tensor, "draw label d_model"]:
    if directions.extractor not in _OF_MEANS:
        options = directions.fit.get("options") or {}
        return torch.stack(
            [extract(directions.extractor, permute_within(examples, rng), options).vectors for _ in range(draws)]
        )
    labels = torch.stack([permute_within(examples, rng).labels for _ in range(draws)])
    share = torch.nn.functional.one_hot(labels, len(examples.names)).to(examples.states)
    means = torch.einsum("drn,re->dne", share, examples.states)
    means = means / share.sum(1)[..., None]
    return differences(means, reference=examples.reference)


_COSINES = ["pair", "layer", "cosine", "low", "high", "chance", "shared", "shared_low", "shared_high", "p"]


def cosines_by_layer(
    store: ActivationStore,
    directions: DirectionSet,
    *,
    layers: Sequence[int] | None = None,
    resamples: int = 200,
    shuffles: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Cosine between every two emotions' directions, with a bootstrap interval over groups.

    The directions share the neutral mean, whose sampling error alone makes cosines positive, and the more so the fewer
    coordinates a layer's states vary in: ``shared`` is the cosine that two emotions get from labels shuffled within groups
    (mean over draws), the null to compare with, and ``p`` the share of shuffles whose directions are at least as alike,
    (1 + #) / (1 + draws); ``chance`` is 1.96/√d, within which 95 % of cosines of unrelated isotropic directions lie.

    Args:
        store: the capture the directions were fitted on.
        directions: a fitted set.
        layers: all by default.
        resamples: bootstrap draws (0: no interval and no shuffles).
        shuffles: of labels; by default 199 where directions are differences of means, else a tenth of the bootstrap's draws,
            at least 10.
        seed: of the draws.

    Returns:
        Columns ``pair, layer, cosine, low, high, chance, shared, shared_low, shared_high, p``.
    """
    options = directions.fit.get("options") or {}
    pairs = list(combinations(range(len(directions.labels)), 2))
    if not pairs:  # one emotion alone
        return pd.DataFrame(columns=_COSINES)
    records = []
    chosen = directions.layers if layers is None else tuple(layers)
    # Probes need a solve per draw; their intervals come from fewer draws so that a run stays short.
    count = resamples if directions.extractor in ("mean_difference", "paired", "token") else min(resamples, 20)
    if shuffles is None:
        shuffles = (199 if directions.extractor in _OF_MEANS else max(10, count // 10)) if count else 0
    with progress_bar("cosines between directions", len(chosen)) as bar:
        for layer in chosen:
            examples = _examples(store, directions, layer)
            rng = np.random.default_rng(seed)
            draws = list(_bootstrap(examples, directions.extractor, options, count, rng))
            null = _shuffled(examples, directions, shuffles, rng) if shuffles else None
            raw = directions.vectors[:, directions.place(layer)].double()
            for a, b in pairs:
                sampled = [_cosine(v[a], v[b]) for v in draws]
                low, high = np.nanquantile(sampled, [0.025, 0.975]) if sampled else (np.nan, np.nan)
                cosine = _cosine(raw[a], raw[b])
                records.append(
                    {
                        "pair": f"{directions.labels[a]} – {directions.labels[b]}",
                        "layer": layer,
                        "cosine": cosine,
                        "low": float(low),
                        "high": float(high),
                        "chance": 1.96 * chance_cosine(directions.d_model),
                        **_against_shuffles(cosine, null, a, b),
                    }
                )
            bar.advance()
    return pd.DataFrame.from_records(records)


def _against_shuffles(
    cosine: float, null: Float[Tensor, "draw label d_model"] | None, a: int, b: int
) -> dict[str, float]:
    """Mean, middle 95 % and rank p of the cosines of directions of nothing."""
    if null is None:
        return dict.fromkeys(("shared", "shared_low", "shared_high", "p"), float("nan"))
    drawn = torch.nn.functional.cosine_similarity(null[:, a], null[:, b], dim=-1).numpy()
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = rank_p(cosine, drawn)
    return {"shared": float(drawn.mean()), "shared_low": float(low), "shared_high": float(high), "p": p}


def norms_by_layer(directions: DirectionSet) -> pd.DataFrame:
    """Lengths of the directions.

    Returns:
        Columns ``label, layer, relative`` (L2 norm in residual norms, so that 1 is as long as a typical state of that
        layer), ``l2``, ``l1`` (raw, in activation units), ``residual_norm``.
    """
    records = []
    for k, label in enumerate(directions.labels):
        for at, layer in enumerate(directions.layers):
            vector = directions.vectors[k, at].double()
            l2, norm = float(vector.norm()), float(directions.norms[at])
            records.append(
                {
                    "label": label,
                    "layer": layer,
                    "relative": l2 / norm if norm > 0 else float("nan"),
                    "l2": l2,
                    "l1": float(vector.abs().sum()),
                    "residual_norm": norm,
                }
            )
    return pd.DataFrame.from_records(records)


def split_half_stability(
    store: ActivationStore,
    directions: DirectionSet,
    *,
    layers: Sequence[int] | None = None,
    splits: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Cosine between the same emotion's directions fitted on two disjoint halves of the groups.

    Returns:
        Columns ``label, layer, cosine`` (mean over random halvings), ``low, high`` (their range), ``chance`` (1/√d).

    Raises:
        EmotionCircuitsError: fewer than four groups.
    """
    options = directions.fit.get("options") or {}
    records = []
    for layer in directions.layers if layers is None else layers:
        examples = _examples(store, directions, layer)
        groups = examples.groups.unique().numpy()
        if len(groups) < 4:
            raise EmotionCircuitsError(f"stability needs at least 4 groups to halve, there are {len(groups)}")
        rng = np.random.default_rng(seed)
        found: list[list[float]] = []
        for _ in range(splits):
            half = torch.tensor(rng.permutation(groups)[: len(groups) // 2])
            inside = torch.isin(examples.groups, half)
            a, b = (extract(directions.extractor, examples.some(m), options).vectors for m in (inside, ~inside))
            found.append([_cosine(a[k], b[k]) for k in range(len(directions.labels))])
        for k, label in enumerate(directions.labels):
            values = [row[k] for row in found]
            records.append(
                {
                    "label": label,
                    "layer": layer,
                    "cosine": float(np.mean(values)),
                    "low": float(np.min(values)),
                    "high": float(np.max(values)),
                    "chance": chance_cosine(directions.d_model),
                }
            )
    return pd.DataFrame.from_records(records)
