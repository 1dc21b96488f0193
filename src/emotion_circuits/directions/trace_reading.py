"""Who reads an emotion: which later components change when it is taken out of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.last_token import at_last_token
from emotion_circuits.directions.last_token_changes import last_token_changes
from emotion_circuits.directions.trace_selection import Asked
from emotion_circuits.directions.trace_sets import BesideOthers, beside_others
from emotion_circuits.model import LanguageModel, Site
from emotion_circuits.prompts import Prompt
from emotion_circuits.statistics import fdr, paired_differences

__all__ = ["ask_readers", "reading_components"]


def reading_components(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: DirectionSet,
    label: str,
    layer: int,
    *,
    nulls: Float[Tensor, "null d_model"] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """How much later heads and MLPs change at the last token when the emotion is taken out of the residual stream there.

    At the last token, ``resid_post`` of the layer is moved back along the direction, towards the neutral sentences, by as much
    as emotional and neutral sentences differ there (the length of the difference of their means), and everything after it is
    run again. It is moved by the same length along other directions, each from emotional to neutral too: a component *reads*
    the emotion where its output changes more than it does for them. This is causal for the component's own output, and says
    nothing of the model's answer.

    Args:
        model: the model.
        prompts: sentences the directions were not fitted on.
        directions: a fitted set at ``resid_post``.
        label: the emotion.
        layer: where the direction is taken out.
        nulls: directions that mean nothing (fitted on shuffled labels); ``draws`` random ones without.
        draws: number of random directions.
        seed: of random directions and the bootstrap.

    Returns:
        ``component, layer, change`` (norm of the change over norm of the output, mean over sentences), ``null`` (mean
        over the null directions), ``ratio``, ``difference`` (change − null, paired by sentence) with ``low, high, p, q``
        (one family: all later components), ``null_low, null_high`` (the same difference for 95 % of the null directions),
        ``n``; largest ratio first.

    Raises:
        EmotionCircuitsError: no later layer, fewer than two groups, or a sentence of a single token.
    """
    if nulls is None:
        nulls = torch.randn(draws, model.d_model, generator=torch.Generator().manual_seed(seed))
    table = ask_readers(model, prompts, directions, label, layer, nulls=nulls, seed=seed).table
    return table.sort_values("ratio", ascending=False, kind="stable", ignore_index=True)


def ask_readers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: DirectionSet,
    label: str,
    layer: int,
    *,
    nulls: Float[Tensor, "null d_model"],
    seed: int = 0,
) -> Asked:
    """As :func:`reading_components`, with the figure of every direction.

    Each direction's figure is its change beyond the mean change of all the others, so that the real one is treated as any
    null is.
    """
    beside = beside_others(prompts, label, directions.compared_with(label))
    texts, groups = [p.text for p in beside.felt], beside.groups
    apart = _between_means(model, beside, layer)
    vectors = torch.cat([directions.unit(label, layer).double()[None], nulls.double()])
    names, change = last_token_changes(model, texts, _towards(vectors, apart), layer)
    values = change.numpy()
    own, drawn = values[0], values[1:]
    found = paired_differences(own, drawn.mean(0), clusters=groups, seed=seed)
    q = fdr([f.p for f in found], family=f"reading {label} after layer {layer}: {len(found)} components").q
    beyond = (values - values.mean(0)) * (len(values) / (len(values) - 1))  # each minus the mean of all others
    low, high = np.quantile(beyond[1:].mean(1), [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "component": [c.name for c in names],
            "layer": [c.layer for c in names],
            "change": own.mean(0),
            "null": drawn.mean((0, 1)),
            "ratio": own.mean(0) / np.maximum(drawn.mean((0, 1)), 1e-12),
            "difference": [f.estimate for f in found],
            "low": [f.low for f in found],
            "high": [f.high for f in found],
            "p": [f.p for f in found],
            "q": list(q.values()),
            "null_low": low,
            "null_high": high,
            "n": len(groups),
        }
    )
    return Asked(table, beyond)


def _between_means(model: LanguageModel, beside: BesideOthers, layer: int) -> Float[Tensor, " d_model"]:
    """Mean last-token state of emotional sentences minus that of neutral ones."""
    site = Site("resid_post", layer)
    texts = [p.text for p in (*beside.felt, *beside.others)]
    states = at_last_token(model, texts, [site], lambda seen: seen[site].double().cpu(), title="comparing states")
    felt, others = states[: len(beside.felt)], states[len(beside.felt) :]
    return felt.mean(0) - torch.from_numpy(beside.by_group(others.T.numpy())).mean(-1)


def _towards(vectors: Float[Tensor, "direction d_model"], apart: Float[Tensor, " d_model"]) -> Tensor:
    """Each direction as long as ``apart`` and on its side.

    The same length for all, whichever is the real one; a null's own difference would be shorter, and everything behind it
    would change less for that alone.
    """
    units = torch.nn.functional.normalize(vectors, dim=-1)
    side = torch.where(units @ apart < 0, -1.0, 1.0)
    moved: Tensor = units * side[:, None] * apart.norm()
    return moved
