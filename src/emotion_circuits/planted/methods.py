"""Every method's score of every head and edge of one planted model, and how well it tells the true ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from emotion_circuits.circuits import attribute, edge_scan, head_evidence
from emotion_circuits.circuits.attribution import Method
from emotion_circuits.heads import PairTask, ablation_scan, all_edges, head_nodes, patch_scan
from emotion_circuits.heads.screening import delta_attention
from emotion_circuits.model import LanguageModel
from emotion_circuits.planted.models import PlantedModel
from emotion_circuits.planted.records import Scored

__all__ = ["MethodScores", "Outcome", "outcome", "role_evidence", "score_methods"]


@dataclass(frozen=True, eq=False)
class MethodScores:
    """One method on one model.

    Attributes:
        name: the method.
        scores: what it scores.
        values: size of its score of every head (or edge), in the order of :func:`~emotion_circuits.heads.head_nodes` (or
            :func:`~emotion_circuits.heads.all_edges`).
        seconds: it took.
    """

    name: str
    scores: Scored
    values: Float[np.ndarray, " part"]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How well one method tells true parts of one model from all others.

    Attributes:
        name: the method.
        scores: what it scores.
        auroc: of true parts against all others.
        decoys_above_true: share of (decoy, true head) pairs in which the decoy ranks higher; ``None`` for edges.
        seconds: it took.
    """

    name: str
    scores: Scored
    auroc: float
    decoys_above_true: float | None
    seconds: float


def outcome(found: PlantedModel, scored: MethodScores) -> Outcome:
    """Scores against the truth."""
    if scored.scores == "edges":
        truth = np.array([edge in found.edges for edge in all_edges(found.model)])
        above = None
    else:
        nodes = head_nodes(found.model)
        truth = np.array([node in found.roles for node in nodes])
        decoy = np.array([node in found.decoys for node in nodes])
        above = float((scored.values[decoy][:, None] > scored.values[truth][None, :]).mean())
    auroc = float(roc_auc_score(truth, scored.values))
    return Outcome(scored.name, scored.scores, auroc, above, scored.seconds)


def score_methods(
    model: LanguageModel, task: PairTask, *, edges: bool = True, batch_rows: int = 512
) -> list[MethodScores]:
    """All methods on one model, but for the one that role evidence makes (:func:`role_evidence`).

    Args:
        model: the model.
        task: its pairs.
        edges: also score edges.
        batch_rows: rows run at once.
    """
    found = [*_scans(model, task, batch_rows), *_attributions(model, task, edges)]
    if edges:
        found += _edge_patching(model, task, batch_rows)
    return found


def role_evidence(model: LanguageModel, task: PairTask, *, batch_rows: int = 512) -> tuple[pd.DataFrame, MethodScores]:
    """The table of :func:`~emotion_circuits.circuits.head_evidence` for all heads, and the head scores it makes.

    A head scores by its effect of its own in either direction, or by what it gains once another head is gone.
    """
    start = time.perf_counter()
    table = head_evidence(model, task, head_nodes(model), batch_rows=batch_rows)
    gained = (table["after"] - table["alone"]).clip(lower=0)
    combined = np.maximum.reduce([table["denoising"].abs(), table["noising"].abs(), gained])
    seconds = time.perf_counter() - start
    return table, MethodScores("patching both ways + conditional ablation", "heads", combined, seconds)


def _timed(name: str, scores: Scored, run: Callable[[], Tensor]) -> MethodScores:
    start = time.perf_counter()
    values = np.abs(run().detach().cpu().numpy()).astype(float)
    return MethodScores(name, scores, values, time.perf_counter() - start)


def _scans(model: LanguageModel, task: PairTask, batch_rows: int) -> list[MethodScores]:
    """Attention to the differing word; every head ablated or patched."""
    nodes = head_nodes(model)
    attention = partial(delta_attention, model, task)
    ablated = partial(ablation_scan, model, task, nodes, batch_rows=batch_rows)
    patched = partial(patch_scan, model, task, nodes, batch_rows=batch_rows)
    runs: dict[str, Callable[[], Tensor]] = {
        "Δattention (last token)": lambda: attention().delta.flatten(),
        "Δattention (later tokens)": lambda: attention(query="later").delta.flatten(),
        "ablation zero": lambda: ablated().share,
        "ablation mean": lambda: ablated(mode="mean").share,
        "noising": lambda: patched(direction="noising").share,
        "denoising": lambda: patched(direction="denoising").share,
    }
    return [_timed(name, "heads", run) for name, run in runs.items()]


_ATTRIBUTIONS: tuple[tuple[Method, str, str], ...] = (
    ("clean", "attribution patching (clean)", "EAP (clean)"),
    ("corrupted", "attribution patching (corrupted)", "EAP (corrupted)"),
    ("integrated", "integrated gradients", "EAP-IG"),
)


def _attributions(model: LanguageModel, task: PairTask, edges: bool) -> list[MethodScores]:
    """Gradients; nodes and edges come from the same passes, and have the same time."""
    found = []
    for method, of_heads, of_edges in _ATTRIBUTIONS:
        start = time.perf_counter()
        scored = attribute(model, task, method=method, edges=edges, rows=len(task))
        seconds = time.perf_counter() - start
        heads = [i for i, node in enumerate(scored.nodes) if node.kind == "head"]
        values = scored.node_scores.mean(0)[heads].abs().cpu().numpy()
        found.append(MethodScores(of_heads, "heads", values, seconds))
        if edges:
            found.append(MethodScores(of_edges, "edges", scored.edge_scores.mean(0).abs().cpu().numpy(), seconds))
    return found


def _edge_patching(model: LanguageModel, task: PairTask, batch_rows: int) -> list[MethodScores]:
    """Every edge patched in either direction, and the larger effect of both."""
    patched = partial(edge_scan, model, task, batch_rows=batch_rows)
    noising = _timed("edge patching (noising)", "edges", lambda: patched(direction="noising").effect.mean(1))
    denoising = _timed("edge patching (denoising)", "edges", lambda: patched(direction="denoising").effect.mean(1))
    larger = MethodScores(
        "edge patching (larger of both)",
        "edges",
        np.maximum(noising.values, denoising.values),
        noising.seconds + denoising.seconds,
    )
    return [noising, denoising, larger]
