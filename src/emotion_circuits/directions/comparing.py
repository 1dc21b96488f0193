"""Two models on the same sentences: do their emotion directions correspond, beyond what unrelated models would show?

Maps are fitted on **neutral train** sentences only, and judged on held-out neutral sentences, on emotional sentences,
and on whether a mapped direction of one model does its work in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.alignment import (
    METHODS,
    LinearMap,
    explained_variance,
    fit_map,
    mapped_overlap,
    random_map,
)
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.evaluating import auroc
from emotion_circuits.directions.fitting import fit_directions
from emotion_circuits.directions.subspaces import linear_cka, overlap_chance, rsa
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Add, LanguageModel, Sampling, Site, generate
from emotion_circuits.progress import progress_bar

__all__ = ["Comparison", "compare_models", "match_layers", "steering_transfer"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models share.

    Attributes:
        similarity: per matched layer pair: ``matching, layer_a, layer_b, cka, rsa, rsa_low, rsa_high`` (the range of RSA
            under permuted sentences).
        alignment: per matched layer pair, method and control (``paired``, ``shuffled``, ``random map``):
            ``r2_neutral, r2_emotion`` (held out), ``cos2`` of the mapped direction set after orthonormalisation,
            ``cos2_chance`` (k/d), ``cos2_low, cos2_high`` (mapped *random* directions, 95 %), ``auroc`` (mean over
            emotions of the mapped direction telling the other model's test sentences of that emotion from all others),
            ``auroc_low, auroc_high`` (mapped random directions), ``auroc_own`` (its own directions).
        maps: the fitted maps by (layer_a, layer_b, method).
    """

    similarity: pd.DataFrame
    alignment: pd.DataFrame
    maps: dict[tuple[int, int, str], LinearMap]


def _same_sentences(a: ActivationStore, b: ActivationStore) -> tuple[pd.DataFrame, Tensor, Tensor]:
    """Rows both captures have with the same text, and where they are."""
    left = a.rows.reset_index(drop=True).assign(at_a=range(len(a.rows)))
    right = b.rows.reset_index(drop=True).assign(at_b=range(len(b.rows)))[["id", "text", "at_b"]]
    rows = left.merge(right, on=["id", "text"], how="inner")
    if len(rows) < 40:
        raise EmotionCircuitsError(
            f"{a.folder} and {b.folder} share only {len(rows)} sentences; capture both models on the same corpora"
        )
    return rows, torch.tensor(rows["at_a"].to_numpy().copy()), torch.tensor(rows["at_b"].to_numpy().copy())


def match_layers(
    a: ActivationStore, b: ActivationStore, *, kind: str = "resid_post", pooling: str = "last", depths: Sequence[float]
) -> list[tuple[str, int, int]]:
    """Pairs of layers: at the same relative depth, and for each of ``a``'s layers ``b``'s most similar one.

    Similarity is linear CKA on neutral **train** sentences, so that the best match is not chosen on what it is judged by.

    Returns:
        ``(matching, layer_a, layer_b)`` with matching ``depth`` or ``best``.
    """
    rows, at_a, at_b = _same_sentences(a, b)
    neutral = torch.tensor(((rows["label"] == "neutral") & (rows["split"] == "train")).to_numpy().copy())
    pairs: list[tuple[str, int, int]] = []
    for depth in depths:
        la = a.layers[round(depth * (len(a.layers) - 1))]
        pairs.append(("depth", la, b.layers[round(depth * (len(b.layers) - 1))]))
        x = a.pooled(kind, pooling, la)[at_a][neutral]
        found = [linear_cka(x, b.pooled(kind, pooling, lb)[at_b][neutral]) for lb in b.layers]
        pairs.append(("best", la, b.layers[int(np.argmax(found))]))
    return pairs


