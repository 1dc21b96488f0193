"""Where the parts of a planted circuit stand, and which edges lead between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from emotion_circuits.heads.nodes import EMBED, LOGITS, Edge, Node, reads_from
from emotion_circuits.planted.spec import HEADS, KV_HEADS, PlantedSpec

__all__ = ["Part", "Placement", "Places", "Role", "edges_between", "place"]

Role = Literal["detector", "aggregator", "expresser", "canceller", "backup"]


@dataclass(frozen=True)
class Part:
    """One part of a circuit, by the feature spaces that it reads and writes.

    Attributes:
        node: where it stands.
        reads: feature spaces.
        writes: feature space.
        role: of a head; ``None``: an MLP.
    """

    node: Node
    reads: tuple[str, ...]
    writes: str
    role: Role | None = None


def edges_between(parts: Sequence[Part], given: Sequence[str], read_out: str) -> frozenset[Edge]:
    """Every edge along which one part reads what an earlier one wrote.

    Args:
        parts: of the circuit.
        given: feature spaces that stand in the embedding.
        read_out: feature space from which the answers' logits are read.
    """
    edges = {(EMBED, part.node) for part in parts if set(part.reads) & set(given)}
    edges |= {(part.node, LOGITS) for part in parts if part.writes == read_out}
    edges |= {
        (u.node, v.node)
        for u in parts
        for v in parts
        if u.writes in v.reads and reads_from(v.node, u.node, parallel=False)
    }
    return frozenset(edges)


class Places:
    """Draws free places for heads.

    Args:
        generator: of the draws.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.taken: set[tuple[int, int]] = set()

    def pick(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def full(self, layer: int) -> bool:
        """Whether every head of a layer shares keys and values with a planted one."""
        return sum(1 for taken in self.taken if taken[0] == layer) >= KV_HEADS

    def head(self, layer: int) -> Node:
        """A free head whose keys and values no other planted head shares."""
        group = HEADS // KV_HEADS
        free = [h for h in range(HEADS) if (layer, h // group) not in self.taken]
        chosen = free[self.pick(0, len(free) - 1)]
        self.taken.add((layer, chosen // group))
        return Node("head", layer, chosen)

    def head_between(self, low: int, high: int) -> Node:
        """A free head of a drawn layer that has one."""
        layers = [layer for layer in range(low, high + 1) if not self.full(layer)]
        return self.head(layers[self.pick(0, len(layers) - 1)])


@dataclass(frozen=True)
class Placement:
    """The nodes that hold the parts of a staged circuit.

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

    @property
    def roles(self) -> dict[Node, Role]:
        """Role of every head of the circuit."""
        roles: dict[Node, Role] = dict.fromkeys(self.detectors, "detector")
        roles |= {self.aggregator: "aggregator", self.backup: "backup"}
        return roles | {self.expresser: "expresser", self.canceller: "canceller"}

    @property
    def edges(self) -> frozenset[Edge]:
        """Every edge of the circuit, embedding and logits included; the backup's query reads what the aggregator wrote."""
        parts = [Part(detector, ("lexical",), "found") for detector in self.detectors]
        parts += [Part(self.aggregator, ("found",), "carried"), Part(self.backup, ("found", "carried"), "carried")]
        parts += [Part(self.mlp, ("carried",), "worked"), Part(self.expresser, ("worked",), "answer")]
        return edges_between([*parts, Part(self.canceller, ("answer",), "answer")], ["lexical"], "answer")


def place(spec: PlantedSpec, generator: torch.Generator) -> Placement:
    """Draw a place for every part of a staged circuit, in the order in which they act.

    Args:
        spec: how many detectors there are.
        generator: of the draws.
    """
    places = Places(generator)
    pick = places.pick
    detector = pick(0, 1)
    aggregator = pick(detector + 1, 2)
    backup = pick(aggregator + 1, 3)
    mlp = pick(backup, 3)
    expresser = pick(mlp + 1, 4)
    canceller = pick(expresser + 1, 5)
    true = [places.head(detector) for _ in range(spec.languages)]
    rest = [places.head(layer) for layer in (aggregator, backup, expresser, canceller)]
    layers = [pick(0, 2), pick(1, 4), pick(3, 5), pick(0, 5)]
    decoys = [places.head(layer) for layer in layers if not places.full(layer)]
    return Placement(tuple(true), rest[0], rest[1], Node("mlp", mlp), rest[2], rest[3], tuple(decoys))
