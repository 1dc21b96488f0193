"""What taking out a whole set of parts does: joint against single effects, double dissociation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, Scan, ablation_scan
from emotion_circuits.heads.changes import AblationMode
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import bootstrap_mean_intervals, cluster_means, permutation_p

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
        excess_p: two-sided sign-flip test of the excess, by group.
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
        excess_p=permutation_p(joint - summed, seed=seed + 1),
    )


@dataclass(frozen=True, eq=False)
class Dissociation:
    """What taking out each emotion's circuit does to each emotion's pairs.

    Attributes:
        table: one row per (circuit, task): effect in logits with interval by group, and its share of the task's gap.
        specificity: mean share under the own emotion's circuit minus mean share under the others'.
        interval: its 95 % interval by group, all tasks together (groups that stand in two tasks count once).
        p: two-sided sign-flip test of the specificity, by group.
        n: groups.
    """

    table: pd.DataFrame
    specificity: float
    interval: tuple[float, float]
    p: float
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
        return Dissociation(pd.DataFrame(rows), float("nan"), (float("nan"), float("nan")), float("nan"), 0)
    by_groups, _ = cluster_means(np.concatenate(contrasts), groups)
    found = bootstrap_mean_intervals(by_groups, resamples=2000, seed=seed)[0]
    p = permutation_p(by_groups[:, 0], seed=seed + 1)
    return Dissociation(pd.DataFrame(rows), found.estimate, (found.low, found.high), p, found.n)
