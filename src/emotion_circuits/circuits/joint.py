"""What taking out a whole set of parts does: joint against single effects, double dissociation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, ablation_scan
from emotion_circuits.heads.changes import AblationMode
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import bootstrap_mean_intervals, permutation_p, rank_p

__all__ = ["Dissociation", "Joint", "dissociation", "joint_effect"]


class Joint(BaseModel):
    """A set's joint effect against the sum of its members' single effects, with 95 % intervals by group of pairs.

    Attributes:
        parts: how many nodes were taken out.
        joint: effect of taking all out at once, in logits.
        joint_interval: its interval, in logits.
        summed: sum of the single effects, in logits.
        summed_interval: its interval, in logits.
        excess: joint − summed, in logits; above 0 members stand in for one another (backup), below 0 they are redundant or
            clash.
        excess_interval: its interval, in logits.
        excess_p: one-sided sign-flip test of an excess above 0, by group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: int
    joint: float
    joint_interval: tuple[float, float]
    summed: float
    summed_interval: tuple[float, float]
    excess: float
    excess_interval: tuple[float, float]
    excess_p: float


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
    return Joint(
        parts=len(nodes),
        joint=a[0],
        joint_interval=a[1],
        summed=b[0],
        summed_interval=b[1],
        excess=c[0],
        excess_interval=c[1],
        excess_p=permutation_p(joint - summed, alternative="greater", seed=seed + 1),
    )


@dataclass(frozen=True, eq=False)
class Dissociation:
    """What taking out each emotion's circuit does to each emotion's pairs.

    Attributes:
        table: one row per (circuit, task): effect in logits with interval by group, and its share of the task's gap.
        specificity: mean share under the own emotion's circuit minus mean share under the others'.
        interval: its 95 % interval by group, all tasks together (groups that stand in two tasks count once).
        null_interval: middle 95 % where the groups' emotions are shuffled.
        p: the larger of a one-sided sign-flip test by group and of the share of shuffles as specific (with the +1 correction).
        n: groups.
    """

    table: pd.DataFrame
    specificity: float
    interval: tuple[float, float]
    null_interval: tuple[float, float]
    p: float
    n: int


def dissociation(
    model: LanguageModel,
    tasks: Mapping[str, PairTask],
    circuits: Mapping[str, Sequence[Node]],
    mode: AblationMode = "mean",
    *,
    batch_rows: int = 256,
    shuffles: int = 999,
    seed: int = 0,
) -> Dissociation:
    """Effect of taking out each emotion's circuit on each emotion's pairs.

    Shuffles exchange the emotions of whole groups, after each circuit's mean effect is taken off: a circuit that hurts all
    pairs more is not specific. Circuits come from other pairs, so nothing is selected on these.

    A double dissociation has large shares where circuit and task are of the same emotion and small ones elsewhere.

    Args:
        model: the model.
        tasks: pairs by emotion (the clean prompt's).
        circuits: nodes by emotion, and further sets (e.g. random ones) that are no task's own.
        mode: how nodes are taken out.
        batch_rows: rows run at once.
        shuffles: of the groups' emotions.
        seed: of bootstrap, sign flips and shuffles.

    Raises:
        EmotionCircuitsError: a task without a circuit of its own.
    """
    if missing := set(tasks) - set(circuits):
        raise EmotionCircuitsError(f"no circuit is named like the task {min(missing)!r}")
    rows, contrasts, groups, shares, labels = [], [], [], [], []
    names = list(tasks)
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
            shares.append(effect[[place[name] for name in names]].T / scan.mean_gap)
            labels += [names.index(task_name)] * len(task)
    if not contrasts:
        nan = float("nan")
        return Dissociation(pd.DataFrame(rows), nan, (nan, nan), (nan, nan), nan, 0)
    contrast = np.concatenate(contrasts)
    found = bootstrap_mean_intervals(contrast, clusters=groups, resamples=2000, seed=seed)[0]
    flips = permutation_p(by_group(contrast, groups), alternative="greater", seed=seed + 1)
    own, null = _shuffled_emotions(np.concatenate(shares), np.array(labels), groups, shuffles, seed + 2)
    low, high = np.quantile(null, [0.025, 0.975])
    return Dissociation(
        pd.DataFrame(rows),
        found.estimate,
        (found.low, found.high),
        (float(low), float(high)),
        max(flips, rank_p(own, null)),
        found.n,
    )


def _shuffled_emotions(
    shares: NDArray[np.float64], labels: NDArray[np.int64], groups: Sequence[str], shuffles: int, seed: int
) -> tuple[float, NDArray[np.float64]]:
    """Own share minus the others', beyond each circuit's mean; as it is, and with the emotions of groups exchanged.

    Args:
        shares: ``[pair, emotion's circuit]``.
        labels: each pair's emotion.
        groups: each pair's group; groups with equally many pairs exchange their emotions.
        shuffles: how often.
        seed: of the shuffles.
    """
    centred = shares - shares.mean(0)
    count = centred.shape[1]
    contrast = (count * centred - centred.sum(1, keepdims=True)) / (count - 1)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    blocks: dict[int, list[list[int]]] = {}
    for held in members.values():
        blocks.setdefault(len(held), []).append(held)
    weight = np.array([1 / len(members[g]) for g in groups])
    every = np.arange(len(labels))

    def specific(given: NDArray[np.int64]) -> float:
        return float((contrast[every, given] * weight).sum() / len(members))

    rng = np.random.default_rng(seed)
    null = []
    for _ in range(shuffles):
        given = labels.copy()
        for block in blocks.values():
            place = np.array(block)
            given[place] = labels[place[rng.permutation(len(place))]]
        null.append(specific(given))
    return specific(labels), np.array(null)
