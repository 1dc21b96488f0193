"""Which planted model to build, and how large all of them are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["D_MODEL", "HEADS", "KV_HEADS", "LAYERS", "WIDTH", "Architecture", "PlantedSpec"]

Architecture = Literal["gpt2", "llama"]

LAYERS, HEADS, KV_HEADS, WIDTH = 6, 6, 3, 16
D_MODEL = HEADS * WIDTH


@dataclass(frozen=True)
class PlantedSpec:
    """Which planted model to build.

    Attributes:
        seed: placement, features, noise, gains and prompts all follow from it.
        architecture: ``gpt2`` or ``llama``.
        circuit: ``False`` builds the no-circuit model.
        languages: 1, or 2: two vocabularies, each with a detector of its own, meeting in one aggregator.
        difficulty: 0 (clean) to 4: strength of the noise in the weights and of what decoys write. At 0.5 the model does
            the task on nearly all pairs; from about 2 on it begins to fail itself.
        n_pairs: how many minimal pairs to write.
        values: labels of the emotions, two to four.
        reference: label of prompts without any.
    """

    seed: int = 0
    architecture: Architecture = "gpt2"
    circuit: bool = True
    languages: int = 1
    difficulty: float = 0.5
    n_pairs: int = 48
    values: tuple[str, ...] = ("gamma", "alpha", "beta")
    reference: str = "neutral"

    def __post_init__(self) -> None:
        if self.architecture not in ("gpt2", "llama"):
            raise EmotionCircuitsError(f"architecture must be gpt2 or llama, got {self.architecture!r}")
        if self.languages not in (1, 2):
            raise EmotionCircuitsError(f"languages must be 1 or 2, got {self.languages}")
        if not 0 <= self.difficulty <= 4:
            raise EmotionCircuitsError(f"difficulty must lie between 0 and 4, got {self.difficulty}")
        if self.n_pairs < 12:
            raise EmotionCircuitsError(f"n_pairs must be at least 12, got {self.n_pairs}")
        labels = {*self.values, self.reference}
        if not 2 <= len(self.values) <= 4 or len(labels) != len(self.values) + 1:
            raise EmotionCircuitsError(
                f"values must be two to four labels beside {self.reference!r}, got {self.values}"
            )