def compare_models(
    a: ActivationStore,
    b: ActivationStore,
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    extractor: str = "mean_difference",
    methods: Sequence[str] = METHODS,
    depths: Sequence[float] = (0.5, 0.67, 0.83),
    draws: int = 100,
    seed: int = 0,
) -> Comparison:
    """Compare two models that were captured on the same sentences.

    Args:
        a: capture of the model whose directions are mapped.
        b: capture of the other.
        kind: captured in both.
        pooling: captured in both.
        extractor: of both direction sets, fitted on train.
        methods: alignment methods.
        depths: relative depths of the layers compared.
        draws: random directions for the nulls.
        seed: of shuffles and random directions.

    Raises:
        EmotionCircuitsError: fewer than 40 shared sentences, no neutral train rows, NaN or infinity.
    """
    rows, at_a, at_b = _same_sentences(a, b)
    own_a, own_b = (fit_directions(s, extractor=extractor, kind=kind, pooling=pooling) for s in (a, b))
    if own_a.labels != own_b.labels:
        raise EmotionCircuitsError(f"the captures have different emotions: {own_a.labels} and {own_b.labels}")

    def where(condition: pd.Series) -> Tensor:
        return torch.tensor(condition.to_numpy().copy())

    neutral, split = rows["label"] == "neutral", rows["split"]
    train, held = where(neutral & (split == "train")), where(neutral & (split == "test"))
    emotional, test = where(~neutral & (split == "test")), where(split == "test")
    names = rows["label"].to_numpy()[test.numpy()]
    similarity, alignment = [], []
    maps: dict[tuple[int, int, str], LinearMap] = {}
    pairs = match_layers(a, b, kind=kind, pooling=pooling, depths=depths)
    with progress_bar("aligning models", len(pairs) * len(methods)) as bar:
        for matching, la, lb in pairs:
            x = a.pooled(kind, pooling, la)[at_a].double()
            y = b.pooled(kind, pooling, lb)[at_b].double()
            place = {"matching": matching, "layer_a": la, "layer_b": lb}
            value, low, high = rsa(x[test], y[test], draws=draws, seed=seed)
            cka = linear_cka(x[test], y[test])
            similarity.append({**place, "cka": cka, "rsa": value, "rsa_low": low, "rsa_high": high})
            va, vb = own_a.vectors[:, own_a.place(la)].double(), own_b.vectors[:, own_b.place(lb)].double()
            for method in methods:
                key = (la, lb, method)
                fitted = maps.get(key) or fit_map(x[train], y[train], method=method, seed=seed)
                maps[key] = fitted
                order = torch.randperm(int(train.sum()), generator=torch.Generator().manual_seed(seed))
                shuffled = fit_map(x[train], y[train][order], method=method, seed=seed)
                for control, m in (
                    ("paired", fitted),
                    ("shuffled", shuffled),
                    ("random map", random_map(fitted, seed=seed)),
                ):
                    judged = _judge(m, x, y, va, vb, held, emotional, test, names, own_b, draws, seed)
                    alignment.append({**place, "method": method, "control": control, **judged})
                bar.advance()
    return Comparison(pd.DataFrame(similarity), pd.DataFrame(alignment), maps)


def _judge(
    m: LinearMap,
    x: Tensor,
    y: Tensor,
    va: Float[Tensor, "label d_a"],
    vb: Float[Tensor, "label d_b"],
    held: Tensor,
    emotional: Tensor,
    test: Tensor,
    names: np.ndarray,
    own_b: DirectionSet,
    draws: int,
    seed: int,
) -> dict[str, float]:
    def works(vectors: Tensor) -> float:
        found = [auroc(y[test] @ vectors[k], torch.tensor(names == label)) for k, label in enumerate(own_b.labels)]
        return float(np.nanmean(found))

    g = torch.Generator().manual_seed(seed + 1)
    random = [torch.randn(va.shape, generator=g, dtype=torch.float64) for _ in range(draws)]
    usable = bool(m.matrix.abs().max() > 0)
    cos = [mapped_overlap(m, r, vb) for r in random] if usable else [0.0]
    area = [works(m.directions(r)) for r in random]
    return {
        "r2_neutral": explained_variance(m, x[held], y[held]),
        "r2_emotion": explained_variance(m, x[emotional], y[emotional]),
        "cos2": mapped_overlap(m, va, vb) if usable else 0.0,
        "cos2_chance": overlap_chance(y.shape[1], len(va), len(vb)),
        "cos2_low": float(np.quantile(cos, 0.025)),
        "cos2_high": float(np.quantile(cos, 0.975)),
        "auroc": works(m.directions(va)),
        "auroc_low": float(np.quantile(area, 0.025)),
        "auroc_high": float(np.quantile(area, 0.975)),
        "auroc_own": works(vb),
        "strength": m.strength,
        "rank": float(m.rank),
    }


def steering_transfer(
    model: LanguageModel,
    prompts: Sequence[str],
    vectors: dict[str, Float[Tensor, " d_model"]],
    layer: int,
    norm: float,
    score: Callable[[list[str]], Sequence[float]],
    *,
    alpha: float = 0.2,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Steer a model with mapped directions, its own ones and controls, all at the same length, prompts and draws.

    Args:
        model: the model that is steered.
        prompts: neutral openings.
        vectors: directions by name (``mapped``, ``own``, ``random 1`` …); only their direction counts.
        layer: where they are added, to the residual stream leaving the block, at every position.
        norm: the layer's residual norm.
        score: turns continuations into one number each (an evaluator that does not know the condition).
        alpha: strength as a fraction of ``norm``.
        sampling: how continuations are drawn.
        seed: shared by all conditions.

    Returns:
        One row per condition and prompt: ``condition, prompt, text, score``; ``none`` is the unsteered model.

    Raises:
        EmotionCircuitsError: a vector of length 0 or another width.
    """
    records = []
    for name, vector in {"none": None, **vectors}.items():
        changes = []
        if vector is not None:
            length = float(vector.double().norm())
            if not length > 0:
                raise EmotionCircuitsError(f"steering transfer: the direction {name!r} has length 0")
            unit = (vector.double() / length).float()
            changes = [Add(site=Site("resid_post", layer), vector=unit, alpha=alpha * norm)]
        texts = [g.text for g in generate(model, prompts, sampling, interventions=changes, seeds=seed)]
        for prompt, text, value in zip(prompts, texts, score(texts), strict=True):
            records.append({"condition": name, "prompt": prompt, "text": text, "score": float(value)})
    return pd.DataFrame.from_records(records)
