"""From pairs to a circuit with everything that has to stand beside it.

Parts are scored on train pairs, the size is chosen on validation pairs, and every reported figure is from test pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from emotion_circuits.circuits.arena import Arena, arena, run_node_circuits
from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.circuit import (
    Agreement,
    Area,
    Circuit,
    CircuitEdge,
    CircuitNode,
    CurvePoint,
    HeadEvidence,
    PairCounts,
)
from emotion_circuits.circuits.circuit_claims import (
    INCOMPLETE,
    backup_draft,
    complete_draft,
    found_drafts,
    minimal_draft,
    none_draft,
)
from emotion_circuits.circuits.claims import Effects, judge_nodes, node_effects
from emotion_circuits.circuits.completeness import Measure, completeness, minimality
from emotion_circuits.circuits.faithfulness import faithfulness, node_curve
from emotion_circuits.circuits.joint import Joint, joint_effect
from emotion_circuits.circuits.overlap import stability
from emotion_circuits.circuits.random_circuits import circuit_against_random
from emotion_circuits.circuits.roles import head_evidence
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, pair_task, task_gap
from emotion_circuits.heads.tasks import by_group, spread
from emotion_circuits.model import LanguageModel, weights_sha256
from emotion_circuits.prompts import Pair
from emotion_circuits.statistics import About, Claim, Draft, corrected
from emotion_circuits.statistics.claims import ALPHA

__all__ = [
    "Search",
    "circuit_sizes",
    "find_circuit",
    "measure_circuit",
    "ranking",
    "split_task",
]

SHOWN = 19
"""Random circuits at most beside a figure on which nothing is claimed."""


@dataclass(frozen=True)
class Search:
    """How a circuit is chosen and measured.

    Attributes:
        target: the circuit is the smallest one with this faithfulness on validation pairs.
        max_nodes: largest circuit considered; where none reaches ``target`` there is none, and the most faithful parts up to
            here are shown.
        sizes: how many sizes are tried.
        n_random: random orderings beside the curve.
        samples: random circuits of the chosen size; fewer than 19 support nothing.
        n_edges: links kept.
        roles: of how many of the strongest heads the role is estimated.
        choosing_pairs: train pairs on which conditions of role estimates are chosen.
        joint_heads: at most so many heads are taken out at once.
        thorough: also joint effects, completeness and minimality.
    """

    target: float = 0.8
    max_nodes: int = 60
    sizes: int = 12
    n_random: int = 5
    samples: int = 99
    n_edges: int = 60
    roles: int = 12
    choosing_pairs: int = 16
    joint_heads: int = 16
    thorough: bool = True


def circuit_sizes(total: int, count: int = 12) -> list[int]:
    """About a dozen sizes, dense where circuits are small; of fewer, evenly chosen ones."""
    shares = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75)
    kept = {shares[round(i * (len(shares) - 1) / max(1, count - 1))] for i in range(count)}
    return sorted({round(total * f) for f in kept} - {0})


def find_circuit(
    model: LanguageModel,
    pairs: Sequence[Pair],
    *,
    name: str = "pairs",
    exact: int | None = 20,
    steps: int = 5,
    max_pairs: int = 64,
    edge_pairs: int = 16,
    search: Search | None = None,
    batch_rows: int = 256,
    seed: int = 0,
) -> Circuit:
    """Find a circuit and measure it.

    Args:
        model: the model.
        pairs: minimal pairs with all three splits.
        name: of the task.
        exact: how many of the estimated-strongest heads and MLPs are also measured exactly; ``None``: all.
        steps: of the integrated gradients.
        max_pairs: pairs used of each split (whole groups, evenly spaced over the corpus).
        edge_pairs: train pairs on which edges are estimated.
        search: how the circuit is chosen and measured.
        batch_rows: rows run at once.
        seed: of everything random.

    Raises:
        EmotionCircuitsError: a split without pairs that fit the model, or a model that does not tell the prompts apart.
    """
    tasks = {split: split_task(model, pairs, split, max_pairs) for split in ("train", "validation", "test")}
    train = tasks["train"].one_way()
    scored = attribute(model, train, steps=steps)
    links = attribute(model, train.select(range(min(edge_pairs, len(train)))), steps=min(steps, 3), edges=True)
    ranked = ranking(scored)
    measured = ranked if exact is None else ranked[:exact]
    effects = node_effects(model, tasks["test"], measured, seed=seed, name=name, batch_rows=batch_rows)
    return measure_circuit(
        model, tasks, scored, links, effects, name=name, search=search, batch_rows=batch_rows, seed=seed
    )


def ranking(scored: Attribution) -> list[Node]:
    """Heads and MLPs by the size of their mean score."""
    order = scored.node_scores.mean(0).abs().argsort(descending=True).tolist()
    return [scored.nodes[i] for i in order]


def measure_circuit(
    model: LanguageModel,
    tasks: Mapping[str, PairTask],
    scored: Attribution,
    links: Attribution,
    effects: Effects,
    *,
    name: str = "pairs",
    search: Search | None = None,
    batch_rows: int = 256,
    seed: int = 0,
) -> Circuit:
    """Choose a circuit's size on validation pairs and measure it on test pairs.

    Args:
        model: the model.
        tasks: ``train``, ``validation`` and ``test`` pairs.
        scored: every head and MLP, scored on the train pairs one way (:meth:`PairTask.one_way`).
        links: every edge, scored on train pairs.
        effects: exact effects of some or all nodes on test pairs.
        name: of the task.
        search: how it is chosen and measured.
        batch_rows: rows run at once.
        seed: of everything random.

    Raises:
        EmotionCircuitsError: a model that does not tell the train or test prompts apart.
    """
    how = search or Search()
    ranked = ranking(scored)
    train, validation = tasks["train"].one_way(), tasks["validation"].one_way()
    test = tasks["test"].one_way()
    gap_train, gap_test = _gap(model, train), effects.scan.mean_gap
    size, reached = _choose(model, validation, ranked, how, batch_rows)
    members = ranked[:size]
    heads = [n for n in members if n.kind == "head"]
    ring = arena(model, test)
    sizes = [*circuit_sizes(len(ranked), how.sizes), size]
    curve = node_curve(model, ring, ranked, sizes, n_random=how.n_random, seed=seed, batch_rows=batch_rows)
    # Where the target is missed no circuit is claimed: random ones then decide nothing, and stand beside the figure only.
    samples = how.samples if reached else min(how.samples, SHOWN)
    against = circuit_against_random(
        model, ring, members, samples=samples, same_mlps=reached, seed=seed, batch_rows=batch_rows
    )
    evidence = None
    if heads[: how.roles]:
        choosing = train.select(range(min(len(train), how.choosing_pairs)))
        evidence = head_evidence(model, test, heads[: how.roles], choosing=choosing, batch_rows=batch_rows, seed=seed)
    named = {} if evidence is None else dict(zip(evidence["node"], evidence["role"], strict=True))
    by_groups = by_group(scored.node_scores.double().cpu().numpy(), train.groups)
    firm = stability(torch.from_numpy(by_groups), size, seed=seed)
    table = effects.scan.table(seed=seed).set_index("nodes")
    scores = dict(zip(scored.nodes, (scored.node_scores.mean(0) / gap_train).tolist(), strict=True))
    exact = effects.scan.share
    estimated = torch.tensor([scores[n] for (n,) in effects.scan.sets])
    claims = [effects.task, *[c for c in judge_nodes(effects, seed=seed) if c.about.part in named]]
    about = About(task=name, model=model.name)
    if reached:
        drafts = found_drafts(about, against, target=how.target, size=size, total=len(ranked), task=effects.task)
    else:
        drafts = [
            none_draft(
                about,
                ring,
                curve,
                against,
                target=how.target,
                largest=_tried(ranked, how)[-1],
                task=effects.task,
                seed=seed,
            )
        ]
    deep = _Thorough()
    if how.thorough:
        deep = _thorough(model, about, ring, members, ranked, how, effects.task, reached, seed)
    return Circuit(
        model=model.name,
        weights_sha256=weights_sha256(model),
        task=name,
        method=f"{scored.method} of {len(scored.node_scores)} train pairs",
        pairs=PairCounts(
            train=len(tasks["train"]),
            validation=len(tasks["validation"]),
            test=len(tasks["test"]),
            excluded=sum(len(t.excluded) for t in tasks.values()),
        ),
        groups=len(set(test.groups)),
        gap=gap_test,
        target=how.target,
        largest=_tried(ranked, how)[-1],
        reached=reached,
        nodes=[_member(n, scores[n], table, gap_test, named) for n in members],
        edges=_edges(links, members, gap_train, how.n_edges),
        curve=[CurvePoint.model_validate(row) for row in curve.table.to_dict("records")],
        cpr=Area(circuit=curve.cpr, random=_finite(curve.random_cpr)),
        cmd=Area(circuit=curve.cmd, random=_finite(curve.random_cmd)),
        against_random=against,
        stability=firm,
        agreement=Agreement(spearman=_spearman(estimated, exact.cpu()), nodes=len(exact)),
        evidence=[] if evidence is None else _evidence(evidence),
        claims=[*claims, *corrected([*drafts, *deep.drafts])],
        joint=deep.joint,
        incompleteness=deep.incompleteness,
        weakest=deep.weakest,
        unneeded=deep.unneeded,
    )


@dataclass(frozen=True)
class _Thorough:
    """What only a thorough search measures; see the fields of :class:`Circuit`, and what is claimed of it."""

    joint: Joint | None = None
    incompleteness: Measure | None = None
    weakest: Measure | None = None
    unneeded: list[str] | None = None
    drafts: tuple[Draft, ...] = ()


def _thorough(
    model: LanguageModel,
    about: About,
    ring: Arena,
    members: list[Node],
    ranked: list[Node],
    how: Search,
    task: Claim,
    reached: bool,
    seed: int,
) -> _Thorough:
    """Joint against single effects; and of a circuit whether anything is missing from it, and whether it needs all it has."""
    heads, n = [m for m in members if m.kind == "head"][: how.joint_heads], len(set(ring.task.groups))
    joint = joint_effect(model, ring.task, heads, "mean", seed=seed) if len(heads) > 1 else None
    drafts = () if joint is None else (backup_draft(about, joint, n=n, given=task),)
    if not reached:
        return _Thorough(joint, drafts=drafts)
    complete = completeness(model, ring, members, ranked, samples=4, bound=INCOMPLETE, seed=seed)
    minimal = minimality(model, ring, members, seed=seed)
    rows, given = minimal.table, f"circuits.faithfulness.{about.task}"
    sure = (rows["faithfulness_lost"] >= 0.01) & (rows["q"] <= ALPHA)
    return _Thorough(
        joint,
        complete.incompleteness,
        minimal.weakest,
        rows["node"][~sure].tolist(),
        (
            *drafts,
            complete_draft(about, complete, size=len(members), n=n, given=given),
            minimal_draft(about, minimal, needed=rows["node"][sure].tolist(), n=n, given=given),
        ),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _evidence(table: pd.DataFrame) -> list[HeadEvidence]:
    """Rows of :func:`~emotion_circuits.circuits.roles.head_evidence`; what was not measured is ``None``."""
    whole = table.astype(object).where(table.notna(), None)
    return [HeadEvidence.model_validate(row) for row in whole.to_dict("records")]


def _member(node: Node, score: float, table: pd.DataFrame, gap: float, named: dict[str, str]) -> CircuitNode:
    name = str(node)
    role = named.get(name, "mlp" if node.kind == "mlp" else "")
    if name not in table.index:
        return CircuitNode(node=name, score=score, role=role)
    effect, *ends = (float(table[column][name]) / gap for column in ("effect", "low", "high"))
    return CircuitNode(node=name, score=score, exact=effect, low=min(ends), high=max(ends), role=role)


def split_task(model: LanguageModel, pairs: Sequence[Pair], split: str, limit: int) -> PairTask:
    """The pairs of a split that fit the model, at most ``limit``.

    Raises:
        EmotionCircuitsError: there are none.
    """
    chosen = [p for p in pairs if p.split == split]
    if not chosen:
        raise EmotionCircuitsError(
            f"no {split} pairs: a circuit is scored on train, sized on validation, shown on test"
        )
    return pair_task(model, spread(chosen, limit))


def _gap(model: LanguageModel, task: PairTask) -> float:
    clean, corrupted = task_gap(model, task)
    gap = float((clean - corrupted).mean())
    if abs(gap) < 1e-6:
        raise EmotionCircuitsError(
            f"{model.name} answers clean and corrupted prompts alike: there is no circuit to find"
        )
    return gap


def _tried(ranked: Sequence[Node], how: Search) -> list[int]:
    """Sizes of the circuits that count, in order."""
    return [s for s in circuit_sizes(len(ranked), how.sizes) if s <= how.max_nodes] or [min(how.max_nodes, len(ranked))]


def _choose(model: LanguageModel, task: PairTask, ranked: list[Node], how: Search, batch_rows: int) -> tuple[int, bool]:
    """The smallest size that reaches the target; where none does, the one that keeps most, and that none does."""
    sizes = _tried(ranked, how)
    ring = arena(model, task)
    found = faithfulness(
        ring, run_node_circuits(model, ring, [ranked[:s] for s in sizes], batch_rows=batch_rows)
    ).tolist()
    reached = [s for s, f in zip(sizes, found, strict=True) if f >= how.target]
    return (min(reached), True) if reached else (sizes[int(np.argmax(found))], False)


def _edges(scored: Attribution, members: Sequence[Node], gap: float, count: int) -> list[CircuitEdge]:
    """The strongest links whose both ends belong to the circuit."""
    inside = {*members, Node("embed"), Node("logits")}
    means = scored.edge_scores.mean(0) / gap
    kept = [i for i, (u, v) in enumerate(scored.edges) if u in inside and v in inside]
    best = sorted(kept, key=lambda i: -abs(float(means[i])))[:count]
    return [
        CircuitEdge(writer=str(scored.edges[i][0]), reader=str(scored.edges[i][1]), score=float(means[i])) for i in best
    ]


def _spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    from scipy.stats import spearmanr

    found = float(spearmanr(a.cpu().numpy(), b.cpu().numpy()).statistic) if len(a) > 2 else float("nan")
    return found if np.isfinite(found) else 0.0
