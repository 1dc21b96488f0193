"""Is it the same circuit twice? Stability, overlap, joint against single effects, double dissociation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, ablation_scan
from emotion_circuits.heads.changes import AblationMode
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import bootstrap_mean_intervals

__all__ = ["Joint", "Stability", "chance_jaccard", "dissociation", "jaccard", "joint_effect", "overlap", "stability"]


def jaccard(a: Collection[object], b: Collection[object]) -> float:
    """Size of the intersection over size of the union; 1 for two empty sets."""
    first, second = set(a), set(b)
    return len(first & second) / len(first | second) if first | second else 1.0


def chance_jaccard(total: int, a: int, b: int, *, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean and middle 95 % of the Jaccard index of two random sets of sizes ``a`` and ``b`` among ``total``.

    The intersection is hypergeometric.
    """
    if not 0 <= max(a, b) <= total:
        raise EmotionCircuitsError(f"sets of {a} and {b} do not fit into {total} parts")
    shared = np.random.default_rng(seed).hypergeometric(a, total - a, b, size=draws) if b else np.zeros(draws)
    union = a + b - shared
    values = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


@dataclass(frozen=True)
class Stability:
    """Jaccard index of the best ``k`` of resampled pairs with the best ``k`` of all pairs.

    Attributes:
        k: set size.
        mean: mean over resamples.
        low: 2.5 % quantile.
        high: 97.5 % quantile.
        chance: mean of random sets of that size.
    """

    k: int
    mean: float
    low: float
    high: float
    chance: float


def stability(scores: Float[Tensor, "pair item"], k: int, *, resamples: int = 500, seed: int = 0) -> Stability:
    """How far the best ``k`` items (by absolute mean score) depend on which pairs were drawn.

    Args:
        scores: signed scores per pair.
        k: set size.
        resamples: bootstrap draws of pairs.
        seed: of the draws.
    """
    values = scores.double().cpu().numpy()
    pairs, items = values.shape
    if not 0 < k <= items:
        raise EmotionCircuitsError(f"k must lie between 1 and {items}, got {k}")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=resamples) / pairs
    whole = set(np.argsort(-np.abs(values.mean(0)), kind="stable")[:k].tolist())
    best = np.argsort(-np.abs(counts @ values), axis=1, kind="stable")[:, :k]
    found = np.array([jaccard(whole, row.tolist()) for row in best])
    low, high = np.quantile(found, [0.025, 0.975])
    return Stability(k, float(found.mean()), float(low), float(high), chance_jaccard(items, k, k, seed=seed)[0])


@dataclass(frozen=True)
class Joint:
    """A set's joint effect against the sum of its members' single effects, in logits with 95 % intervals by pair.

    Attributes:
        joint: effect of taking all out at once.
        joint_interval: its interval.
        summed: sum of the single effects.
        summed_interval: its interval.
        excess: joint − summed; above 0 members stand in for one another (backup), below 0 they are redundant or clash.
        excess_interval: its interval.
    """

    joint: float
    joint_interval: tuple[float, float]
    summed: float
    summed_interval: tuple[float, float]
    excess: float
    excess_interval: tuple[float, float]


def joint_effect(
    model: LanguageModel, task: PairTask, nodes: Sequence[Node], mode: AblationMode = "zero", *, seed: int = 0
) -> Joint:
    """Ablate a set at once and one by one.

    Args:
        model: the model.
        task: the pairs.
        nodes: the set.
        mode: ``zero``, ``mean`` or ``resample``.
        seed: of the bootstrap.
    """
    scan: Scan = ablation_scan(model, task, [tuple(nodes), *((n,) for n in nodes)], mode)
    effect = by_group(scan.effect.T.double().cpu().numpy(), task.groups).T
    joint, summed = effect[0], effect[1:].sum(0)
    found = bootstrap_mean_intervals(np.stack([joint, summed, joint - summed], axis=1), resamples=2000, seed=seed)
    (a, b, c) = [(e.estimate, (e.low, e.high)) for e in found]
    return Joint(a[0], a[1], b[0], b[1], c[0], c[1])


def overlap(circuits: Mapping[str, Collection[Node]], total: int, *, seed: int = 0) -> pd.DataFrame:
    """Jaccard index of every two circuits beside what random circuits of the same sizes share."""
    names = list(circuits)
    rows = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            mean, low, high = chance_jaccard(total, len(set(circuits[a])), len(set(circuits[b])), seed=seed)
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "jaccard": jaccard(circuits[a], circuits[b]),
                    "chance": mean,
                    "chance_low": low,
                    "chance_high": high,
                }
            )
    return pd.DataFrame(rows)


def dissociation(
    model: LanguageModel,
    tasks: Mapping[str, PairTask],
    circuits: Mapping[str, Sequence[Node]],
    mode: AblationMode = "mean",
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Effect of taking out each emotion's circuit on each emotion's pairs.

    Returns:
        One row per (circuit, task): effect in logits with interval, and its share of that task's gap. A double
        dissociation has large shares where both are the same emotion and small ones elsewhere.
    """
    rows = []
    for task_name, task in tasks.items():
        scan = ablation_scan(model, task, [tuple(c) for c in circuits.values()], mode)
        intervals = bootstrap_mean_intervals(
            scan.effect.T.double().cpu().numpy(), clusters=task.groups, resamples=2000, seed=seed
        )
        for index, name in enumerate(circuits):
            e = intervals[index]
            share = float(scan.share[index])
            rows.append(
                {
                    "circuit": name,
                    "task": task_name,
                    "effect": e.estimate,
                    "low": e.low,
                    "high": e.high,
                    "share": share,
                    "n": e.n,
                }
            )
    return pd.DataFrame(rows)
