"""Emotion subspaces in numbers: how much two of them share, beside chance, a simulated null and a subspace of topics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.extractors import Examples, extract, names_with_reference
from emotion_circuits.directions.fitting import examples_at, rows_of
from emotion_circuits.directions.subspaces import (
    overlap,
    overlap_chance,
    overlap_null,
    principal_angles,
    principal_subspace,
)
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["KS", "centred_states", "subspace_reliability", "subspaces_between"]

KS = (1, 2, 3, 5, 10)
"""Dimensions swept by default; the plan's is 10."""


def centred_states(examples: Examples) -> Float[Tensor, "row d"]:
    """States minus the mean of their group: what is left of a scene when only the emotion changes."""
    ids, position = examples.groups.unique(return_inverse=True)
    sums = examples.states.new_zeros(len(ids), examples.states.shape[1]).index_add_(0, position, examples.states)
    return examples.states - (sums / torch.bincount(position)[:, None])[position]


def _bases(examples: Examples, k: int, extractor: str) -> dict[str, Tensor]:
    """Bases of ``k`` dimensions: of emotion by two definitions, and of topics as a control (where there are so many)."""
    found = {
        "centred states": principal_subspace(centred_states(examples), k, centre=False),
        "topics": principal_subspace(examples.background, k),
    }
    directions = extract(extractor, examples).vectors
    if k < len(examples.names):  # directions of so many labels span one dimension less
        found["directions"] = principal_subspace(torch.nn.functional.normalize(directions, dim=-1), k, centre=False)
    return found


def _train(store: ActivationStore, kind: str, pooling: str, layer: int, reference: str | None) -> Examples:
    chosen = rows_of(store, "train", None, None)
    names = names_with_reference(list(store.rows[chosen]["label"]), reference=reference)
    return examples_at(store, kind, pooling, layer, chosen, names, reference)[0]


def _row(kind: str, a: Tensor, b: Tensor, *, draws: int, seed: int) -> dict[str, object]:
    d, k = a.shape
    null = overlap_null(d, k, k, draws=draws, seed=seed)
    low, high = np.quantile(null, [0.025, 0.975])
    angles = principal_angles(a, b)
    return {
        "subspace": kind,
        "k": k,
        "overlap": overlap(a, b),
        "chance": overlap_chance(d, k, k),
        "null_low": float(low),
        "null_high": float(high),
        "smallest_angle": float(angles[0]),
        "largest_angle": float(angles[-1]),
    }


def subspace_reliability(
    store: ActivationStore,
    layer: int,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    extractor: str = "mean_difference",
    ks: Sequence[int] = KS,
    draws: int = 200,
    reference: str | None = "neutral",
    seed: int = 0,
) -> pd.DataFrame:
    """Subspaces fitted on two disjoint halves of the groups, over k; and the emotion subspace against that of topics.

    Returns:
        One row per comparison and k: ``comparison`` (``halves`` or ``emotion × topics``), ``subspace`` (``centred
        states``: PCA of states without their group's mean; ``directions``: PCA of the direction set; ``topics``: PCA of
        neutral states, the control; without a reference of all states around their label's mean), ``k, overlap``,
        ``chance`` (k/d), ``null_low, null_high`` (95 % of random subspaces), ``smallest_angle, largest_angle`` in degrees.

    Raises:
        EmotionCircuitsError: fewer than four groups.
    """
    examples = _train(store, kind, pooling, layer, reference)
    groups = examples.groups.unique().numpy()
    if len(groups) < 4:
        raise EmotionCircuitsError(f"halving needs at least 4 groups, there are {len(groups)}")
    half = torch.isin(
        examples.groups, torch.tensor(np.random.default_rng(seed).permutation(groups)[: len(groups) // 2])
    )
    a, b = (examples.some(m) for m in (half, ~half))
    records = []
    for k in _possible(ks, examples):
        left, right = _bases(a, k, extractor), _bases(b, k, extractor)
        for name in left:
            records.append({"comparison": "halves", **_row(name, left[name], right[name], draws=draws, seed=seed)})
        crossed = _row("centred states", left["centred states"], right["topics"], draws=draws, seed=seed)
        records.append({"comparison": "emotion × topics", **crossed})
    return pd.DataFrame.from_records(records)


def subspaces_between(
    a: ActivationStore,
    b: ActivationStore,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    extractor: str = "mean_difference",
    depths: Sequence[float] = (0.5, 0.67, 0.83),
    ks: Sequence[int] = KS,
    draws: int = 200,
    reference: str | None = "neutral",
    seed: int = 0,
) -> pd.DataFrame:
    """Overlap of two models' subspaces in raw coordinates, which only models of one width have in common.

    Two models that were trained apart share no axes, so chance is what to expect here, whatever they know of emotion.

    Returns:
        ``layer_a, layer_b`` and the columns of :func:`subspace_reliability` (without ``comparison``).

    Raises:
        EmotionCircuitsError: different widths.
    """
    if a.d_model != b.d_model:
        raise EmotionCircuitsError(
            f"subspaces: widths {a.d_model} and {b.d_model} share no axes; compare by alignment, CKA or RSA instead"
        )
    records = []
    for depth in depths:
        la, lb = (s.layers[round(depth * (len(s.layers) - 1))] for s in (a, b))
        left, right = (_train(s, kind, pooling, at, reference) for s, at in ((a, la), (b, lb)))
        for k in _possible(ks, left):
            bases = _bases(left, k, extractor), _bases(right, k, extractor)
            for name in bases[0]:
                row = _row(name, bases[0][name], bases[1][name], draws=draws, seed=seed)
                records.append({"layer_a": la, "layer_b": lb, **row})
    return pd.DataFrame.from_records(records)


def _possible(ks: Sequence[int], examples: Examples) -> list[int]:
    """Sizes that half of the rows can hold, each once."""
    most = min(examples.states.shape[1], len(examples.background) // 2 - 2)
    return [k for k in dict.fromkeys(ks) if 1 <= k <= most]
