"""Every method against planted truth: what can be believed of a figure on a model whose circuit nobody knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.planted.measuring import Empty, Measured, NamedHead, measure, measure_empty
from emotion_circuits.planted.methods import Outcome
from emotion_circuits.planted.records import (
    PUBLISHED,
    Best,
    Calibration,
    CalibrationSettings,
    ClaimedHeads,
    DifficultyPoint,
    DirectionRecord,
    FalseClaims,
    MethodRecord,
    ResponseRecord,
    Scored,
    TaskRecord,
    rate_of,
)
from emotion_circuits.planted.spec import D_MODEL, Architecture, PlantedSpec
from emotion_circuits.progress import progress_bar

__all__ = ["calibrate", "difficulty_curve"]


def calibrate(
    seeds: Sequence[int],
    *,
    architectures: Sequence[Architecture] = ("gpt2", "llama"),
    difficulty: float = 0.5,
    n_pairs: int = 36,
    edges: bool = True,
    no_circuit: int = 60,
    batch_rows: int = 512,
) -> Calibration:
    """Score every method on planted models, one per seed; architectures and one or two languages take turns.

    The best methods are chosen on the first half of the seeds and reported on the second. Where there is one seed alone
    it serves for both, which the settings say.

    Args:
        seeds: one model with a circuit for each.
        architectures: take turns over the seeds.
        difficulty: 0 to 4 (:class:`PlantedSpec`).
        n_pairs: pairs per model.
        edges: also score edges.
        no_circuit: models without a circuit, on seeds of their own.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: no seed, or no model without a circuit.
    """
    if not seeds or no_circuit < 1:
        raise EmotionCircuitsError("bench planted needs at least one seed and one model without a circuit")

    def spec(turn: int, seed: int, circuit: bool) -> PlantedSpec:
        languages = 1 + (turn // len(architectures)) % 2
        return PlantedSpec(seed, architectures[turn % len(architectures)], circuit, languages, difficulty, n_pairs)

    half, first = len(seeds) // 2, max(seeds) + 1
    measured: list[Measured] = []
    with progress_bar("planted models", len(seeds)) as bar:
        for turn, seed in enumerate(seeds):
            measured.append(measure(spec(turn, seed, True), edges=edges, batch_rows=batch_rows))
            bar.advance()
    empty: list[Empty] = []
    with progress_bar("models without a circuit", no_circuit) as bar:
        for turn in range(no_circuit):
            empty.append(measure_empty(spec(turn, first + turn, False), batch_rows=batch_rows))
            bar.advance()
    settings = CalibrationSettings(
        chosen_on=list(seeds[:half] or seeds),
        reported_on=list(seeds[half:]),
        no_circuit_seeds=(first, first + no_circuit - 1),
        architectures=list(architectures),
        difficulty=difficulty,
        n_pairs=n_pairs,
    )
    return summarise(measured, empty, settings)


def summarise(measured: Sequence[Measured], empty: Sequence[Empty], settings: CalibrationSettings) -> Calibration:
    """The figures over all models.

    Args:
        measured: models with a circuit, in the order of their seeds; the first half chooses, the rest reports.
        empty: models without a circuit.
        settings: what was run.
    """
    half = len(measured) // 2
    methods = _methods(measured, half)
    heads, edges = _chosen(methods, "heads"), _chosen(methods, "edges")
    named = [head for found in measured[half:] for head in found.named]
    false = _false_claims(measured, empty)
    best = Best(
        head_auroc=heads[0].reported_on,
        edge_auroc=edges[0].reported_on if edges else None,
        role_accuracy=float(np.mean([head.right for head in named if head.role not in ("decoy", "noise")])),
        false_claim_rate=false.no_circuit_heads.rate,
    )
    responses = [response for found in measured for response in found.responses]
    return Calibration(
        methods=sorted(methods, key=lambda m: (m.scores, -m.median)),
        best=best,
        best_methods={key: kind[0].name for key, kind in (("head_auroc", heads), ("edge_auroc", edges)) if kind},
        roles=_role_shares(named),
        directions=DirectionRecord(
            cosine=float(np.median([cosine for found in measured for cosine in found.cosines])),
            chance=float((2 / (np.pi * D_MODEL)) ** 0.5),
        ),
        response=ResponseRecord(
            spearman=float(np.median([response.spearman for response in responses])),
            range=float(np.median([response.span for response in responses])),
        ),
        task=TaskRecord(correct=float(np.mean([found.correct for found in measured]))),
        claims=ClaimedHeads(
            true_heads=float(np.mean([head.claimed for found in measured for head in found.claimed if head.true]))
        ),
        false_claims=false,
        bars=_bars(best, false, methods),
        published=list(PUBLISHED),
        settings=settings,
    )


def _methods(measured: Sequence[Measured], half: int) -> list[MethodRecord]:
    by_method: dict[tuple[str, Scored], list[Outcome]] = defaultdict(list)
    for found in measured:
        for outcome in found.outcomes:
            by_method[outcome.name, outcome.scores].append(outcome)
    return [_record(outcomes, half) for outcomes in by_method.values()]


def _record(outcomes: Sequence[Outcome], half: int) -> MethodRecord:
    """One method over all models."""
    aurocs = [outcome.auroc for outcome in outcomes]
    above = [outcome.decoys_above_true for outcome in outcomes if outcome.decoys_above_true is not None]
    return MethodRecord(
        name=outcomes[0].name,
        scores=outcomes[0].scores,
        median=float(np.median(aurocs)),
        low=min(aurocs),
        high=max(aurocs),
        chosen_on=float(np.median(aurocs[:half] or aurocs)),
        reported_on=float(np.median(aurocs[half:])),
        decoys_above_true=float(np.mean(above)) if above else None,
        seconds=float(np.mean([outcome.seconds for outcome in outcomes])),
        n=len(outcomes),
    )


def _chosen(methods: Sequence[MethodRecord], scores: Scored) -> list[MethodRecord]:
    """Methods of a kind, the best on the choosing seeds first; of equally good ones the fastest."""
    return sorted((m for m in methods if m.scores == scores), key=lambda m: (-m.chosen_on, m.seconds))


def _role_shares(named: Sequence[NamedHead]) -> dict[str, float]:
    by_role: dict[str, list[bool]] = defaultdict(list)
    for head in named:
        by_role[head.role].append(head.right)
    return {role: float(np.mean(right)) for role, right in sorted(by_role.items())}


def _false_claims(measured: Sequence[Measured], empty: Sequence[Empty]) -> FalseClaims:
    heads, claimed = sum(found.heads for found in empty), sum(found.claimed for found in empty)
    others = [head.claimed for found in measured for head in found.claimed if not head.true]
    return FalseClaims(
        no_circuit_models=rate_of(sum(found.claimed > 0 for found in empty), len(empty)),
        no_circuit_heads=rate_of(claimed, heads),
        no_circuit_tasks=rate_of(sum(found.task for found in empty), len(empty)),
        no_circuit_heads_without_gate=rate_of(claimed + sum(found.stopped for found in empty), heads),
        other_heads=rate_of(sum(others), len(others)),
    )


def _bars(best: Best, false: FalseClaims, methods: Sequence[MethodRecord]) -> dict[str, bool]:
    screens = [m for m in methods if m.name.startswith("Δattention")]
    models = false.no_circuit_models
    return {
        "head_auroc >= 0.95": best.head_auroc >= 0.95,
        "edge_auroc >= 0.90": (best.edge_auroc or 0.0) >= 0.90,
        "role_accuracy >= 0.8": best.role_accuracy >= 0.8,
        "false_claim_rate <= 0.05": best.false_claim_rate <= 0.05,
        "upper bound of models without a circuit and with a claim <= 0.05": models.upper <= 0.05,
        "Δattention ranks decoys above true heads": all((m.decoys_above_true or 0.0) > 0.5 for m in screens),
    }


def difficulty_curve(
    seeds: Sequence[int], difficulties: Sequence[float], *, n_pairs: int = 36, edges: bool = True
) -> list[DifficultyPoint]:
    """Every method at every difficulty: where does it begin to fail, and does the model still do the task there?

    Args:
        seeds: of the models, the same at every difficulty.
        difficulties: see :class:`PlantedSpec`.
        n_pairs: pairs per model.
        edges: also score edges.

    Returns:
        One record per difficulty and method.
    """
    points: list[DifficultyPoint] = []
    for difficulty in difficulties:
        found = calibrate(seeds, difficulty=difficulty, n_pairs=n_pairs, edges=edges, no_circuit=1)
        points += [
            DifficultyPoint(
                difficulty=difficulty,
                correct=found.task.correct,
                role_accuracy=found.best.role_accuracy,
                claimed_true=found.claims.true_heads,
                claimed_other=found.false_claims.other_heads.rate,
                scores=method.scores,
                method=method.name,
                median=method.median,
                low=method.low,
            )
            for method in found.methods
        ]
    return points
