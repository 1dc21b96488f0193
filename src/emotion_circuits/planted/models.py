"""A planted model with the truth about it, and what makes such models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.nodes import Edge, Node
from emotion_circuits.model import LanguageModel
from emotion_circuits.planted.placement import Role
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.prompts import Pair

__all__ = ["Generator", "PlantedModel", "RejectedError"]


class RejectedError(EmotionCircuitsError):
    """No model of a spec reached the fidelity that was asked for.

    Attributes:
        rejected: models that were made and rejected.
    """

    def __init__(self, name: str, rejected: int) -> None:
        super().__init__(f"{name}: none of {rejected} models reached the fidelity that is asked for; use another seed")
        self.rejected = rejected


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A planted model with the truth about it.

    Attributes:
        spec: what it was built from.
        model: the model, ready for every station.
        pairs: minimal pairs with answers; a third of them against another emotion, the rest against a neutral word.
        roles: role of every true head (empty in the no-circuit model).
        decoys: heads that attend to emotion words and do nothing for the emotion's answers.
        mlps: the true MLPs, in the order of layers (none in the no-circuit model).
        edges: the true edges.
        directions: ``[emotion, d_model]`` unit vectors of the emotions by place, where the generator wrote them itself:
            ``carried`` (what stands at the last token before the MLPs), ``answer`` (what the answers' logits are read from).
        rejected: models that were made for this spec before it and did not reach the fidelity that was asked for.
    """

    spec: PlantedSpec
    model: LanguageModel
    pairs: tuple[Pair, ...]
    roles: dict[Node, Role]
    decoys: tuple[Node, ...]
    mlps: tuple[Node, ...]
    edges: frozenset[Edge]
    directions: Mapping[str, Float[Tensor, "emotion d_model"]] = field(default_factory=dict)
    rejected: int = 0

    @property
    def mlp(self) -> Node | None:
        """The first true MLP."""
        return self.mlps[0] if self.mlps else None


class Generator(Protocol):
    """Makes models whose circuit is known.

    Attributes:
        name: as it is shown and asked for.
        empty: it also makes models without a circuit (``PlantedSpec(circuit=False)``).
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - an attribute

    @property
    def empty(self) -> bool: ...  # noqa: D102 - an attribute

    def plant(self, spec: PlantedSpec) -> PlantedModel:
        """The model of a spec, with its pairs and the truth; the same spec gives the same model.

        Raises:
            RejectedError: none reached the fidelity that was asked for.
        """
        ...
