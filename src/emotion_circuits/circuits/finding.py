"""From pairs to a circuit with everything that has to stand beside it.

Parts are scored on train pairs, the size is chosen on validation pairs, and every reported figure is from test pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from emotion_circuits.circuits.attribution import Attribution, attribute
from emotion_circuits.circuits.claims import head_claims
from emotion_circuits.circuits.comparing import joint_effect, stability
from emotion_circuits.circuits.faithfulness import completeness, minimality, node_curve
from emotion_circuits.circuits.roles import head_evidence
from emotion_circuits.circuits.running import arena
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, PairTask, pair_task, patch_scan
from emotion_circuits.model import LanguageModel
from emotion_circuits.paths import write_json
from emotion_circuits.prompts import Pair
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.statistics import Claim, judge

__all__ = ["Circuit", "CircuitEdge", "CircuitNode", "find_circuit", "load_circuit"]


class CircuitNode(BaseModel):
    """A member.

    Attributes:
        node: its name.
        score: estimated share of the gap on train pairs, signed.
        exact: mean effect of noising it on test pairs, as a share of their gap; ``None`` where it was not measured.
        low: 95 % interval by group of pairs.
        high: 95 % interval by group of pairs.
        role: estimated role of a head, ``mlp`` or ``embed``.
    """

    model_config = ConfigDict(extra="forbid")

    node: str
    score: float
    exact: float | None = None
    low: float | None = None
    high: float | None = None
    role: str = ""


class CircuitEdge(BaseModel):
    """A link: ``score`` is its estimated share of the gap on train pairs, signed."""

    model_config = ConfigDict(extra="forbid")

    writer: str
    reader: str
    score: float


class Circuit(BaseModel):
    """A found circuit, as written to JSON.

    Attributes:
        format: version of this layout.
        model: name of the model.
        task: name of the pairs.
        method: how parts were scored.
        pairs: pairs by split, and how many did not fit the model.
        gap: mean logit difference clean − corrupted on test pairs.
        nodes: members, strongest first.
        edges: strongest links among members, embedding and logits.
        curve: faithfulness over size on test pairs, with random circuits.
        cpr: area under the curve (random circuits' beside it).
        cmd: area of its distance from 1.
        stability: Jaccard index of the best parts over resampled train pairs, with chance.
        joint: joint effect of the members' heads against the sum of single ones, test pairs.
        incompleteness: mean over random parts of the circuit.
        unneeded: members without which faithfulness drops by less than 0.01.
        agreement: Spearman correlation of estimated with exact effects, with the number of nodes compared.
        claims: what is supported and what is not.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    model: str
    task: str
    method: str
    pairs: dict[str, int]
    gap: float
    nodes: list[CircuitNode]
    edges: list[CircuitEdge]
    curve: list[dict[str, float]]
    cpr: dict[str, float]
    cmd: dict[str, float]
    stability: dict[str, float]
    joint: dict[str, float]
    incompleteness: float
    unneeded: list[str]
    agreement: dict[str, float]
    claims: list[Claim]

    def members(self) -> list[Node]:
        """The nodes."""
        return [Node.parse(n.node) for n in self.nodes]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, self.model_dump(mode="json"))


def load_circuit(path: Path) -> Circuit:
    """Read a circuit's JSON.

    Raises:
        EmotionCircuitsError: unreadable, or not a circuit.
    """
    try:
        return Circuit.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise EmotionCircuitsError(f"{path}: is not a circuit: {'; '.join(validation_messages(error)[:3])}") from error


def _sizes(total: int) -> list[int]:
    """About a dozen sizes, dense where circuits are small."""
    return sorted(
        {round(total * f) for f in (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75)} - {0}
    )


