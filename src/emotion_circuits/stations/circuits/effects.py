"""What every head and MLP does, group by group: means over a group's pairs or sentences, for others to halve and to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotion_circuits.circuits.attribution import Attribution
from emotion_circuits.directions import DirectionSet
from emotion_circuits.directions.trace_questions import SPLITS
from emotion_circuits.heads import Node, PairTask
from emotion_circuits.heads.carrying import Carried
from emotion_circuits.heads.tasks import by_group

__all__ = ["carried_effects", "pair_effects"]


def pair_effects(scored: Attribution, train: PairTask, values: Sequence[str]) -> pd.DataFrame:
    """Attribution by group, for every value the groups of the pairs that have it on either side.

    Args:
        scored: of every head and MLP on train pairs, one way; a pair and its mirror have the same score.
        train: these pairs.
        values: of the attribute; one that no pair has is left out.
    """
    scores = scored.node_scores.double().cpu().numpy()
    parts = []
    for value in values:
        rows = [i for i, p in enumerate(train.pairs) if value in (p.label, p.corrupted_label)]
        groups = [train.groups[i] for i in rows]
        if rows:
            parts.append(
                _long("pairs", value, list(dict.fromkeys(groups)), scored.nodes, by_group(scores[rows], groups))
            )
    return pd.concat(parts, ignore_index=True) if parts else _long("pairs", "", [], (), np.empty((0, 0)))


def carried_effects(states: Mapping[str, Carried], directions: DirectionSet) -> pd.DataFrame:
    """What parts carry to every value's direction, by group of the sentences of both splits, on which no direction was fitted.

    Args:
        states: of every split.
        directions: that parts carry to.
    """
    parts = []
    for value in directions.labels:
        for split in SPLITS:
            named, effects = states[split].effects(directions, value)
            groups = [group.rpartition("\x1f")[2] for group in named]
            parts.append(_long("carried", value, groups, states[split].nodes, effects))
    return pd.concat(parts, ignore_index=True)


def _long(
    task: str, value: str, groups: Sequence[str], nodes: Sequence[Node], effects: Float[np.ndarray, "group node"]
) -> pd.DataFrame:
    names = [str(node) for node in nodes]
    return pd.DataFrame(
        {
            "task": task,
            "value": value,
            "group": np.repeat(np.array(groups, dtype=object), len(names)),
            "node": np.tile(np.array(names, dtype=object), len(groups)),
            "effect": effects.ravel(),
        }
    )
