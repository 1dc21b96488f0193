"""Is it the same circuit twice? Which parts circuits share, from resampled pairs, of two circuits, of two emotions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.statistics import rank_p, resample_counts

__all__ = [
    "EmotionOverlap",
    "Stability",
    "chance_jaccard",
    "emotion_overlap",
    "jaccard",
    "named_by_chance",
    "overlap",
    "stability",
]


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


class Stability(BaseModel):
    """How far the best parts depend on which pairs were drawn: the best ``k`` of resampled pairs beside those of all pairs.

    Attributes:
        k: size of both sets, in parts.
        jaccard: mean Jaccard index over resamples, 0 (nothing shared) to 1 (the same set).
        low: 2.5 % quantile of it over resamples.
        high: 97.5 % quantile of it over resamples.
        chance: mean Jaccard index of two random sets of that size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int
    jaccard: float
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
    counts = resample_counts(pairs, resamples, seed) / pairs
    whole = set(np.argsort(-np.abs(values.mean(0)), kind="stable")[:k].tolist())
    best = np.argsort(-np.abs(counts @ values), axis=1, kind="stable")[:, :k]
    found = np.array([jaccard(whole, row.tolist()) for row in best])
    low, high = np.quantile(found, [0.025, 0.975])
    return Stability(
        k=k,
        jaccard=float(found.mean()),
        low=float(low),
        high=float(high),
        chance=chance_jaccard(items, k, k, seed=seed)[0],
    )


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


@dataclass(frozen=True, eq=False)
class EmotionOverlap:
    """Do circuits of one emotion agree more than circuits of different emotions? From disjoint halves of the pairs.

    Two emotions share the pairs that set one against the other, so circuits from all pairs overlap by construction. Here
    each circuit comes from one half of the groups and is compared with one from the other half.

    Attributes:
        table: one row per two emotions (or one with itself): mean Jaccard index of the best ``k`` and ``chance``.
        specificity: mean within emotions minus mean between.
        interval: its 95 % interval over groups (Bayesian bootstrap: random weights, none of them 0, so that no emotion can
            be drawn out of a half).
        null_interval: middle 95 % where the groups' emotions are shuffled.
        p: share of shuffles as specific (with the +1 correction).
        k: size of the circuits.
        n: groups.
    """

    table: pd.DataFrame
    specificity: float
    interval: tuple[float, float]
    null_interval: tuple[float, float]
    p: float
    k: int
    n: int


