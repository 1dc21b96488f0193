"""What calibration finds, as it is printed: typed figures of methods, roles, directions and false claims."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from scipy.stats import beta

from emotion_circuits.planted.spec import Architecture

__all__ = [
    "PUBLISHED",
    "Best",
    "Calibration",
    "CalibrationSettings",
    "ClaimedHeads",
    "DifficultyPoint",
    "DirectionRecord",
    "FalseClaims",
    "MethodRecord",
    "PublishedAuroc",
    "Rate",
    "ResponseRecord",
    "Scored",
    "TaskRecord",
    "rate_of",
    "upper_bound",
]

Scored = Literal["heads", "edges"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodRecord(_Record):
    """One method over all seeds.

    Attributes:
        name: the method.
        scores: ``heads``, ``edges``.
        median: median AUROC of true against all others, over all seeds.
        low: lowest seed.
        high: highest seed.
        chosen_on: median over the seeds on which the best method is chosen.
        reported_on: median over the others.
        decoys_above_true: mean share of (decoy, true head) pairs in which the decoy ranks higher; heads only.
        seconds: mean time per model.
        n: models.
    """

    name: str
    scores: Scored
    median: float
    low: float
    high: float
    chosen_on: float
    reported_on: float
    decoys_above_true: float | None = None
    seconds: float
    n: int


class Rate(_Record):
    """A share with its upper bound.

    Attributes:
        hits: how many.
        n: of how many.
        rate: their share.
        upper: one-sided 95 % upper bound (Clopper and Pearson 1934), units taken as independent.
    """

    hits: int
    n: int
    rate: float
    upper: float


def upper_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper confidence bound of a share (Clopper and Pearson 1934).

    Example:
        >>> round(upper_bound(0, 60), 3)
        0.049
    """
    return 1.0 if hits >= n else float(beta.ppf(confidence, hits + 1, n - hits))


def rate_of(hits: int, n: int) -> Rate:
    """The share with its bound."""
    return Rate(hits=hits, n=n, rate=hits / n if n else float("nan"), upper=upper_bound(hits, n))


class Best(_Record):
    """The figures that the bars are about.

    Attributes:
        head_auroc: median over the reporting seeds of the head method that was best on the choosing seeds.
        edge_auroc: the same of edges; left out where no edges were scored.
        role_accuracy: mean over true heads of the reporting seeds.
        false_claim_rate: share of heads of the no-circuit models that are claimed.
    """

    head_auroc: float
    edge_auroc: float | None = None
    role_accuracy: float
    false_claim_rate: float

    @model_serializer(mode="wrap")
    def _without_what_was_not_scored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class DirectionRecord(_Record):
    """The difference in means against the planted direction.

    Attributes:
        cosine: their cosine, median over emotions and models.
        chance: expected size of the cosine of two random directions.
    """

    cosine: float
    chance: float


class ResponseRecord(_Record):
    """What adding a fitted direction does to the logit difference, median over emotions and models.

    Attributes:
        spearman: rank correlation of added α with the logit difference.
        range: of the logit difference over all α, in logits.
    """

    spearman: float
    range: float


class TaskRecord(_Record):
    """Whether planted models do what they were built for.

    Attributes:
        correct: share of pairs on which they prefer the clean answers, mean over models.
    """

    correct: float


class ClaimedHeads(_Record):
    """What the single-head test claims where there is something to claim.

    Attributes:
        true_heads: share of true heads that are claimed (a backup is no single cause, so it is not expected).
    """

    true_heads: float


