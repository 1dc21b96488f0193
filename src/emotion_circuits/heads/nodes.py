"""Names for the parts of a model that a circuit is made of.

A *node* writes to the residual stream: the embedding (``embed``), one attention head (``L3H2``), one MLP (``M3``). The
node ``logits`` only reads: it is where every path ends. An *edge* leads from a writing node to a later reading one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site

__all__ = [
    "EMBED",
    "LOGITS",
    "Edge",
    "Node",
    "all_edges",
    "all_nodes",
    "head_nodes",
    "mlp_nodes",
    "parse_nodes",
    "shown_node",
]

_MLP = re.compile(r"M(\d+)")
_FORM = re.compile(r"^(?:L(\d+)H(\d+)|M(\d+)|embed|logits)$")


@dataclass(frozen=True)
class Node:
    """A part of the model: ``Node("head", 3, 2)``, ``Node("mlp", 3)``, ``Node("embed")``, ``Node("logits")``."""

    kind: Literal["embed", "head", "mlp", "logits"]
    layer: int = -1
    head: int = -1

    def __str__(self) -> str:
        if self.kind == "head":
            return f"L{self.layer}H{self.head}"
        return f"M{self.layer}" if self.kind == "mlp" else self.kind

    @classmethod
    def parse(cls, text: str) -> Node:
        """Read the ``str()`` form: ``L3H2``, ``M3``, ``embed`` or ``logits``.

        Raises:
            EmotionCircuitsError: any other text.
        """
        found = _FORM.match(text.strip())
        if found is None:
            raise EmotionCircuitsError(
                f"cannot read node {text!r}; write L3H2 for a head, M3 for an MLP, embed, logits"
            )
        if found[1] is not None:
            return cls("head", int(found[1]), int(found[2]))
        if found[3] is not None:
            return cls("mlp", int(found[3]))
        return cls("embed") if text.strip() == "embed" else cls("logits")

    @property
    def site(self) -> Site:
        """Where the node's output is watched and changed.

        Raises:
            EmotionCircuitsError: ``logits``, which writes nothing.
        """
        if self.kind == "head":
            return Site("z", self.layer, self.head)
        if self.kind == "mlp":
            return Site("mlp_out", self.layer)
        if self.kind == "embed":
            return Site("resid_pre", 0)
        raise EmotionCircuitsError("the node 'logits' has no output in the residual stream")

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts nodes as the model computes them."""
        rank = {"embed": -1, "head": self.layer, "mlp": self.layer, "logits": 1_000_000}[self.kind]
        return rank, int(self.kind == "mlp"), self.head


EMBED = Node("embed")
"""The embedding, as a writer."""
LOGITS = Node("logits")
"""The unembedding, as a reader."""
Edge = tuple[Node, Node]
"""A writer and a later reader."""


def head_nodes(model: LanguageModel) -> list[Node]:
    """Every attention head, layer by layer."""
    return [Node("head", layer, head) for layer in range(model.n_layers) for head in range(model.n_heads)]


def mlp_nodes(model: LanguageModel) -> list[Node]:
    """Every MLP."""
    return [Node("mlp", layer) for layer in range(model.n_layers)]


def all_nodes(model: LanguageModel) -> list[Node]:
    """Every head and MLP in the order of computation (embedding and logits left out)."""
    return sorted([*head_nodes(model), *mlp_nodes(model)], key=lambda n: n.order)


def reads_from(reader: Node, writer: Node, *, parallel: bool) -> bool:
    """Whether ``reader`` sees what ``writer`` adds to the residual stream."""
    if writer.kind == "logits" or reader.kind == "embed":
        return False
    if reader.kind == "logits" or writer.kind == "embed":
        return True
    if reader.layer != writer.layer:
        return reader.layer > writer.layer
    return not parallel and writer.kind == "head" and reader.kind == "mlp"


def all_edges(model: LanguageModel) -> list[Edge]:
    """Every edge: embedding, heads and MLPs to every later head, MLP and the logits."""
    parallel = not model.has_resid_mid
    writers, readers = [EMBED, *all_nodes(model)], [*all_nodes(model), LOGITS]
    return [(u, v) for u in writers for v in readers if reads_from(v, u, parallel=parallel)]


def parse_nodes(model: LanguageModel, names: Iterable[str]) -> list[Node]:
    """Node names to nodes of this model.

    Raises:
        EmotionCircuitsError: a name that can't be read, or a node the model does not have.
    """
    nodes = [Node.parse(name) for name in names]
    for node in nodes:
        model.check_site(node.site)
    return nodes


def shown_node(name: str) -> str:
    """A part's name as figures show it: an MLP has the name there that it has where what parts write is traced.

    Args:
        name: of a node, or any other part's, which stays as it is.

    Example:
        >>> shown_node("M3"), shown_node("L3H2")
        ('L3 MLP', 'L3H2')
    """
    found = _MLP.fullmatch(name)
    return f"L{found[1]} MLP" if found else name
