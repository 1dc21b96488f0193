"""How something was trained, and what came of it in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Recipe", "Trained"]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast is learnt.

    Attributes:
        steps: of the optimiser.
        rows: examples per step.
        rate: step size at its largest.
        beta: how much a preference weighs against staying near the model.
    """

    steps: int
    rows: int
    rate: float
    beta: float = 0.1


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        steps: at which the loss was noted.
        losses: at these.
        parameters: that were trained.
        seconds: it took.
        examples: that were seen, each counted once.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    parameters: int
    seconds: float
    examples: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trained:
        """Read :meth:`to_json` back."""
        return cls(
            tuple(value["steps"]),
            tuple(value["losses"]),
            int(value["parameters"]),
            float(value["seconds"]),
            int(value["examples"]),
        )
