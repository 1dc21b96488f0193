"""Directions on planted models: do fitted ones point where the planted ones do, and do the answers follow them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from emotion_circuits.heads import PairTask, base_run
from emotion_circuits.model import Add, Positions, Site, intervene
from emotion_circuits.planted.models import PlantedModel

__all__ = ["Response", "carrying_layer", "cosines", "mean_differences", "response"]

ALPHAS = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
"""Strengths, in mean residual norms."""

Directions = Mapping[str, Float[Tensor, " d_model"]]


@dataclass(frozen=True)
class Response:
    """What adding one direction at every strength does.

    Attributes:
        spearman: rank correlation of the strength with the logit difference.
        span: largest minus smallest logit difference, in logits.
    """

    spearman: float
    span: float


def carrying_layer(found: PlantedModel) -> int:
    """The layer at whose end the emotion stands at the last token: where the last aggregator writes."""
    return max(node.layer for node, role in found.roles.items() if role == "aggregator")


def mean_differences(found: PlantedModel, task: PairTask, layer: int) -> dict[str, Float[Tensor, " d_model"]]:
    """Difference in means at the last token: prompts of an emotion minus neutral ones."""
    site, model, spec = Site("resid_post", layer), found.model, found.spec
    clean = base_run(model, task.clean, [site]).values[site][:, -1]
    corrupted = base_run(model, task.corrupted, [site]).values[site][:, -1]
    neutral = corrupted[[i for i, p in enumerate(task.pairs) if p.corrupted_label == spec.reference]].mean(0)
    return {e: clean[[i for i, p in enumerate(task.pairs) if p.label == e]].mean(0) - neutral for e in spec.values}


def cosines(found: PlantedModel, fitted: Directions) -> list[float]:
    """Cosine of each fitted direction with what the aggregator was built to write."""
    true = found.directions["carried"]
    return [float(torch.cosine_similarity(fitted[e], true[i], dim=0)) for i, e in enumerate(found.spec.values)]


def response(planted: PlantedModel, task: PairTask, layer: int, fitted: Directions) -> list[Response]:
    """Add each direction to its neutral prompts at the last token, at every strength.

    Args:
        planted: the model.
        task: its pairs; those of an emotion against neutral are used.
        layer: at whose end it is added.
        fitted: direction by emotion.
    """
    site, model, spec = Site("resid_post", layer), planted.model, planted.spec
    found = []
    for emotion in spec.values:
        rows = [i for i, p in enumerate(task.pairs) if p.label == emotion and p.corrupted_label == spec.reference]
        part = task.select(rows)
        norm = float(base_run(model, part.corrupted, [site]).values[site][:, -1].norm(dim=-1).mean())
        unit = torch.nn.functional.normalize(fitted[emotion], dim=-1)
        values = []
        for alpha in ALPHAS:
            change = Add(site=site, vector=unit, alpha=alpha * norm, positions=Positions("last"))
            with torch.no_grad(), intervene(model, [change]):
                values.append(float(part.logit_difference(model.logits(part.corrupted, last_only=True)).mean()))
        found.append(Response(float(spearmanr(ALPHAS, values).statistic), max(values) - min(values)))
    return found