def emotion_overlap(
    scores: Float[Tensor, "pair item"],
    task: PairTask,
    emotions: Sequence[str],
    *,
    k: int = 20,
    splits: int = 20,
    resamples: int = 200,
    seed: int = 0,
) -> EmotionOverlap:
    """Compare the best ``k`` items of emotions, within and between, on disjoint halves of the groups.

    Args:
        scores: signed scores per pair; a pair counts for both emotions it sets against one another.
        task: the pairs, each two prompts in one direction.
        emotions: which.
        k: circuit size.
        splits: random halves per figure.
        resamples: bootstrap draws, and shuffles of the null.
        seed: of everything drawn.

    Raises:
        EmotionCircuitsError: fewer than 2 emotions, or one with fewer than 4 groups.
    """
    names = list(dict.fromkeys(task.groups))
    values = by_group(scores.double().cpu().numpy(), task.groups)
    sides = {g: {p.label, p.corrupted_label} for p, g in zip(task.pairs, task.groups, strict=True)}
    for pair in task.pairs:
        sides[pair.group] |= {pair.label, pair.corrupted_label}
    member = np.array([[e in sides[g] for g in names] for e in emotions], dtype=float)
    if len(emotions) < 2 or member.sum(1).min() < 4:
        raise EmotionCircuitsError("comparing emotions needs 2 of them, with 4 groups of pairs each")
    rng = np.random.default_rng(seed)

    def matrix(member: np.ndarray, counts: np.ndarray, draws: int) -> np.ndarray:
        total, used = np.zeros((len(emotions), len(emotions))), 0
        while used < draws:
            half = rng.permutation(len(names)) < len(names) // 2
            weights = [member * counts * side for side in (half, ~half)]
            if min(w.sum(1).min() for w in weights) == 0:  # a half without one of the emotions: draw another
                continue
            best = []
            for w in weights:
                size = np.abs(w @ values)
                chosen = np.zeros_like(size)
                np.put_along_axis(chosen, np.argpartition(-size, k - 1, axis=1)[:, :k], 1.0, axis=1)
                best.append(chosen)
            shared = best[0] @ best[1].T
            total += shared / (2 * k - shared)
            used += 1
        mean: np.ndarray = (total + total.T) / (2 * draws)
        return mean

    def specific(found: np.ndarray) -> float:
        n = len(found)
        return float(np.trace(found) / n - (found.sum() - np.trace(found)) / (n * (n - 1)))

    ones = np.ones(len(names))
    whole = matrix(member, ones, 10 * splits)
    drawn = [specific(matrix(member, rng.exponential(size=len(names)), splits)) for _ in range(resamples)]
    null = np.array([specific(matrix(member[:, rng.permutation(len(names))], ones, splits)) for _ in range(resamples)])
    chance = chance_jaccard(values.shape[1], k, k, seed=seed)[0]
    rows = [
        {"a": a, "b": b, "jaccard": float(whole[i, j]), "chance": chance}
        for i, a in enumerate(emotions)
        for j, b in enumerate(emotions)
        if i <= j
    ]
    found = specific(whole)
    low, high = np.quantile(drawn, [0.025, 0.975])
    null_low, null_high = np.quantile(null, [0.025, 0.975])
    p = float(((null >= found).sum() + 1) / (resamples + 1))
    return EmotionOverlap(
        pd.DataFrame(rows), found, (float(low), float(high)), (float(null_low), float(null_high)), p, k, len(names)
    )


def named_by_chance(
    chosen_on: Float[Tensor, "pair item"],
    train: PairTask,
    measured_on: Float[Tensor, "pair item"],
    test: PairTask,
    emotions: Sequence[str],
    *,
    k: int,
    shuffles: int = 499,
    seed: int = 0,
) -> float:
    """How often sets of items are as specific to emotions where it is chance which set bears which emotion's name.

    Few sets have names, and each does something to every emotion's answers: named at random, one in some is named rightly,
    and any number of test pairs shows that firmly. So the choice itself is made again: emotions of the train groups are
    shuffled, the best ``k`` items of each are chosen anew, and their scores summed on test pairs, own minus others'.

    Args:
        chosen_on: signed scores of train pairs.
        train: those pairs, one way.
        measured_on: signed scores of test pairs.
        test: those pairs, one way.
        emotions: which.
        k: items per emotion.
        shuffles: of the train groups' emotions.
        seed: of the shuffles.

    Returns:
        The share of shuffles as specific as the emotions themselves (with the +1 correction).
    """
    (own, values), (member, tested) = (_members(t, s, emotions) for t, s in ((train, chosen_on), (test, measured_on)))
    on_test = (member @ tested) / np.maximum(member.sum(1, keepdims=True), 1)

    def specific(given: np.ndarray) -> float:
        size = np.abs((given @ values) / np.maximum(given.sum(1, keepdims=True), 1))
        best = np.argpartition(-size, k - 1, axis=1)[:, :k]
        summed = np.array([[row[items].sum() for items in best] for row in on_test])
        n = len(summed)
        return float(np.trace(summed) / n - (summed.sum() - np.trace(summed)) / (n * (n - 1)))

    rng = np.random.default_rng(seed)
    null = [specific(own[:, rng.permutation(own.shape[1])]) for _ in range(shuffles)]
    return rank_p(specific(own), null)


def _members(task: PairTask, scores: Tensor, emotions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which groups involve which emotion ``[emotion, group]``, and the groups' mean scores ``[group, item]``."""
    sides: dict[str, set[str]] = {}
    for pair in task.pairs:
        sides.setdefault(pair.group, set()).update((pair.label, pair.corrupted_label))
    member = np.array([[e in found for found in sides.values()] for e in emotions], dtype=float)
    return member, by_group(scores.double().cpu().numpy(), task.groups)
