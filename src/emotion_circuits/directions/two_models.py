"""Two models on the same sentences: do their emotion directions correspond, beyond what unrelated models would show?

Maps are fitted on **neutral train** sentences only. Which layers and method to report is chosen by how well the map
predicts neutral **validation** sentences, so emotion plays no part in it. Figures are from held-out neutral sentences,
from emotional sentences, and from whether a mapped direction of one model does its work in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.activations import ActivationStore, group_numbers
from emotion_circuits.directions.alignment import (
    METHODS,
    LinearMap,
    explained_variance,
    fit_map,
    mapped_overlap,
    random_map,
)
from emotion_circuits.directions.baseline import Embed
from emotion_circuits.directions.correspondence import DirectionPair, Sides, mean_auroc, mean_auroc_interval
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.extractors import Examples, extract
from emotion_circuits.directions.fitting import fit_directions
from emotion_circuits.directions.mapped_words import carried_words
from emotion_circuits.directions.matching import match_layers, shared_sentences
from emotion_circuits.directions.subspace_tables import subspaces_between
from emotion_circuits.directions.subspaces import linear_cka, overlap_chance, rsa
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import rank_p

__all__ = ["Comparison", "compare_models"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models share.

    Attributes:
        similarity: per matched layer pair: ``matching, layer_a, layer_b, cka, cka_low, cka_high, rsa, rsa_low,
            rsa_high`` (the ranges: 95 % under permuted sentences).
        alignment: per matched layer pair, method and control (``paired``, ``shuffled``, ``random map``):
            ``r2_validation, r2_neutral, r2_emotion`` (explained variance, held out);
            ``cos2`` of the mapped direction set after orthonormalisation, beside ``cos2_chance`` (k/d),
            ``cos2_random_*`` (mapped random directions) and ``cos2_shuffled_*`` (directions of labels shuffled alike in
            both models);
            ``cos2_apart`` the same with directions fitted on disjoint halves of the groups, mean over halvings, with
            their range ``cos2_apart_*`` and that of shuffled labels ``apart_shuffled_*``;
            ``auroc`` (mean over emotions of the mapped direction telling the other model's test sentences of that emotion
            from all others) with its bootstrap interval ``auroc_*``, ``auroc_random_*``, ``auroc_shuffled_*``, the
            one-sided ``p`` against shuffled labels, and ``auroc_own`` (its own directions). Ranges hold 95 %.
        words: at the chosen layers and method, what directions of words carry over instead:
            :func:`~.mapped_words.carried_words`.
        subspaces: for models of one width (else empty): :func:`~.subspace_tables.subspaces_between`.
        maps: the fitted maps by (layer_a, layer_b, method).
        directions: each model's own directions.
        groups: number of groups of test sentences.
        excluded: shared sentences of which attention sinks leave nothing in some layer of a model.
    """

    similarity: pd.DataFrame
    alignment: pd.DataFrame
    words: pd.DataFrame
    subspaces: pd.DataFrame
    maps: dict[tuple[int, int, str], LinearMap]
    directions: tuple[DirectionSet, DirectionSet]
    groups: int
    excluded: int = 0

    def chosen(self) -> pd.Series:
        """The row of :attr:`alignment` whose map predicts neutral validation sentences best."""
        return _best(self.alignment)

    def mapped(self) -> DirectionSet:
        """The first model's directions in the second's space at the chosen layer pair, at that layer only."""
        row = self.chosen()
        fitted = self.maps[int(row["layer_a"]), int(row["layer_b"]), str(row["method"])]
        a, b = self.directions
        layer = int(row["layer_b"])
        vectors = fitted.directions(a.vectors[:, a.place(int(row["layer_a"]))])[:, None].float()
        return replace(
            b, extractor="mapped", layers=(layer,), vectors=vectors, thresholds=torch.zeros(len(b.labels), 1),
            norms=b.norms[b.place(layer)][None], chosen_layer=layer,
            fit={
                "from": a.fit.get("model"), "to": b.fit.get("model"), "method": str(row["method"]),
                "sinks": b.fit.get("sinks"),
            },
        )  # fmt: skip


def _best(alignment: pd.DataFrame) -> pd.Series:
    paired = alignment[alignment["control"] == "paired"]
    return paired.iloc[int(paired["r2_validation"].to_numpy().argmax())]


