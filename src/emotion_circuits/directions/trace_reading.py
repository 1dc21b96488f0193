"""Who reads an emotion: which later components change when it is taken out of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations.pooling import batches_by_length
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.last_token import at_last_token
from emotion_circuits.directions.trace_sets import emotional_and_neutral
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Batch, LanguageModel, Site, observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt
from emotion_circuits.statistics import fdr, paired_differences

__all__ = ["reading_components"]


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
    """How much later heads and MLPs change at the last token when the emotion is taken out of the residual stream.

    The mean difference between emotional and neutral sentences along the direction is subtracted at ``resid_post`` of the
    layer, at every token. The same length is subtracted along other directions: a component *reads* the emotion where its
    output changes more than it does for them. This is causal for the component's own output, and says nothing of the
    model's answer.

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
        EmotionCircuitsError: no later layer, or fewer than two groups.
    """
    if layer + 1 >= model.n_layers:
        raise EmotionCircuitsError(f"layer {layer} is the last one: nothing reads what leaves it but the unembedding")
    felt, neutral, groups = emotional_and_neutral(prompts, label, directions.reference)
    unit, texts = directions.unit(label, layer), [p.text for p in felt]
    size = _mean_gap(model, texts, [p.text for p in neutral], unit, layer)
    if nulls is None:
        nulls = torch.randn(draws, model.d_model, generator=torch.Generator().manual_seed(seed))
    vectors = torch.nn.functional.normalize(torch.cat([unit[None], nulls.to(unit)]), dim=-1)
    names, change = _changes(model, texts, layer, size * vectors)
    own, drawn = change[0], change[1:]
    found = paired_differences(own, drawn.mean(0), clusters=groups, seed=seed)
    q = fdr([f.p for f in found], family=f"reading {label} after layer {layer}: {len(found)} components").q
    apart = np.quantile(drawn.mean(1) - drawn.mean((0, 1)), [0.025, 0.975], axis=0)
    table = pd.DataFrame(
        {
            "component": [name for name, _ in names],
            "layer": [at for _, at in names],
            "change": own.mean(0),
            "null": drawn.mean((0, 1)),
            "ratio": own.mean(0) / np.maximum(drawn.mean((0, 1)), 1e-12),
            "difference": [f.estimate for f in found],
            "low": [f.low for f in found],
            "high": [f.high for f in found],
            "p": [f.p for f in found],
            "q": list(q.values()),
            "null_low": apart[0],
            "null_high": apart[1],
            "n": len(groups),
        }
    )
    return table.sort_values("ratio", ascending=False, kind="stable", ignore_index=True)


def _changes(
    model: LanguageModel, texts: Sequence[str], layer: int, vectors: Float[Tensor, "vector d_model"]
) -> tuple[list[tuple[str, int]], Float[np.ndarray, "vector text component"]]:
    """Norm of each later component's change over the norm of its output at the last token, per vector taken out."""
    later = range(layer + 1, model.n_layers)
    split = "z" not in model.refused
    first = "z" if split else "attn_out"
    sites = [Site(kind, i) for i in later for kind in (first, "mlp_out")]  # type: ignore[arg-type]
    names: list[tuple[str, int]] = []
    for site in sites:
        if site.kind == "z":
            names += [(f"L{site.layer}H{h}", site.layer) for h in range(model.n_heads)]
        else:
            names.append((f"L{site.layer} {'MLP' if site.kind == 'mlp_out' else 'attention'}", site.layer))
    ids = model.encode(texts).ids
    out = np.zeros((len(vectors), len(texts), len(names)))
    place = Site("resid_post", layer)
    with progress_bar("who reads it", len(ids) * (len(vectors) + 1)) as bar, torch.inference_mode():
        for rows in batches_by_length(ids, 1024):
            batch = model.collate([ids[i] for i in rows], side="right")
            with observe(model, [place]) as record:
                model.hidden(batch)
            stream = record[place]
            last, each = batch.attention_mask.sum(-1) - 1, torch.arange(len(rows), device=model.device)

            def outputs(
                residual: Tensor, last: Tensor = last, each: Tensor = each, batch: Batch = batch
            ) -> list[Tensor]:
                with (
                    resume(model, layer + 1, residual),
                    observe(model, sites, transform=lambda _, value: value[each, last].float()) as record,
                ):
                    model.hidden(batch)
                return [record[s] if s.kind == "z" else record[s][:, None] for s in sites]

            base = outputs(stream)
            bar.advance(len(rows))
            for v, vector in enumerate(vectors):
                changed = outputs(stream - vector.to(stream))
                shares = [
                    (c - b).norm(dim=-1) / b.norm(dim=-1).clamp(min=1e-12) for c, b in zip(changed, base, strict=True)
                ]
                out[v][rows] = torch.cat(shares, dim=1).double().cpu().numpy()
                bar.advance(len(rows))
    return names, out


def _mean_gap(model: LanguageModel, texts: Sequence[str], neutral: Sequence[str], unit: Tensor, layer: int) -> float:
    site = Site("resid_post", layer)
    both = [*texts, *neutral]
    projection = at_last_token(
        model, both, [site], lambda seen: (seen[site].double().cpu() @ unit.double())[:, None], title="projecting"
    )[:, 0]
    return float(projection[: len(texts)].mean() - projection[len(texts) :].mean())
