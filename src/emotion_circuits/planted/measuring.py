"""Everything that is measured on one planted model: with a circuit, and without one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from emotion_circuits.circuits.claims import head_claims
from emotion_circuits.heads import PairTask, head_nodes, pair_task, task_gap
from emotion_circuits.planted.directions import Response, carrying_layer, cosines, mean_differences, response
from emotion_circuits.planted.methods import Outcome, outcome, role_evidence, score_methods
from emotion_circuits.planted.models import PlantedModel

__all__ = ["ClaimedHead", "Empty", "Measured", "NamedHead", "measure", "measure_empty"]


@dataclass(frozen=True)
class NamedHead:
    """A head and whether its role was named rightly.

    Attributes:
        role: its true role; ``decoy`` or ``noise`` where it holds nothing.
        right: it was named so (``none`` where it holds nothing).
    """

    role: str
    right: bool


@dataclass(frozen=True)
class ClaimedHead:
    """A head and whether it is claimed.

    Attributes:
        true: it belongs to the circuit.
        claimed: its claim is supported.
    """

    true: bool
    claimed: bool


@dataclass(frozen=True)
class Measured:
    """One model with a circuit.

    Attributes:
        outcomes: every method.
        named: every head's role.
        cosines: of fitted with planted directions, per emotion; none where the generator planted no directions.
        responses: to an added direction, per emotion; as above.
        correct: share of pairs on which the model prefers the clean answers.
        claimed: every head's claim.
        rejected: models that did not reach the fidelity before this one did.
    """

    outcomes: tuple[Outcome, ...]
    named: tuple[NamedHead, ...]
    cosines: tuple[float, ...]
    responses: tuple[Response, ...]
    correct: float
    claimed: tuple[ClaimedHead, ...]
    rejected: int


@dataclass(frozen=True)
class Empty:
    """One model without a circuit: how much is claimed of nothing.

    Attributes:
        heads: number of heads.
        claimed: heads that are claimed.
        stopped: heads that would be claimed if the task's claim did not stop them.
        task: the task's own claim is supported.
    """

    heads: int
    claimed: int
    stopped: int
    task: bool


def measure(found: PlantedModel, *, edges: bool = True, batch_rows: int = 512) -> Measured:
    """Try everything on a model with a circuit.

    Args:
        found: the model; its seed also fixes nulls and bootstrap.
        edges: also score edges.
        batch_rows: rows run at once.
    """
    model, task = found.model, pair_task(found.model, found.pairs)
    scored = score_methods(model, task, edges=edges, batch_rows=batch_rows)
    evidence, combined = role_evidence(model, task, batch_rows=batch_rows)
    fitted_cosines: list[float] = []
    responses: list[Response] = []
    if found.directions:
        layer = carrying_layer(found)
        fitted = mean_differences(found, task, layer)
        fitted_cosines, responses = cosines(found, fitted), response(found, task, layer, fitted)
    clean, corrupted = task_gap(model, task)
    return Measured(
        outcomes=tuple(outcome(found, scores) for scores in [*scored, combined]),
        named=_named(found, evidence["role"]),
        cosines=tuple(fitted_cosines),
        responses=tuple(responses),
        correct=float((clean > corrupted).float().mean()),
        claimed=_claimed(found, task, batch_rows),
        rejected=found.rejected,
    )


def _named(found: PlantedModel, roles: Iterable[str]) -> tuple[NamedHead, ...]:
    named = []
    for node, role in zip(head_nodes(found.model), roles, strict=True):
        if node in found.roles:
            named.append(NamedHead(found.roles[node], role == found.roles[node]))
        else:
            named.append(NamedHead("decoy" if node in found.decoys else "noise", role == "none"))
    return tuple(named)


def _claimed(found: PlantedModel, task: PairTask, batch_rows: int) -> tuple[ClaimedHead, ...]:
    _, *claims = head_claims(found.model, task, seed=found.spec.seed, batch_rows=batch_rows)
    nodes = head_nodes(found.model)
    return tuple(
        ClaimedHead(node in found.roles, claim.verdict == "supported")
        for claim, node in zip(claims, nodes, strict=True)
    )


def measure_empty(found: PlantedModel, *, batch_rows: int = 512) -> Empty:
    """Count what is claimed of a model without a circuit.

    Args:
        found: the model; its seed also fixes nulls and bootstrap.
        batch_rows: rows run at once.
    """
    pairs = pair_task(found.model, found.pairs)
    task, *claims = head_claims(found.model, pairs, seed=found.spec.seed, batch_rows=batch_rows)
    return Empty(
        heads=len(claims),
        claimed=sum(claim.verdict == "supported" for claim in claims),
        stopped=sum(claim.reason == "given" for claim in claims),
        task=task.verdict == "supported",
    )