@dataclass(frozen=True, eq=False)
class _Held:
    """Held-out states of both models with what they express."""

    x: Float[Tensor, "row d_a"]
    y: Float[Tensor, "row d_b"]
    validation: Tensor
    neutral: Tensor
    emotional: Tensor
    test: Tensor
    truth: Int[Tensor, " test"]
    groups: Int[Tensor, " test"]


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
    reference: str | None = "neutral",
    embed: Mapping[str, Embed] | None = None,
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
        draws: random directions, label shuffles and halvings for the nulls.
        reference: label of neutral sentences, without which no map can be fitted.
        embed: static embeddings (:func:`~.baseline.static_embeddings`) by the name of their model, of both where they can be
            had; they and n-grams are what mapped directions are held against.
        seed: of everything drawn.

    Raises:
        EmotionCircuitsError: fewer than 40 shared sentences, no neutral rows in a split, NaN or infinity.
    """
    if reference is None:
        raise EmotionCircuitsError(
            "aligning models needs sentences of a reference, on which maps are fitted that know nothing of the values; the "
            "attribute has none: name one in its file"
        )
    rows, at_a, at_b, excluded = shared_sentences(a, b, kind, pooling)
    own_a, own_b = (
        fit_directions(s, extractor=extractor, kind=kind, pooling=pooling, reference=reference) for s in (a, b)
    )
    if own_a.labels != own_b.labels:
        raise EmotionCircuitsError(f"the captures have different emotions: {own_a.labels} and {own_b.labels}")
    # First, since a model that cannot be loaded is to be said before the maps are fitted, and not after.
    static = {name: torch.tensor(of(rows["text"].tolist())) for name, of in (embed or {}).items()}
    names = own_a.names
    labels = torch.tensor([names.index(v) for v in rows["label"]])
    groups = group_numbers(rows)
    splits = {s: torch.tensor((rows["split"] == s).to_numpy().copy()) for s in ("train", "validation", "test")}
    neutral = labels == len(own_a.labels)
    for split, inside in splits.items():
        if not bool((inside & neutral).any()):
            raise EmotionCircuitsError(
                f"aligning models needs {reference} sentences in split {split!r}; there are none"
            )
    train, test = splits["train"], splits["test"]
    fit_on = train & neutral
    similarity, alignment = [], []
    maps: dict[tuple[int, int, str], LinearMap] = {}
    pairs = match_layers(a, b, kind=kind, pooling=pooling, depths=depths, reference=reference)
    with progress_bar("aligning models", len(pairs) * len(methods)) as bar:
        for matching, la, lb in pairs:
            x = a.pooled(kind, pooling, la)[at_a].double()
            y = b.pooled(kind, pooling, lb)[at_b].double()
            place = {"matching": matching, "layer_a": la, "layer_b": lb}
            similarity.append({**place, **_similarity(x[test], y[test], draws, seed)})
            held = _Held(
                x, y, splits["validation"] & neutral, test & neutral, test & ~neutral, test, labels[test], groups[test]
            )
            left, right = (Examples(v[train], labels[train], groups[train], names) for v in (x, y))
            sides = Sides(left, right, extractor)
            nulls = _Nulls.draw(sides, draws, seed)
            for method in methods:
                key = (la, lb, method)
                fitted = maps.get(key) or fit_map(x[fit_on], y[fit_on], method=method, seed=seed)
                maps[key] = fitted
                order = torch.randperm(int(fit_on.sum()), generator=torch.Generator().manual_seed(seed))
                unpaired = fit_map(x[fit_on], y[fit_on][order], method=method, seed=seed)
                for control, m in (
                    ("paired", fitted),
                    ("shuffled", unpaired),
                    ("random map", random_map(fitted, seed=seed)),
                ):
                    judged = _judge(m, held, sides.directions(), nulls, draws, seed)
                    alignment.append({**place, "method": method, "control": control, **judged})
                bar.advance()
    table = pd.DataFrame(alignment)
    at = _best(table)
    best = (int(at["layer_a"]), int(at["layer_b"]), str(at["method"]))
    x, y = a.pooled(kind, pooling, best[0])[at_a].double(), b.pooled(kind, pooling, best[1])[at_b].double()

    def scored(features: Tensor, fitted: LinearMap | None = None) -> Tensor:
        """Test sentences along directions of any features, by a map of their own, fitted as the chosen one is."""
        fitted = fitted or fit_map(features[fit_on], y[fit_on], method=best[2], seed=seed)
        own = extract(extractor, Examples(features[train], labels[train], groups[train], names)).vectors
        return y[test] @ fitted.directions(own).T

    words = carried_words(
        rows["text"].tolist(),
        train,
        scored,
        scored(x, maps[best]),
        labels[test],
        groups[test],
        static=static,
        seed=seed,
    )
    subspaces = pd.DataFrame()
    if a.d_model == b.d_model:
        subspaces = subspaces_between(
            a, b, kind=kind, pooling=pooling, extractor=extractor, depths=depths, reference=reference, seed=seed
        )
    return Comparison(
        pd.DataFrame(similarity), table, words, subspaces, maps, (own_a, own_b),
        int(groups[test].unique().numel()), excluded,
    )  # fmt: skip


def _similarity(x: Tensor, y: Tensor, draws: int, seed: int) -> dict[str, float]:
    value, low, high = rsa(x, y, draws=draws, seed=seed)
    g = torch.Generator().manual_seed(seed)
    permuted = [linear_cka(x, y[torch.randperm(len(y), generator=g)]) for _ in range(min(draws, 20))]
    return {
        "cka": linear_cka(x, y), **_range("cka", permuted),
        "rsa": value, "rsa_low": low, "rsa_high": high,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Nulls:
    """Direction pairs that mean nothing, or that share no sentence."""

    shuffled: list[DirectionPair]
    apart: list[DirectionPair]
    apart_shuffled: list[DirectionPair]

    @classmethod
    def draw(cls, sides: Sides, draws: int, seed: int) -> _Nulls:
        rng = np.random.default_rng(seed)
        shuffled, apart, both = [], [], []
        for _ in range(draws):
            labels = sides.shuffled_labels(rng)
            shuffled.append(sides.directions(labels))
            halves = sides.halves(rng)
            apart.append(sides.directions(None, halves))
            both.append(sides.directions(labels, halves))
        return cls(shuffled, apart, both)


def _range(name: str, values: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def _judge(m: LinearMap, held: _Held, own: DirectionPair, nulls: _Nulls, draws: int, seed: int) -> dict[str, float]:
    y = held.y[held.test]
    usable = bool(m.matrix.abs().max() > 0)

    def cos2(pair: DirectionPair) -> float:
        return mapped_overlap(m, pair.a, pair.b) if usable else 0.0

    def works(vectors: Float[Tensor, "label d_b"]) -> float:
        return mean_auroc(y @ vectors.T, held.truth)

    g = torch.Generator().manual_seed(seed + 1)
    random = [DirectionPair(torch.randn(own.a.shape, generator=g, dtype=torch.float64), own.b) for _ in range(draws)]
    mapped = m.directions(own.a)
    found = works(mapped)
    low, high = mean_auroc_interval(y @ mapped.T, held.truth, held.groups, seed=seed)
    shuffled = [works(m.directions(pair.a)) for pair in nulls.shuffled]
    apart = [cos2(pair) for pair in nulls.apart]
    apart_shuffled = [cos2(pair) for pair in nulls.apart_shuffled]
    return {
        "r2_validation": explained_variance(m, held.x[held.validation], held.y[held.validation]),
        "r2_neutral": explained_variance(m, held.x[held.neutral], held.y[held.neutral]),
        "r2_emotion": explained_variance(m, held.x[held.emotional], held.y[held.emotional]),
        "cos2": cos2(own),
        "cos2_chance": overlap_chance(y.shape[1], len(own.a), len(own.b)),
        **_range("cos2_random", [cos2(pair) for pair in random]),
        **_range("cos2_shuffled", [cos2(pair) for pair in nulls.shuffled]),
        "cos2_apart": float(np.mean(apart)),
        **_range("cos2_apart", apart),
        **_range("apart_shuffled", apart_shuffled),
        "p_apart": rank_p(float(np.mean(apart)), apart_shuffled),
        "auroc": found,
        "auroc_low": low,
        "auroc_high": high,
        **_range("auroc_random", [works(m.directions(pair.a)) for pair in random]),
        **_range("auroc_shuffled", shuffled),
        "p": rank_p(found, shuffled),
        "auroc_own": works(own.b),
        "strength": m.strength,
        "rank": float(m.rank),
    }