class FalseClaims(_Record):
    """Claims about nothing.

    Attributes:
        no_circuit_models: models without a circuit of which any head is claimed.
        no_circuit_heads: heads of such models that are claimed.
        no_circuit_tasks: such models of which the task's own claim is supported.
        no_circuit_heads_without_gate: heads of such models that would be claimed if the task's claim did not stop them.
        other_heads: claimed heads of models with a circuit that do not belong to it.
    """

    no_circuit_models: Rate
    no_circuit_heads: Rate
    no_circuit_tasks: Rate
    no_circuit_heads_without_gate: Rate
    other_heads: Rate

    def named(self) -> dict[str, Rate]:
        """Each rate by its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class DifficultyPoint(_Record):
    """One method at one difficulty.

    Attributes:
        difficulty: see :class:`~emotion_circuits.planted.PlantedSpec`.
        correct: share of pairs the models get right.
        role_accuracy: share of true heads whose role is named rightly.
        claimed_true: share of true heads that are claimed.
        claimed_other: share of other heads that are claimed.
        scores: ``heads``, ``edges``.
        method: its name.
        median: median AUROC over seeds.
        low: lowest seed's.
    """

    difficulty: float
    correct: float
    role_accuracy: float
    claimed_true: float
    claimed_other: float
    scores: Scored
    method: str
    median: float
    low: float


class PublishedAuroc(_Record):
    """A figure of another method on other planted models: context, not the same test.

    Attributes:
        source: where it is published.
        method: the method.
        edge_auroc: median AUROC of edges.
    """

    source: str
    method: str
    edge_auroc: float


_INTERPBENCH, _MIB = "Gupta et al. 2024, InterpBench", "Mueller et al. 2025, MIB (InterpBench task)"

PUBLISHED: tuple[PublishedAuroc, ...] = (
    PublishedAuroc(source=_INTERPBENCH, method="ACDC", edge_auroc=0.95),
    PublishedAuroc(source=_INTERPBENCH, method="EAP-IG", edge_auroc=0.90),
    PublishedAuroc(source=_INTERPBENCH, method="edge subnetwork probing", edge_auroc=0.75),
    PublishedAuroc(source=_INTERPBENCH, method="EAP", edge_auroc=0.20),
    PublishedAuroc(source=_MIB, method="EAP-IG activations", edge_auroc=0.81),
    PublishedAuroc(source=_MIB, method="random", edge_auroc=0.44),
)
"""Medians on other planted models."""


class CalibrationSettings(_Record):
    """What was run.

    Attributes:
        chosen_on: seeds on which the best methods are chosen.
        reported_on: seeds from which their figures are.
        no_circuit_seeds: first and last seed of the models without a circuit.
        architectures: take turns over the seeds.
        difficulty: of every model.
        n_pairs: minimal pairs per model.
    """

    chosen_on: list[int]
    reported_on: list[int]
    no_circuit_seeds: tuple[int, int]
    architectures: list[Architecture]
    difficulty: float
    n_pairs: int


class Calibration(_Record):
    """What ``emotion-circuits bench planted`` prints.

    Attributes:
        methods: a record per method, the best of either kind first.
        best: the figures that the bars are about.
        best_methods: ``head_auroc`` and ``edge_auroc`` → the method that was best on the choosing seeds.
        roles: role → share of its heads that were named rightly (reporting seeds); ``decoy`` and ``noise``: heads that
            hold nothing and were named *none*.
        directions: fitted against planted directions.
        response: of the answers to an added direction.
        task: whether the models do it.
        claims: what is claimed of true heads.
        false_claims: what is claimed of nothing, with upper bounds.
        bars: each bar → whether it is met.
        curve: methods over difficulty, where a sweep was asked for.
        published: other methods on other benchmarks, for context.
        settings: seeds, architectures, difficulty, pairs.
    """

    methods: list[MethodRecord]
    best: Best
    best_methods: dict[str, str]
    roles: dict[str, float]
    directions: DirectionRecord
    response: ResponseRecord
    task: TaskRecord
    claims: ClaimedHeads
    false_claims: FalseClaims
    bars: dict[str, bool]
    curve: list[DifficultyPoint] = []
    published: list[PublishedAuroc]
    settings: CalibrationSettings
