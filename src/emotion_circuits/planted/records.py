"""What calibration finds, as it is printed: typed figures of methods, roles, directions and false claims."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from scipy.stats import beta

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.planted.spec import Architecture
from emotion_circuits.statistics import rate

__all__ = [
    "PUBLISHED",
    "Best",
    "Calibration",
    "CalibrationSettings",
    "ChosenMethod",
    "DifficultyPoint",
    "DirectionRecord",
    "FalseClaims",
    "GeneratorRecord",
    "MethodRecord",
    "PublishedAuroc",
    "Rate",
    "ResponseRecord",
    "Scored",
    "rate_of",
    "upper_bound",
]

Scored = Literal["heads", "edges"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodRecord(_Record):
    """One method over all seeds of one generator.

    Attributes:
        generator: of the models.
        name: the method.
        scores: ``heads``, ``edges``.
        median: median AUROC of true against all others, over seeds.
        low: lowest seed.
        high: highest seed.
        decoys_above_true: mean share of (decoy, true head) pairs in which the decoy ranks higher; heads only.
        seconds: mean time per model.
        n: models.
    """

    generator: str
    name: str
    scores: Scored
    median: float
    low: float
    high: float
    decoys_above_true: float | None = None
    seconds: float
    n: int


class ChosenMethod(_Record):
    """The method that is best on the *other* generators, on this one.

    Attributes:
        name: the method.
        elsewhere: mean over the other generators of its median AUROC there, by which it was chosen.
        median: its median AUROC here.
        low: lowest seed.
        high: highest seed.
        n: models.
    """

    name: str
    elsewhere: float
    median: float
    low: float
    high: float
    n: int


class Rate(_Record):
    """A share with its exact interval (Clopper and Pearson 1934).

    Attributes:
        hits: how many.
        n: of how many.
        rate: their share.
        low: lower end of the two-sided 95 % interval.
        high: upper end.
        upper: one-sided 95 % upper bound (Clopper and Pearson 1934), units taken as independent.
    """

    hits: int
    n: int
    rate: float
    low: float
    high: float
    upper: float


def upper_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper confidence bound of a share (Clopper and Pearson 1934).

    Example:
        >>> round(upper_bound(0, 60), 3)
        0.049
    """
    return 1.0 if hits >= n else float(beta.ppf(confidence, hits + 1, n - hits))


def rate_of(hits: int, n: int) -> Rate:
    """The share with its interval.

    Raises:
        EmotionCircuitsError: of nothing.
    """
    if not n:
        raise EmotionCircuitsError("a share of nothing has no value: measure one model at least")
    return Rate(**rate(hits, n)._asdict(), upper=upper_bound(hits, n))


class GeneratorRecord(_Record):
    """What is found on the models of one generator.

    Attributes:
        name: of the generator.
        rejected: models that were made and did not reach the fidelity that is asked for.
        correct: share of pairs on which models prefer the clean answers, mean over models.
        heads: the head method that was chosen on the other generators.
        edges: the edge method; left out where no edges were scored.
        power: true heads that are claimed.
        other_heads: decoys and noise heads that are claimed.
        decoys_with_role: decoys that are given a role.
        noise_with_role: noise heads that are given a role.
        roles_right: true heads whose role is named rightly.
    """

    name: str
    rejected: int
    correct: float
    heads: ChosenMethod
    edges: ChosenMethod | None = None
    power: Rate
    other_heads: Rate
    decoys_with_role: Rate
    noise_with_role: Rate
    roles_right: Rate


class Best(_Record):
    """The figures that the bars are about.

    Attributes:
        head_auroc: lowest over generators: median AUROC of the head method that was best on the others.
        edge_auroc: the same of edges; left out where no edges were scored.
        with_role: highest over generators: share of decoys and noise heads together that are given a role.
        false_claim_rate: share of heads of the no-circuit models that are claimed.
    """

    head_auroc: float
    edge_auroc: float | None = None
    with_role: float
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


class FalseClaims(_Record):
    """Claims about nothing.

    Attributes:
        no_circuit_models: models without a circuit of which any head is claimed.
        no_circuit_heads: heads of such models that are claimed.
        no_circuit_tasks: such models of which the task's own claim is supported.
        no_circuit_heads_without_gate: heads of such models that would be claimed if the task's claim did not stop them.
        other_heads: claimed heads of models with a circuit that do not belong to it.
        heads_with_role: heads of such models that do not belong to the circuit and are given a role.
    """

    no_circuit_models: Rate
    no_circuit_heads: Rate
    no_circuit_tasks: Rate
    no_circuit_heads_without_gate: Rate
    other_heads: Rate
    heads_with_role: Rate

    def named(self) -> dict[str, Rate]:
        """Each rate by its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class DifficultyPoint(_Record):
    """All generators at one difficulty.

    Attributes:
        difficulty: see :class:`~emotion_circuits.planted.PlantedSpec`.
        generators: as in :class:`Calibration`.
        methods: as in :class:`Calibration`.
    """

    difficulty: float
    generators: list[GeneratorRecord]
    methods: list[MethodRecord]


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
        generators: of the models.
        seeds: every generator makes a model of each.
        no_circuit_seeds: first and last seed of the models without a circuit.
        architectures: take turns over the seeds.
        difficulty: of every model.
        n_pairs: minimal pairs per model.
    """

    generators: list[str]
    seeds: list[int]
    no_circuit_seeds: tuple[int, int]
    architectures: list[Architecture]
    difficulty: float
    n_pairs: int


class Calibration(_Record):
    """What ``emotion-circuits bench planted`` prints.

    Attributes:
        methods: a record per generator and method, the best of either kind first.
        generators: what is found on each, with methods that were chosen on the others.
        best: the figures that the bars are about.
        roles: role → share of its heads that were named rightly; ``decoy`` and ``noise``: heads that hold nothing and were
            named *none*.
        directions: fitted against planted directions, where there are some.
        response: of the answers to an added direction, as above.
        false_claims: what is claimed of nothing, with exact intervals.
        power: generator → share of true heads that are claimed (a backup is no single cause, so it is not expected).
        bars: each bar → whether it is met.
        curve: the same over difficulties, where a sweep was asked for.
        published: other methods on other benchmarks, for context.
        settings: generators, seeds, architectures, difficulty, pairs.
    """

    methods: list[MethodRecord]
    generators: list[GeneratorRecord]
    best: Best
    roles: dict[str, float]
    directions: DirectionRecord | None = None
    response: ResponseRecord | None = None
    false_claims: FalseClaims
    power: dict[str, Rate]
    bars: dict[str, bool]
    curve: list[DifficultyPoint] = []
    published: list[PublishedAuroc]
    settings: CalibrationSettings