def find_circuit(
    model: LanguageModel,
    pairs: Sequence[Pair],
    *,
    name: str = "pairs",
    exact: int | None = None,
    steps: int = 5,
    target: float = 0.8,
    max_nodes: int = 60,
    n_edges: int = 60,
    n_random: int = 5,
    roles: int = 12,
    max_pairs: int = 64,
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
        target: the circuit is the smallest one with this faithfulness on validation pairs.
        max_nodes: largest circuit considered; where none reaches ``target``, the most faithful one up to here.
        n_edges: links kept.
        n_random: random circuits per size.
        roles: of how many of the strongest members the role is estimated.
        max_pairs: pairs used of each split, evenly spaced over the corpus.
        batch_rows: rows run at once.
        seed: of everything random.

    Raises:
        EmotionCircuitsError: a split without pairs that fit the model.
    """
    tasks = {split: _split(model, pairs, split, max_pairs) for split in ("train", "validation", "test")}
    train, validation, test = tasks["train"], tasks["validation"], tasks["test"]
    scored = attribute(model, train, steps=steps, edges=True)
    order = scored.node_scores.mean(0).abs().argsort(descending=True).tolist()
    ranked = [scored.nodes[i] for i in order]
    size = _choose(model, validation, ranked, target, max_nodes, batch_rows, seed)
    members = ranked[:size]
    ring = arena(model, test)
    curve = node_curve(
        model, ring, ranked, [*_sizes(len(ranked)), size], n_random=n_random, seed=seed, batch_rows=batch_rows
    )
    measured = ranked if exact is None else ranked[: max(exact, size)]
    scan = patch_scan(model, test, measured, direction="noising", batch_rows=batch_rows)
    table = scan.table(seed=seed).set_index("nodes")
    gap_train = _gap(model, train)
    gap_test = float(scan.gap.mean())
    estimated = scored.node_scores.mean(0)[[scored.nodes.index(n) for n in measured]] / gap_train
    heads = [n for n in members if n.kind == "head"]
    evidence = head_evidence(model, test, heads[:roles], batch_rows=batch_rows) if heads else None
    named = {} if evidence is None else dict(zip(evidence["node"], evidence["role"], strict=True))
    firm = stability(scored.node_scores, size, seed=seed)
    joint = joint_effect(model, test, heads or members, "mean", seed=seed)
    complete = completeness(model, ring, members, ranked, samples=4, seed=seed)
    needed = minimality(model, ring, members)
    scores = scored.node_scores.mean(0) / gap_train
    nodes = [
        CircuitNode(
            node=str(n),
            score=float(scores[scored.nodes.index(n)]),
            exact=float(table.effect[str(n)]) / gap_test,
            low=min(float(table[end][str(n)]) / gap_test for end in ("low", "high")),
            high=max(float(table[end][str(n)]) / gap_test for end in ("low", "high")),
            role=named.get(str(n), "mlp" if n.kind == "mlp" else ""),
        )
        for n in members
    ]
    claims = head_claims(
        model, test, heads or [n for n in ranked if n.kind == "head"][:1], seed=seed, name=name, batch_rows=batch_rows
    )
    at = curve.table[curve.table["size"] == size].iloc[0]
    claims.append(_faithful(model, name, at, size, len(ranked), len(test), n_random))
    return Circuit(
        model=model.name,
        task=name,
        method=f"integrated gradients, {steps} steps, {len(train)} train pairs",
        pairs={s: len(t) for s, t in tasks.items()} | {"excluded": sum(len(t.excluded) for t in tasks.values())},
        gap=gap_test,
        nodes=nodes,
        edges=_edges(scored, members, gap_train, n_edges),
        curve=[{k: float(v) for k, v in row.items()} for row in curve.table.to_dict("records")],  # type: ignore[misc]
        cpr={"circuit": curve.cpr, "random": curve.random_cpr},
        cmd={"circuit": curve.cmd, "random": curve.random_cmd},
        stability={"k": firm.k, "jaccard": firm.mean, "low": firm.low, "high": firm.high, "chance": firm.chance},
        joint={
            "joint": joint.joint,
            "summed": joint.summed,
            "excess": joint.excess,
            "excess_low": joint.excess_interval[0],
            "excess_high": joint.excess_interval[1],
        },
        incompleteness=float(complete.incompleteness.mean()),
        unneeded=needed.node[needed.faithfulness_lost.abs() < 0.01].tolist(),
        agreement={"spearman": _spearman(estimated, scan.share), "nodes": len(measured)},
        claims=claims,
    )


def _split(model: LanguageModel, pairs: Sequence[Pair], split: str, limit: int) -> PairTask:
    chosen = [p for p in pairs if p.split == split]
    if len(chosen) > limit:
        chosen = [chosen[int(i)] for i in np.linspace(0, len(chosen) - 1, limit)]
    if not chosen:
        raise EmotionCircuitsError(
            f"no {split} pairs: a circuit is scored on train, sized on validation, shown on test"
        )
    return pair_task(model, chosen)


def _gap(model: LanguageModel, task: PairTask) -> float:
    with torch.no_grad():
        clean, corrupted = (
            task.logit_difference(model.logits(b, last_only=True)).mean() for b in (task.clean, task.corrupted)
        )
    gap = float(clean - corrupted)
    if abs(gap) < 1e-6:
        raise EmotionCircuitsError(
            f"{model.name} answers clean and corrupted prompts alike: there is no circuit to find"
        )
    return gap


def _choose(
    model: LanguageModel, task: PairTask, ranked: list[Node], target: float, most: int, batch_rows: int, seed: int
) -> int:
    sizes = [s for s in _sizes(len(ranked)) if s <= most] or [min(most, len(ranked))]
    curve = node_curve(model, arena(model, task), ranked, sizes, n_random=0, seed=seed, batch_rows=batch_rows)
    table = curve.table[curve.table["size"].isin(sizes)]
    reached = table[table.faithfulness >= target]
    best = table.sort_values("faithfulness", ascending=False)["size"].tolist()[0]
    return int(min(reached["size"].tolist(), default=best))


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


def _faithful(model: LanguageModel, name: str, at: Any, size: int, total: int, n: int, n_random: int) -> Claim:
    return judge(
        id=f"circuits.faithfulness.{name}",
        station="circuits",
        statement=f"{size} of {total} heads and MLPs of {model.name} carry the behaviour on test pairs ({name})",
        estimate=float(at.faithfulness),
        interval=(float(at.low), float(at.high)),
        unit="share of the clean-corrupted gap",
        n=n,
        unit_of_n="pairs",
        null=f"{n_random} random circuits of the same size",
        null_interval=(float(at.random_low), float(at.random_high)),
    )
