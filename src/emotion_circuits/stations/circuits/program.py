"""What the station measures and claims on pairs, whoever asks: a study, or a calibration with shuffled pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.circuit import Circuit
from emotion_circuits.circuits.claims import Effects, node_effects
from emotion_circuits.circuits.finding import Search, measure_circuit, ranking
from emotion_circuits.circuits.joint import dissociation
from emotion_circuits.circuits.overlap import emotion_overlap, named_by_chance
from emotion_circuits.heads import Node, PairTask, head_nodes
from emotion_circuits.heads.screening import Screen, delta_attention
from emotion_circuits.model import LanguageModel
from emotion_circuits.stations.circuits.claims import attention_draft, dissociation_draft, overlap_draft
from emotion_circuits.stations.circuits.settings import CircuitsSettings
from emotion_circuits.statistics import Draft

__all__ = ["Found", "Scan", "emotion_heads", "measure"]

Scan = Callable[[PairTask, list[Node]], Effects]
"""Noises nodes exactly on test pairs."""


@dataclass(frozen=True, eq=False)
class Found:
    """Everything that was measured on pairs.

    Attributes:
        scored: attribution of every head and MLP on train pairs, one way.
        screen: Δattention on train pairs.
        effects: exact effects on test pairs.
        circuit: with its own claims, the task's among them.
        overlap: Jaccard indices of emotions; ``None`` (as ``dissociation``) where emotions have too few groups.
        dissociation: what taking out each emotion's heads does.
        drafts: what else is claimed.
    """

    scored: Attribution
    screen: Screen
    effects: Effects
    circuit: Circuit
    overlap: pd.DataFrame | None
    dissociation: pd.DataFrame | None
    drafts: tuple[Draft, ...]


def measure(
    model: LanguageModel,
    tasks: Mapping[str, PairTask],
    c: CircuitsSettings,
    values: Sequence[str],
    *,
    reference: str | None,
    name: str,
    seed: int = 0,
    scan: Scan | None = None,
) -> Found:
    """Score on train pairs, size on validation pairs, measure on test pairs, compare emotions.

    Args:
        model: the model.
        tasks: ``train``, ``validation`` and ``test`` pairs.
        c: how.
        values: emotions.
        reference: label of prompts without any.
        name: of the pairs.
        seed: of everything random.
        scan: noises nodes on test pairs; in this process by default.
    """
    train, test = tasks["train"].one_way(), tasks["test"]
    scored = attribute(model, train, steps=c.steps)
    links = attribute(model, train.select(range(min(c.edge_pairs, len(train)))), steps=min(c.steps, 3), edges=True)
    ranked = ranking(scored)
    screen = delta_attention(model, tasks["train"], reference=reference)
    chosen = ranked if c.exact is None else ranked[: c.exact]
    if scan is None:
        effects = node_effects(model, test, chosen, seed=seed, name=name, batch_rows=c.batch_rows)
    else:
        effects = scan(test, chosen)
    search = Search(sizes=c.sizes, n_random=c.n_random, samples=c.samples, roles=c.roles, thorough=c.thorough)
    circuit = measure_circuit(
        model, tasks, scored, links, effects, name=name, search=search, batch_rows=c.batch_rows, seed=seed
    )
    drafts = [attention_draft(screen, effects, scored, train.groups, seed=seed)]
    counted = [len({p.group for p in train.pairs if e in (p.label, p.corrupted_label)}) for e in values]
    if len(counted) < 2 or min(counted) < 4:
        return Found(scored, screen, effects, circuit, None, None, tuple(drafts))
    heads = [i for i, n in enumerate(scored.nodes) if n.kind == "head"]
    found = emotion_overlap(scored.node_scores[:, heads], train, values, k=c.emotion_heads, seed=seed)
    own = {e: test.select([i for i, p in enumerate(test.pairs) if p.label == e]) for e in values}
    circuits = dict(emotion_heads(scored, train, values, c.emotion_heads))
    rng, pool = np.random.default_rng(seed), head_nodes(model)
    for index in range(3):
        circuits[f"random {index + 1}"] = [pool[i] for i in rng.choice(len(pool), c.emotion_heads, replace=False)]
    apart = dissociation(model, own, circuits, batch_rows=c.batch_rows, seed=seed)
    one_way = test.one_way()
    tested = attribute(model, one_way, steps=c.steps).node_scores[:, heads]
    by_chance = named_by_chance(
        scored.node_scores[:, heads], train, tested, one_way, values, k=c.emotion_heads, seed=seed
    )
    drafts += [overlap_draft(found), dissociation_draft(apart, by_chance, c.emotion_heads)]
    return Found(scored, screen, effects, circuit, found.table, apart.table, tuple(drafts))


def emotion_heads(scored: Attribution, train: PairTask, values: Sequence[str], count: int) -> dict[str, list[Node]]:
    """The strongest heads per emotion, by attribution on the train pairs that involve it."""
    found = {}
    for emotion in values:
        rows = [i for i, p in enumerate(train.pairs) if emotion in (p.label, p.corrupted_label)]
        size = scored.node_scores[rows].mean(0).abs()
        order = [scored.nodes[i] for i in size.argsort(descending=True).tolist()]
        found[emotion] = [n for n in order if n.kind == "head"][:count]
    return found
