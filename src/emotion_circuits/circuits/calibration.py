"""Every method against planted truth: what can be believed of a figure on a model whose circuit nobody knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy.stats import beta, spearmanr
from sklearn.metrics import roc_auc_score
from torch import Tensor

from emotion_circuits.circuits.attribution import attribute
from emotion_circuits.circuits.claims import TASK_STOPS, head_claims
from emotion_circuits.circuits.edges import edge_scan
from emotion_circuits.circuits.planted import PlantedModel, PlantedSpec, plant
from emotion_circuits.circuits.roles import head_evidence
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import PairTask, ablation_scan, base_run, head_nodes, pair_task, patch_scan, task_gap
from emotion_circuits.heads.screening import delta_attention
from emotion_circuits.model import Add, Positions, Site, intervene
from emotion_circuits.progress import progress_bar

__all__ = ["PUBLISHED", "Calibration", "MethodRecord", "Rate", "calibrate", "difficulty_curve", "upper_bound"]

PUBLISHED: tuple[dict[str, object], ...] = (
    {"source": "Gupta et al. 2024, InterpBench", "method": "ACDC", "edge_auroc": 0.95},
    {"source": "Gupta et al. 2024, InterpBench", "method": "EAP-IG", "edge_auroc": 0.90},
    {"source": "Gupta et al. 2024, InterpBench", "method": "edge subnetwork probing", "edge_auroc": 0.75},
    {"source": "Gupta et al. 2024, InterpBench", "method": "EAP", "edge_auroc": 0.20},
    {"source": "Mueller et al. 2025, MIB (InterpBench task)", "method": "EAP-IG activations", "edge_auroc": 0.81},
    {"source": "Mueller et al. 2025, MIB (InterpBench task)", "method": "random", "edge_auroc": 0.44},
)
"""Medians on other planted models: context, not the same test."""


class MethodRecord(BaseModel):
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

    model_config = ConfigDict(extra="forbid")

    name: str
    scores: Literal["heads", "edges"]
    median: float
    low: float
    high: float
    chosen_on: float
    reported_on: float
    decoys_above_true: float | None = None
    seconds: float
    n: int


class Rate(BaseModel):
    """A share with its upper bound.

    Attributes:
        hits: how many.
        n: of how many.
        rate: their share.
        upper: one-sided 95 % upper bound (Clopper and Pearson 1934), units taken as independent.
    """

    model_config = ConfigDict(extra="forbid")

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


def _rate(hits: int, n: int) -> Rate:
    return Rate(hits=hits, n=n, rate=hits / n if n else float("nan"), upper=upper_bound(hits, n))


class Calibration(BaseModel):
    """What ``emotion-circuits bench planted`` prints.

    Attributes:
        methods: a record per method.
        best: ``head_auroc`` and ``edge_auroc`` (median over the reporting seeds of the method that was best on the choosing
            seeds), ``role_accuracy`` (mean over true heads of the reporting seeds), ``false_claim_rate`` (share of heads
            of the no-circuit models that are claimed).
        best_methods: which methods those are.
        roles: share of each true role's heads that were named rightly (reporting seeds); ``decoy`` and ``noise``: heads
            that hold nothing and were named *none*.
        directions: ``cosine`` of the difference in means with the planted direction (median), beside ``chance``.
        response: ``spearman`` of added α with the logit difference (median over emotions and models), ``range``
            in logits.
        task: ``correct``: share of pairs on which the planted models prefer the clean answers.
        claims: share of true heads that the single-head test claims (a backup is no single cause, so it is not expected).
        false_claims: false claims with upper bounds: ``no_circuit_models`` (models of which any head is claimed),
            ``no_circuit_heads``, ``no_circuit_tasks`` (the task's own claim), ``no_circuit_heads_without_gate`` (heads
            that would be claimed if the task's claim did not stop them), ``other_heads`` (heads of models with a
            circuit that do not belong to it).
        bars: whether each bar is met.
        curve: methods over difficulty, where a sweep was asked for.
        published: other methods on other benchmarks, for context.
        settings: seeds, architectures, difficulty, pairs.
    """

    model_config = ConfigDict(extra="forbid")

    methods: list[MethodRecord]
    best: dict[str, float]
    best_methods: dict[str, str]
    roles: dict[str, float]
    directions: dict[str, float]
    response: dict[str, float]
    task: dict[str, float]
    claims: dict[str, float]
    false_claims: dict[str, Rate]
    bars: dict[str, bool]
    curve: list[dict[str, object]] = []
    published: list[dict[str, object]]
    settings: dict[str, object]


def calibrate(
    seeds: Sequence[int],
    *,
    architectures: Sequence[Literal["gpt2", "llama"]] = ("gpt2", "llama"),
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
    half = len(seeds) // 2
    kept: dict[tuple[str, str], list[tuple[float, float | None, float]]] = {}
    hits: list[dict[str, list[bool]]] = []
    cosines: list[float] = []
    responses: list[float] = []
    ranges: list[float] = []
    correct: list[float] = []
    claimed: dict[str, list[bool]] = {"true": [], "other": []}

    def spec(turn: int, seed: int, circuit: bool) -> PlantedSpec:
        languages = 1 + (turn // len(architectures)) % 2
        return PlantedSpec(seed, architectures[turn % len(architectures)], circuit, languages, difficulty, n_pairs)

    with progress_bar("planted models", len(seeds)) as bar:
        for turn, seed in enumerate(seeds):
            found = plant(spec(turn, seed, True))
            task = pair_task(found.model, found.pairs)
            hits.append({})
            for (name, kind), (scores, seconds) in _scores(found, task, edges, batch_rows, hits[-1]).items():
                auroc, decoys = _auroc(found, kind, scores)
                kept.setdefault((name, kind), []).append((auroc, decoys, seconds))
            cosines += _cosines(found, task)
            rank, span = _response(found, task)
            responses += rank
            ranges += span
            clean, corrupted = task_gap(found.model, task)
            correct.append(float((clean > corrupted).float().mean()))
            claims = head_claims(found.model, task, seed=seed, batch_rows=batch_rows)[1:]
            for claim, node in zip(claims, head_nodes(found.model), strict=True):
                claimed["true" if node in found.roles else "other"].append(claim.verdict == "supported")
            bar.advance()
    first = max(seeds) + 1
    empty = _without_circuit([spec(turn, first + turn, False) for turn in range(no_circuit)], batch_rows)
    methods = [_record(name, kind, rows, half) for (name, kind), rows in kept.items()]
    best, names = {}, {}
    for key, kind in (("head_auroc", "heads"), ("edge_auroc", "edges")):
        of_kind = [m for m in methods if m.scores == kind]
        if of_kind:
            top = max(of_kind, key=lambda m: (m.chosen_on, -m.seconds))
            best[key], names[key] = top.reported_on, top.name
    merged: dict[str, list[bool]] = {}
    for found_hits in hits[half:]:
        for role, values in found_hits.items():
            merged.setdefault(role, []).extend(values)
    true = [hit for role, values in merged.items() if role not in ("decoy", "noise") for hit in values]
    best["role_accuracy"] = float(np.mean(true))
    best["false_claim_rate"] = empty["no_circuit_heads"].rate
    screens = [m for m in methods if m.name.startswith("Δattention")]
    bars = {
        "head_auroc >= 0.95": best["head_auroc"] >= 0.95,
        "edge_auroc >= 0.90": best.get("edge_auroc", 0.0) >= 0.90,
        "role_accuracy >= 0.8": best["role_accuracy"] >= 0.8,
        "false_claim_rate <= 0.05": best["false_claim_rate"] <= 0.05,
        "upper bound of models without a circuit and with a claim <= 0.05": empty["no_circuit_models"].upper <= 0.05,
        "Δattention ranks decoys above true heads": all((m.decoys_above_true or 0.0) > 0.5 for m in screens),
    }
    d_model = 96
    return Calibration(
        methods=sorted(methods, key=lambda m: (m.scores, -m.median)),
        best=best,
        best_methods=names,
        roles={role: float(np.mean(values)) for role, values in sorted(merged.items())},
        directions={"cosine": float(np.median(cosines)), "chance": float((2 / (np.pi * d_model)) ** 0.5)},
        response={"spearman": float(np.median(responses)), "range": float(np.median(ranges))},
        task={"correct": float(np.mean(correct))},
        claims={"true_heads": float(np.mean(claimed["true"]))},
        false_claims={**empty, "other_heads": _rate(sum(claimed["other"]), len(claimed["other"]))},
        bars=bars,
        published=[dict(p) for p in PUBLISHED],
        settings={
            "chosen_on": list(seeds[:half] or seeds),
            "reported_on": list(seeds[half:]),
            "no_circuit_seeds": [first, first + no_circuit - 1],
            "architectures": list(architectures),
            "difficulty": difficulty,
            "n_pairs": n_pairs,
        },
    )


def difficulty_curve(
    seeds: Sequence[int], difficulties: Sequence[float], *, n_pairs: int = 36, edges: bool = True
) -> list[dict[str, object]]:
    """Every method at every difficulty: where does it begin to fail, and does the model still do the task there?

    Args:
        seeds: of the models, the same at every difficulty.
        difficulties: see :class:`PlantedSpec`.
        n_pairs: pairs per model.
        edges: also score edges.

    Returns:
        One record per difficulty and method (``median`` and ``low`` AUROC), with ``correct`` (share of pairs the models get
        right), ``role_accuracy``, ``claimed_true`` and ``claimed_other``.
    """
    rows: list[dict[str, object]] = []
    for difficulty in difficulties:
        found = calibrate(seeds, difficulty=difficulty, n_pairs=n_pairs, edges=edges, no_circuit=1)
        common = {
            "difficulty": difficulty,
            "correct": found.task["correct"],
            "role_accuracy": found.best["role_accuracy"],
            "claimed_true": found.claims["true_heads"],
            "claimed_other": found.false_claims["other_heads"].rate,
        }
        rows += [
            {**common, "scores": m.scores, "method": m.name, "median": m.median, "low": m.low} for m in found.methods
        ]
    return rows


def _scores(
    found: PlantedModel, task: PairTask, edges: bool, batch_rows: int, hits: dict[str, list[bool]]
) -> dict[tuple[str, str], tuple[np.ndarray, float]]:
    """Scores of all heads (and edges) by method, with seconds; role hits are noted on the way."""
    model = found.model
    nodes = head_nodes(model)
    out: dict[tuple[str, str], tuple[np.ndarray, float]] = {}

    def timed(name: str, kind: str, run: Callable[[], Tensor | np.ndarray]) -> None:
        start = time.perf_counter()
        value = run()
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        out[(name, kind)] = (np.abs(array).astype(float), time.perf_counter() - start)

    timed("Δattention (last token)", "heads", lambda: delta_attention(model, task).delta.flatten())
    timed("Δattention (later tokens)", "heads", lambda: delta_attention(model, task, query="later").delta.flatten())
    timed("ablation zero", "heads", lambda: ablation_scan(model, task, nodes, batch_rows=batch_rows).share)
    timed("ablation mean", "heads", lambda: ablation_scan(model, task, nodes, "mean", batch_rows=batch_rows).share)
    timed("noising", "heads", lambda: patch_scan(model, task, nodes, direction="noising", batch_rows=batch_rows).share)
    timed(
        "denoising", "heads", lambda: patch_scan(model, task, nodes, direction="denoising", batch_rows=batch_rows).share
    )
    for name, method in (
        ("attribution patching (clean)", "clean"),
        ("attribution patching (corrupted)", "corrupted"),
        ("integrated gradients", "integrated"),
    ):
        start = time.perf_counter()
        scored = attribute(model, task, method=method, edges=edges, rows=len(task))  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        heads = [i for i, n in enumerate(scored.nodes) if n.kind == "head"]
        out[(name, "heads")] = (scored.node_scores.mean(0)[heads].abs().cpu().numpy(), seconds)
        if edges:
            edge_name = {"clean": "EAP (clean)", "corrupted": "EAP (corrupted)", "integrated": "EAP-IG"}[method]
            out[(edge_name, "edges")] = (scored.edge_scores.mean(0).abs().cpu().numpy(), seconds)
    if edges:
        for side in ("noising", "denoising"):
            timed(
                f"edge patching ({side})",
                "edges",
                lambda side=side: edge_scan(model, task, direction=side, batch_rows=batch_rows).effect.mean(1),  # type: ignore[misc,arg-type]
            )
        both = [out[(f"edge patching ({side})", "edges")] for side in ("noising", "denoising")]
        out[("edge patching (larger of both)", "edges")] = (np.maximum(both[0][0], both[1][0]), both[0][1] + both[1][1])
    start = time.perf_counter()
    evidence = head_evidence(model, task, nodes, batch_rows=batch_rows)
    # Evidence of a cause: by itself in either direction, or once another head is gone.
    gained = (evidence["after"] - evidence["alone"]).clip(lower=0)
    combined = np.maximum.reduce([evidence["denoising"].abs(), evidence["noising"].abs(), gained])
    out[("patching both ways + conditional ablation", "heads")] = (combined, time.perf_counter() - start)
    for node, role in zip(nodes, evidence["role"], strict=True):
        if node in found.roles:
            hits.setdefault(found.roles[node], []).append(role == found.roles[node])
        else:
            hits.setdefault("decoy" if node in found.decoys else "noise", []).append(role == "none")
    return out


def _auroc(found: PlantedModel, kind: str, scores: np.ndarray) -> tuple[float, float | None]:
    if kind == "edges":
        from emotion_circuits.heads import all_edges

        truth = np.array([e in found.edges for e in all_edges(found.model)])
        return float(roc_auc_score(truth, scores)), None
    nodes = head_nodes(found.model)
    truth = np.array([n in found.roles for n in nodes])
    decoy = np.array([n in found.decoys for n in nodes])
    above = (scores[decoy][:, None] > scores[truth][None, :]).mean()
    return float(roc_auc_score(truth, scores)), float(above)


def _record(name: str, kind: str, rows: list[tuple[float, float | None, float]], half: int) -> MethodRecord:
    aurocs = [r[0] for r in rows]
    above = [r[1] for r in rows if r[1] is not None]
    return MethodRecord(
        name=name,
        scores=kind,  # type: ignore[arg-type]
        median=float(np.median(aurocs)),
        low=min(aurocs),
        high=max(aurocs),
        chosen_on=float(np.median(aurocs[:half] or aurocs)),
        reported_on=float(np.median(aurocs[half:])),
        decoys_above_true=float(np.mean(above)) if above else None,
        seconds=float(np.mean([r[2] for r in rows])),
        n=len(rows),
    )


def _mean_differences(found: PlantedModel, task: PairTask, layer: int) -> dict[str, Tensor]:
    """Difference in means at the last token: prompts of an emotion minus neutral ones."""
    model, spec = found.model, found.spec
    site = Site("resid_post", layer)
    clean = base_run(model, task.clean, [site]).values[site][:, -1]
    corrupted = base_run(model, task.corrupted, [site]).values[site][:, -1]
    neutral = corrupted[[i for i, p in enumerate(task.pairs) if p.corrupted_label == spec.reference]].mean(0)
    return {e: clean[[i for i, p in enumerate(task.pairs) if p.label == e]].mean(0) - neutral for e in spec.values}


def _carrying_layer(found: PlantedModel) -> int:
    return next(node.layer for node, role in found.roles.items() if role == "aggregator")


def _cosines(found: PlantedModel, task: PairTask) -> list[float]:
    fitted = _mean_differences(found, task, _carrying_layer(found))
    true = found.directions["carried"]
    return [float(torch.cosine_similarity(fitted[e], true[i], dim=0)) for i, e in enumerate(found.spec.values)]


def _response(found: PlantedModel, task: PairTask) -> tuple[list[float], list[float]]:
    """Add each fitted direction to the neutral prompts at the last token; α in mean residual norms."""
    model, layer = found.model, _carrying_layer(found)
    fitted = _mean_differences(found, task, layer)
    site = Site("resid_post", layer)
    alphas = [-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
    ranks, spans = [], []
    for emotion in found.spec.values:
        rows = [i for i, p in enumerate(task.pairs) if p.label == emotion and p.corrupted_label == found.spec.reference]
        part = task.select(rows)
        norm = float(base_run(model, part.corrupted, [site]).values[site][:, -1].norm(dim=-1).mean())
        unit = torch.nn.functional.normalize(fitted[emotion], dim=-1)
        values = []
        for alpha in alphas:
            change = Add(site=site, vector=unit, alpha=alpha * norm, positions=Positions("last"))
            with torch.no_grad(), intervene(model, [change]):
                values.append(float(part.logit_difference(model.logits(part.corrupted, last_only=True)).mean()))
        ranks.append(float(spearmanr(alphas, values).statistic))
        spans.append(max(values) - min(values))
    return ranks, spans


def _without_circuit(specs: Sequence[PlantedSpec], batch_rows: int) -> dict[str, Rate]:
    """Claims on models in which there is nothing to claim."""
    models = heads = tasks = stopped = total = 0
    with progress_bar("models without a circuit", len(specs)) as bar:
        for spec in specs:
            found = plant(spec)
            task, *claims = head_claims(
                found.model, pair_task(found.model, found.pairs), seed=spec.seed, batch_rows=batch_rows
            )
            claimed = sum(c.verdict == "supported" for c in claims)
            models += claimed > 0
            heads += claimed
            tasks += task.verdict == "supported"
            stopped += sum(TASK_STOPS in c.notes for c in claims)
            total += len(claims)
            bar.advance()
    return {
        "no_circuit_models": _rate(models, len(specs)),
        "no_circuit_heads": _rate(heads, total),
        "no_circuit_tasks": _rate(tasks, len(specs)),
        "no_circuit_heads_without_gate": _rate(heads + stopped, total),
    }
