"""What the station can be asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from emotion_circuits.record.settings import Settings

__all__ = ["ADAPTERS", "PROFILES", "TAKEN", "TRAINED", "Method", "TuningSettings", "standing"]

Method = Literal["prompting", "steering", "sft", "dpo", "preference", "baked"]
ADAPTERS = ("sft", "dpo")
"""Methods that change weights by training."""
TAKEN = "less by "
"""What names of conditions that take a value away begin with; behind it stands the way."""
TRAINED = (*ADAPTERS, "preference")
"""Methods that learn anything."""
_FIRST, _SECOND = ("prompting", *ADAPTERS), ("steering", "preference")


PROFILES: dict[str, dict[str, Any]] = {
    "full": {},
    # Twenty minutes for a model of 135 million parameters on two cores.
    "quick": {
        "strengths": (0.5, 1.0, 2.0),
        "shots": (0, 4),
        "examples": 64,
        "own_samples": 1,
        "rows": 4,
        "vector_rate": 0.02,
        "combine": ("dpo+steering", "prompting+steering"),
    },
}
"""Named comparisons: differences from the default settings; ``full`` is the defaults."""


def standing(method: str, strengths: Iterable[float]) -> float:
    """The strength that stands for a method where one does: 1, and of prompting the middle number of sentences shown.

    Args:
        method: which.
        strengths: it was given.

    Example:
        >>> standing("prompting", [0, 4, 2]), standing("steering", [0.5, 1.0, 1.5])
        (2, 1.0)
    """
    given = sorted(set(strengths))
    return given[len(given) // 2] if method == "prompting" else 1.0


class TuningSettings(Settings):
    """Which methods are compared, what they learn from, and on what.

    Attributes:
        value: of the run's attribute; null: the first for which the run chose a place and strength.
        methods: ``prompting`` (words), ``steering`` (the run's choice), ``sft`` and ``dpo`` (LoRA adapters), ``preference`` (one
            vector that preferences taught), ``baked`` (the run's direction as a bias in the weights).
        combine: two methods at once, e.g. ``dpo+steering``: an adapter or prompting, and one of the two vectors.
        strengths: times the run's strength, the trained adapter or the trained vector; in order, 1 among them.
        shots: sentences shown when prompting, its strengths: 0 is the instruction alone. The middle one stands for
            prompting where one strength stands for each method.
        examples: preferences that are learnt from, by adapters and vector alike.
        own_share: of them, texts that the model wrote and its judge accepts, where there are so many.
        own_samples: steered texts per train opening among which the accepted ones are found.
        own_ratio: largest perplexity ratio of an accepted text.
        longest: tokens of a continuation that is learnt from.
        rank: of adapters.
        sft_steps: of the optimiser.
        dpo_steps: of the optimiser.
        rows: examples per step.
        sft_rate: step size.
        dpo_rate: step size.
        dpo_beta: weight of preferences.
        vector_steps: of the optimiser.
        vector_rate: length of a step, in residual norms.
        vector_beta: weight of preferences.
        openings: ``held`` (the attribute's held openings), ``report`` (those of the run's report) or a corpus, whose test split
            is written on.
        samples: texts per opening and condition.
        at_ratio: perplexity ratio at which methods are compared.
        neutral_texts: neutral test sentences for divergence and loss.
        draws: random directions, and as many of shuffled labels, among which the share of a shift is ranked. With N of them no
            p-value is below 1/(N + 1).
        text_draws: the same where texts are written under each.
        null_openings: at most so many openings for texts under directions of nothing.
        harm: score answers to harmful requests.
        harm_draws: random directions under which they are scored, too, for every way that pushes or holds a direction.
        less: also take the value away from texts that were asked for it in words: by pushing the other way, everywhere or only
            where a token's state lies further along the direction than neutral sentences' do, by holding the direction at what
            neutral sentences have of it, by the adapter of preferences turned round, and by asking for nothing.
    """

    value: str | None = None
    methods: tuple[Method, ...] = get_args(Method)
    combine: tuple[str, ...] = ("dpo+steering", "dpo+preference", "prompting+steering")
    strengths: tuple[Annotated[float, Field(gt=0, le=8)], ...] = (0.5, 1.0, 1.5)
    shots: tuple[Annotated[int, Field(ge=0, le=16)], ...] = (0, 2, 4)
    examples: int = Field(default=128, ge=8)
    own_share: float = Field(default=0.5, ge=0, le=1)
    own_samples: int = Field(default=2, ge=1)
    own_ratio: float = Field(default=2.0, gt=1)
    longest: int = Field(default=24, ge=4)
    rank: int = Field(default=8, ge=1)
    sft_steps: int = Field(default=16, ge=1)
    dpo_steps: int = Field(default=16, ge=1)
    rows: int = Field(default=8, ge=1)
    sft_rate: float = Field(default=1e-3, gt=0)
    dpo_rate: float = Field(default=5e-4, gt=0)
    dpo_beta: float = Field(default=0.1, gt=0)
    vector_steps: int = Field(default=30, ge=1)
    vector_rate: float = Field(default=0.04, gt=0)
    vector_beta: float = Field(default=1.0, gt=0)
    openings: str = "held"
    samples: int = Field(default=1, ge=1)
    at_ratio: float = Field(default=1.25, gt=1)
    neutral_texts: int = Field(default=32, ge=8)
    draws: int = Field(default=99, ge=19)
    text_draws: int = Field(default=99, ge=19)
    null_openings: int = Field(default=8, ge=8)
    harm: bool = True
    harm_draws: int = Field(default=9, ge=0)
    less: bool = False

    @field_validator("methods")
    @classmethod
    def _some(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods or len(set(methods)) < len(methods):
            raise ValueError("name some methods, each once")
        return methods

    @field_validator("strengths", "shots")
    @classmethod
    def _ordered(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if not given or list(given) != sorted(set(given)):
            raise ValueError("give different numbers, the smallest first")
        return given

    @field_validator("strengths")
    @classmethod
    def _one(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in strengths:
            raise ValueError("1 must be among them: claims are about that strength")
        return strengths

    @field_validator("combine")
    @classmethod
    def _pairs(cls, combine: tuple[str, ...]) -> tuple[str, ...]:
        for name in combine:
            first, _, second = name.partition("+")
            if first not in _FIRST or second not in _SECOND:
                raise ValueError(f"{name!r}: write one of {', '.join(_FIRST)}, a +, and one of {', '.join(_SECOND)}")
        return combine

    @property
    def shown(self) -> int:
        """Sentences shown where one amount of prompting stands for all: the middle one."""
        return int(standing("prompting", self.shots))

    def combined(self) -> tuple[tuple[str, str, str], ...]:
        """``(name, first, second)`` of the combinations both parts of which are asked for."""
        pairs = ((name, *name.split("+", 1)) for name in self.combine)
        return tuple((n, a, b) for n, a, b in pairs if a in self.methods and b in self.methods)  # type: ignore[misc]
