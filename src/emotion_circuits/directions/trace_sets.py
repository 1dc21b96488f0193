"""Traces averaged over a set of sentences, with intervals; the unit is the sentence's group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emotion_circuits.activations import pooled_positions
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.tracing import trace
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts import Prompt
from emotion_circuits.statistics import bootstrap_mean_intervals

__all__ = ["average_attention", "average_components"]


def average_components(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: DirectionSet,
    label: str,
    layer: int | None = None,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean part of every component at the last token over the sentences of one label, with 95 % intervals.

    Returns:
        ``component, layer, part, low, high, neutral`` (mean part on the neutral sentences given), largest first.

    Raises:
        EmotionCircuitsError: fewer than two sentences of the label.
    """
    rows: dict[str, list[pd.Series]] = {label: [], "neutral": []}
    clusters: list[str] = []
    layers: pd.Series | None = None
    chosen = [p for p in prompts if p.label in rows]
    with progress_bar("tracing", len(chosen)) as bar:
        for prompt in chosen:
            table = trace(model, prompt.text, directions, layer).components(label).set_index("component").sort_index()
            rows[prompt.label].append(table["part"])
            layers = table["layer"]
            if prompt.label == label:
                clusters.append(prompt.group)
            bar.advance()
    if len(set(clusters)) < 2 or layers is None:
        raise EmotionCircuitsError(f"averaging traces needs sentences of {label!r} from at least two groups")
    values = np.stack([r.to_numpy() for r in rows[label]])
    estimates = bootstrap_mean_intervals(values, clusters=clusters, seed=seed)
    neutral = np.stack([r.to_numpy() for r in rows["neutral"]]).mean(0) if rows["neutral"] else np.nan
    result = pd.DataFrame(
        {
            "component": layers.index,
            "layer": layers.to_numpy(),
            "part": [e.estimate for e in estimates],
            "low": [e.low for e in estimates],
            "high": [e.high for e in estimates],
            "neutral": neutral,
        }
    )
    return result.reindex(result["part"].abs().sort_values(ascending=False, kind="stable").index).reset_index(drop=True)


def average_attention(
    model: LanguageModel, prompts: Sequence[Prompt], directions: DirectionSet, label: str, *, seed: int = 0
) -> pd.DataFrame:
    """Attention from the last token to emotion words, against the matched position of the group's neutral sentence.

    Attention is a screen for heads, not evidence of what they do.

    Returns:
        ``layer, head, emotion, neutral, difference, low, high`` over groups that have both.

    Raises:
        EmotionCircuitsError: fewer than two groups with both, or a model whose attention cannot be observed.
    """
    chosen = [p for p in prompts if p.label in (label, "neutral")]
    offsets = model.tokenizer([p.text for p in chosen], return_offsets_mapping=True)["offset_mapping"]
    seen: dict[str, dict[str, np.ndarray]] = {}
    with progress_bar("attention to emotion words", len(chosen)) as bar:
        for prompt, where in zip(chosen, pooled_positions(chosen, offsets), strict=True):
            bar.advance()
            if not where.tokens:
                continue
            found = trace(model, prompt.text, directions).attention_from_last
            if found is None:
                raise EmotionCircuitsError(f"{model.name}: attention patterns cannot be observed")
            seen.setdefault(f"{prompt.set}\x1f{prompt.group}", {})[prompt.label] = (
                found[:, :, list(where.tokens)].sum(-1).numpy()
            )
    pairs = [v for v in seen.values() if len(v) == 2]
    if len(pairs) < 2:
        raise EmotionCircuitsError(
            f"attention needs at least two groups with a marked {label!r} and a neutral sentence"
        )
    emotion, neutral = (np.stack([v[k] for v in pairs]) for k in (label, "neutral"))
    n, layers, heads = emotion.shape
    estimates = bootstrap_mean_intervals((emotion - neutral).reshape(n, -1), seed=seed)
    grid = [(layer, head) for layer in range(layers) for head in range(heads)]
    return pd.DataFrame(
        {
            "layer": [g[0] for g in grid],
            "head": [g[1] for g in grid],
            "emotion": emotion.mean(0).reshape(-1),
            "neutral": neutral.mean(0).reshape(-1),
            "difference": [e.estimate for e in estimates],
            "low": [e.low for e in estimates],
            "high": [e.high for e in estimates],
        }
    )
