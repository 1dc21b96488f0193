"""What the alignment station can be asked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from emotion_circuits.record.settings import Pooling, ResidualKind, Settings

__all__ = ["AlignmentSettings"]


class AlignmentSettings(Settings):
    """How two models are compared.

    Attributes:
        pooling: which states: ``last``, ``mean``, ``weighted`` or ``frame``.
        kind: site kind captured in both.
        methods: any of ``ridge``, ``reduced_rank``, ``procrustes``.
        depths: relative depths of the layers compared.
        draws: random directions and permutations for the nulls.
        steer: also steer the second model with the mapped directions.
        alpha: strength of steering, as a fraction of the residual norm.
        prompts: test openings written on.
        random_directions: random directions beside each steered arm.
        max_new_tokens: length of a continuation.
        temperature: of the sampling.
    """

    pooling: Pooling = "mean"
    kind: ResidualKind = "resid_post"
    methods: tuple[str, ...] = ("ridge", "procrustes")
    depths: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.5, 0.67, 0.83)
    draws: int = Field(default=100, ge=20)
    steer: bool = False
    alpha: float = 0.2
    prompts: int = Field(default=31, ge=8)
    random_directions: int = Field(default=20, ge=1)
    max_new_tokens: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, ge=0)
