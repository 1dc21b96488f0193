"""Where the parts of a planted circuit stand, and which edges lead between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from emotion_circuits.heads.nodes import EMBED, LOGITS, Edge, Node
from emotion_circuits.planted.spec import HEADS, KV_HEADS, PlantedSpec

__all__ = ["Placement", "Role", "place", "true_edges", "true_roles"]

Role = Literal["detector", "aggregator", "expresser", "canceller", "backup"]


@dataclass(frozen=True)
class Placement:
    """The nodes that hold the parts of a circuit.

    Attributes:
        detectors: one per language.
        aggregator: carries the emotion to the last token.
        backup: does the same one layer or more later.
        mlp: whose neurons re-write what was carried.
        expresser: writes the answers' direction.
        canceller: takes a part of it back.
        decoys: heads that attend to emotion words and do nothing.
    """

    detectors: tuple[Node, ...]
    aggregator: Node
    backup: Node
    mlp: Node
    expresser: Node
    canceller: Node
    decoys: tuple[Node, ...]


def true_roles(p: Placement) -> dict[Node, Role]:
    """Role of every head of the circuit."""
    roles: dict[Node, Role] = dict.fromkeys(p.detectors, "detector")
    return roles | {p.aggregator: "aggregator", p.backup: "backup", p.expresser: "expresser", p.canceller: "canceller"}


def true_edges(p: Placement) -> frozenset[Edge]:
    """Every edge of the circuit, embedding and logits included."""
    edges: set[Edge] = {(p.aggregator, p.backup), (p.aggregator, p.mlp), (p.backup, p.mlp)}
    for detector in p.detectors:
        edges |= {(EMBED, detector), (detector, p.aggregator), (detector, p.backup)}
    edges |= {(p.mlp, p.expresser), (p.expresser, LOGITS), (p.expresser, p.canceller), (p.canceller, LOGITS)}
    return frozenset(edges)


def place(spec: PlantedSpec, generator: torch.Generator) -> Placement:
    """Draw a place for every part, in the order in which they act.

    Args:
        spec: how many detectors there are.
        generator: of the draws.
    """

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    detector = pick(0, 1)
    aggregator = pick(detector + 1, 2)
    backup = pick(aggregator + 1, 3)
    mlp = pick(backup, 3)
    expresser = pick(mlp + 1, 4)
    canceller = pick(expresser + 1, 5)
    taken: set[tuple[int, int]] = set()

    def head(layer: int) -> Node:
        """A free head whose keys and values no other planted head shares."""
        group = HEADS // KV_HEADS
        free = [h for h in range(HEADS) if (layer, h // group) not in taken]
        chosen = free[pick(0, len(free) - 1)]
        taken.add((layer, chosen // group))
        return Node("head", layer, chosen)

    true = [head(detector) for _ in range(spec.languages)]
    rest = [head(layer) for layer in (aggregator, backup, expresser, canceller)]
    layers = [pick(0, 2), pick(1, 4), pick(3, 5), pick(0, 5)]
    decoys = [head(layer) for layer in layers if sum(1 for t in taken if t[0] == layer) < KV_HEADS]
    return Placement(tuple(true), rest[0], rest[1], Node("mlp", mlp), rest[2], rest[3], tuple(decoys))
