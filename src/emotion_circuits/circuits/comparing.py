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

__all__ = [
    "Dissociation",
    "EmotionOverlap",
    "Joint",
    "Stability",
    "chance_jaccard",
    "dissociation",
    "emotion_overlap",
    "jaccard",
    "joint_effect",
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


@dataclass(frozen=True, eq=False)
class Dissociation:
    """What taking out each emotion's circuit does to each emotion's pairs.

    Attributes:
        table: one row per (circuit, task): effect in logits with interval by group, and its share of the task's gap.
        specificity: mean share under the own emotion's circuit minus mean share under the others'.
        interval: its 95 % interval by group, all tasks together (groups that stand in two tasks count once).
        n: groups.
    """

    table: pd.DataFrame
    specificity: float
    interval: tuple[float, float]
    n: int


def dissociation(
    model: LanguageModel,
    tasks: Mapping[str, PairTask],
    circuits: Mapping[str, Sequence[Node]],
    mode: AblationMode = "mean",
    *,
    batch_rows: int = 256,
    seed: int = 0,
) -> Dissociation:
    """Effect of taking out each emotion's circuit on each emotion's pairs.

    A double dissociation has large shares where circuit and task are of the same emotion and small ones elsewhere.

    Args:
        model: the model.
        tasks: pairs by emotion (the clean prompt's).
        circuits: nodes by emotion, and further sets (e.g. random ones) that are no task's own.
        mode: how nodes are taken out.
        batch_rows: rows run at once.
        seed: of the bootstrap.

    Raises:
        EmotionCircuitsError: a task without a circuit of its own.
    """
    if missing := set(tasks) - set(circuits):
        raise EmotionCircuitsError(f"no circuit is named like the task {min(missing)!r}")
    rows, contrasts, groups = [], [], []
    for task_name, task in tasks.items():
        scan = ablation_scan(model, task, [tuple(c) for c in circuits.values()], mode, batch_rows=batch_rows)
        effect = scan.effect.double().cpu().numpy()
        intervals = bootstrap_mean_intervals(effect.T, clusters=task.groups, resamples=2000, seed=seed)
        for name, e in zip(circuits, intervals, strict=True):
            share = e.estimate / scan.mean_gap
            rows.append(
                {"circuit": name, "task": task_name, "effect": e.estimate, "low": e.low, "high": e.high,
                 "share": share, "n": e.n}
            )  # fmt: skip
        place = {name: i for i, name in enumerate(circuits)}
        others = [place[name] for name in tasks if name != task_name]
        if others:
            contrasts.append((effect[place[task_name]] - effect[others].mean(0)) / scan.mean_gap)
            groups += list(task.groups)
    if not contrasts:
        return Dissociation(pd.DataFrame(rows), float("nan"), (float("nan"), float("nan")), 0)
    found = bootstrap_mean_intervals(np.concatenate(contrasts), clusters=groups, resamples=2000, seed=seed)[0]
    return Dissociation(pd.DataFrame(rows), found.estimate, (found.low, found.high), found.n)


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
