"""Every method against planted truth: what can be believed of a figure on a model whose circuit nobody knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.planted.generators import GENERATORS, generators_of
from emotion_circuits.planted.measuring import Empty, Measured, NamedHead, measure, measure_empty
from emotion_circuits.planted.models import Generator, RejectedError
from emotion_circuits.planted.records import (
    PUBLISHED,
    Best,
    Calibration,
    CalibrationSettings,
    ChosenMethod,
    DifficultyPoint,
    DirectionRecord,
    FalseClaims,
    GeneratorRecord,
    MethodRecord,
    Rate,
    ResponseRecord,
    Scored,
    rate_of,
)
from emotion_circuits.planted.spec import D_MODEL, Architecture, PlantedSpec
from emotion_circuits.progress import progress_bar

__all__ = ["calibrate", "difficulty_curve"]

Models = Mapping[str, Sequence[Measured]]
_NOTHING = ("decoy", "noise")


def calibrate(
    seeds: Sequence[int],
    *,
    generators: Sequence[str | Generator] = tuple(GENERATORS),
    architectures: Sequence[Architecture] = ("gpt2", "llama"),
    difficulty: float = 0.5,
    n_pairs: int = 36,
    edges: bool = True,
    no_circuit: int = 60,
    batch_rows: int = 512,
) -> Calibration:
    """Score every method on planted models, one per generator and seed; architectures and one or two languages take turns.

    The figure of a generator is that of the method which is best on the *other* generators: no method is reported on models
    that it was chosen (or made) for.

    Args:
        seeds: every generator makes a model with a circuit of each.
        generators: names or generators, two or more.
        architectures: take turns over the seeds.
        difficulty: 0 to 4 (:class:`PlantedSpec`).
        n_pairs: pairs per model.
        edges: also score edges.
        no_circuit: models without a circuit, on seeds of their own; generators that make them take turns.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: no seed, fewer than two generators, no model without a circuit, or a generator all of whose
            models were rejected.

    Example:
        >>> found = calibrate([1], generators=["staged", "superposed"], n_pairs=12, edges=False, no_circuit=1)
        >>> [record.name for record in found.generators]
        ['staged', 'superposed']
    """
    made = generators_of(generators)
    empties = [generator for generator in made if generator.empty]
    if not seeds or no_circuit < 1 or len(made) < 2 or not empties:
        raise EmotionCircuitsError(
            "bench planted needs at least one seed, one model without a circuit, and two generators, one of which makes "
            "models without a circuit: a method's figure on one generator is chosen on the others"
        )

    def spec(turn: int, seed: int, circuit: bool) -> PlantedSpec:
        languages = 1 + (turn // len(architectures)) % 2
        return PlantedSpec(seed, architectures[turn % len(architectures)], circuit, languages, difficulty, n_pairs)

    first = max(seeds) + 1
    measured: dict[str, list[Measured]] = {generator.name: [] for generator in made}
    rejected: dict[str, int] = dict.fromkeys(measured, 0)
    with progress_bar("planted models", len(seeds) * len(made)) as bar:
        for generator in made:
            for turn, seed in enumerate(seeds):
                try:
                    planted = generator.plant(spec(turn, seed, True))
                except RejectedError as error:
                    rejected[generator.name] += error.rejected
                else:
                    rejected[generator.name] += planted.rejected
                    measured[generator.name].append(measure(planted, edges=edges, batch_rows=batch_rows))
                bar.advance(1)
            if not measured[generator.name]:
                raise EmotionCircuitsError(f"{generator.name}: every model was rejected; ask for more seeds")
    empty: list[Empty] = []
    with progress_bar("models without a circuit", no_circuit) as bar:
        for turn in range(no_circuit):
            generator = empties[turn % len(empties)]
            planted = generator.plant(spec(turn // len(empties), first + turn, False))
            empty.append(measure_empty(planted, batch_rows=batch_rows))
            bar.advance()
    settings = CalibrationSettings(
        generators=list(measured),
        seeds=list(seeds),
        no_circuit_seeds=(first, first + no_circuit - 1),
        architectures=list(architectures),
        difficulty=difficulty,
        n_pairs=n_pairs,
    )
    return summarise(measured, rejected, empty, settings)


def summarise(
    measured: Models, rejected: Mapping[str, int], empty: Sequence[Empty], settings: CalibrationSettings
) -> Calibration:
    """The figures over all models.

    Args:
        measured: generator → its models with a circuit.
        rejected: generator → models that did not reach the fidelity.
        empty: models without a circuit.
        settings: what was run.
    """
    methods = _methods(measured)
    records = [_generator(name, models, rejected[name], methods) for name, models in measured.items()]
    false = _false_claims(measured, empty)
    edge_aurocs = [record.edges.median for record in records if record.edges]
    best = Best(
        head_auroc=min(record.heads.median for record in records),
        edge_auroc=min(edge_aurocs) if edge_aurocs else None,
        with_role=max(_given_role(models, _NOTHING).rate for models in measured.values()),
        false_claim_rate=false.no_circuit_heads.rate,
    )
    every = [found for models in measured.values() for found in models]
    cosines = [cosine for found in every for cosine in found.cosines]
    responses = [response for found in every for response in found.responses]
    return Calibration(
        methods=sorted(methods, key=lambda m: (m.generator, m.scores, -m.median)),
        generators=records,
        best=best,
        roles=_role_shares([head for found in every for head in found.named]),
        directions=DirectionRecord(cosine=float(np.median(cosines)), chance=float((2 / (np.pi * D_MODEL)) ** 0.5))
        if cosines
        else None,
        response=ResponseRecord(
            spearman=float(np.median([response.spearman for response in responses])),
            range=float(np.median([response.span for response in responses])),
        )
        if responses
        else None,
        false_claims=false,
        power={record.name: record.power for record in records},
        bars=_bars(measured, records, false, methods),
        published=list(PUBLISHED),
        settings=settings,
    )


def _methods(measured: Models) -> list[MethodRecord]:
    """Every method on every generator, in the order in which they are run."""
    records: list[MethodRecord] = []
    for generator, models in measured.items():
        for outcomes in zip(*(found.outcomes for found in models), strict=True):
            aurocs = [outcome.auroc for outcome in outcomes]
            above = [outcome.decoys_above_true for outcome in outcomes if outcome.decoys_above_true is not None]
            records.append(
                MethodRecord(
                    generator=generator,
                    name=outcomes[0].name,
                    scores=outcomes[0].scores,
                    median=float(np.median(aurocs)),
                    low=min(aurocs),
                    high=max(aurocs),
                    decoys_above_true=float(np.mean(above)) if above else None,
                    seconds=float(np.mean([outcome.seconds for outcome in outcomes])),
                    n=len(outcomes),
                )
            )
    return records


def _chosen(methods: Sequence[MethodRecord], generator: str, scores: Scored) -> ChosenMethod | None:
    """The method with the best mean over the other generators, on this one; of equally good ones the first that is run."""
    elsewhere: dict[str, list[float]] = defaultdict(list)
    here: dict[str, MethodRecord] = {}
    for method in methods:
        if method.scores == scores and method.generator == generator:
            here[method.name] = method
        elif method.scores == scores:
            elsewhere[method.name].append(method.median)
    if not here:
        return None
    means = {name: float(np.mean(elsewhere[name])) for name in here}
    name = max(means, key=means.__getitem__)
    m = here[name]
    return ChosenMethod(name=name, elsewhere=means[name], median=m.median, low=m.low, high=m.high, n=m.n)


def _generator(
    name: str, models: Sequence[Measured], rejected: int, methods: Sequence[MethodRecord]
) -> GeneratorRecord:
    claims = [head for found in models for head in found.claimed]
    true, others = ([head.claimed for head in claims if head.true is side] for side in (True, False))
    right = [head.right for found in models for head in found.named if head.role not in _NOTHING]
    heads = _chosen(methods, name, "heads")
    assert heads is not None
    return GeneratorRecord(
        name=name,
        rejected=rejected,
        correct=float(np.mean([found.correct for found in models])),
        heads=heads,
        edges=_chosen(methods, name, "edges"),
        power=rate_of(sum(true), len(true)),
        other_heads=rate_of(sum(others), len(others)),
        decoys_with_role=_given_role(models, ("decoy",)),
        noise_with_role=_given_role(models, ("noise",)),
        roles_right=rate_of(sum(right), len(right)),
    )


def _given_role(models: Sequence[Measured], kinds: Sequence[str]) -> Rate:
    given = [not head.right for found in models for head in found.named if head.role in kinds]
    return rate_of(sum(given), len(given))


def _role_shares(named: Sequence[NamedHead]) -> dict[str, float]:
    by_role: dict[str, list[bool]] = defaultdict(list)
    for head in named:
        by_role[head.role].append(head.right)
    return {role: float(np.mean(right)) for role, right in sorted(by_role.items())}


def _false_claims(measured: Models, empty: Sequence[Empty]) -> FalseClaims:
    heads, claimed = sum(found.heads for found in empty), sum(found.claimed for found in empty)
    every = [found for models in measured.values() for found in models]
    others = [head.claimed for found in every for head in found.claimed if not head.true]
    return FalseClaims(
        no_circuit_models=rate_of(sum(found.claimed > 0 for found in empty), len(empty)),
        no_circuit_heads=rate_of(claimed, heads),
        no_circuit_tasks=rate_of(sum(found.task for found in empty), len(empty)),
        no_circuit_heads_without_gate=rate_of(claimed + sum(found.stopped for found in empty), heads),
        other_heads=rate_of(sum(others), len(others)),
        heads_with_role=_given_role(every, _NOTHING),
    )


def _bars(
    measured: Models, records: Sequence[GeneratorRecord], false: FalseClaims, methods: Sequence[MethodRecord]
) -> dict[str, bool]:
    bars: dict[str, bool] = {}
    for record in records:
        bars[f"{record.name}: head AUROC >= 0.95"] = record.heads.median >= 0.95
        if record.edges:
            bars[f"{record.name}: edge AUROC >= 0.90"] = record.edges.median >= 0.90
        given = _given_role(measured[record.name], _NOTHING)
        bars[f"{record.name}: decoys and noise heads with a role <= 5 %"] = given.rate <= 0.05
    screens = [m for m in methods if m.name.startswith("Δattention")]
    bars["heads of models without a circuit that are claimed <= 5 %"] = false.no_circuit_heads.rate <= 0.05
    bars["upper bound of models without a circuit and with a claim <= 5 %"] = false.no_circuit_models.upper <= 0.05
    staged = [m for m in screens if m.generator == "staged"]
    if staged:
        bars["staged: Δattention ranks decoys above true heads"] = all((m.decoys_above_true or 0) > 0.5 for m in staged)
    return bars


def difficulty_curve(
    seeds: Sequence[int],
    difficulties: Sequence[float],
    *,
    generators: Sequence[str | Generator] = tuple(GENERATORS),
    n_pairs: int = 36,
    edges: bool = True,
) -> list[DifficultyPoint]:
    """Every method at every difficulty: where does it begin to fail, and does the model still do the task there?

    Args:
        seeds: of the models, the same at every difficulty.
        difficulties: see :class:`PlantedSpec`.
        generators: names or generators, two or more.
        n_pairs: pairs per model.
        edges: also score edges.

    Returns:
        One record per difficulty.
    """
    points: list[DifficultyPoint] = []
    for difficulty in difficulties:
        found = calibrate(
            seeds, generators=generators, difficulty=difficulty, n_pairs=n_pairs, edges=edges, no_circuit=1
        )
        points.append(DifficultyPoint(difficulty=difficulty, generators=found.generators, methods=found.methods))
    return points
