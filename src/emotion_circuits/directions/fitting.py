"""From a capture to directions: one extractor, every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from emotion_circuits.activations import ActivationStore, corpora_of, group_numbers, residual_norms
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.extractors import Examples, extract, midpoint_thresholds, names_with_reference
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts.contrast import labels_of

__all__ = ["Labelled", "examples_at", "fit_directions", "fit_extractors", "reading_of", "rows_of"]


def reading_of(pooling: str, store: ActivationStore) -> str:
    """The pooling a text without marked words is read from: its own, but ``mean`` for directions of emotion words.

    A projection averaged over tokens is the projection of the mean, so a word's direction is read off every token.
    """
    if pooling != "emotion":
        return pooling
    return "mean" if "mean" in store.poolings else "last"


def rows_of(store: ActivationStore, split: str, sets: Sequence[str] | None, names: Sequence[str] | None) -> pd.Series:
    """True on rows of a split, of some corpora or parts of them, and of some labels, reference included."""
    rows = store.rows
    chosen = rows["split"] == split
    if sets is not None:
        chosen &= corpora_of(rows).isin(list(sets)) | rows["set"].isin(list(sets))
    if names is not None:
        chosen &= rows["label"].isin(list(names))
    return chosen


class Labelled:
    """Labels and groups of the chosen rows of a capture that have a state.

    Hardly any layer lacks a state that another has, so that the same rows are asked for again and again: they are kept.
    """

    def __init__(self, store: ActivationStore, chosen: pd.Series, names: tuple[str, ...]) -> None:
        self.chosen, self.names, self._rows = torch.tensor(chosen.to_numpy().copy()), names, store.rows
        self._kept: dict[bytes, tuple[Tensor, Tensor]] = {}

    def of(self, usable: Bool[Tensor, " row"]) -> tuple[Int[Tensor, " usable"], Int[Tensor, " usable"]]:
        """Index of the name, and number of the group, of every usable row."""
        key = usable.numpy().tobytes()
        if key not in self._kept:
            rows = self._rows[usable.numpy()]
            labels = torch.tensor([self.names.index(v) for v in rows["label"]], dtype=torch.long)
            self._kept[key] = (labels, group_numbers(rows))
        return self._kept[key]


def examples_at(
    store: ActivationStore,
    kind: str,
    pooling: str,
    layer: int,
    chosen: pd.Series | Labelled,
    names: tuple[str, ...],
    reference: str | None,
) -> tuple[Examples, int]:
    """States of one layer of the chosen rows, rows without the pooled token left out; and how many were left out.

    Where there is a reference it is the last of the names. Who asks for many layers gives the rows as :class:`Labelled`.
    """
    asked = chosen if isinstance(chosen, Labelled) else Labelled(store, chosen, names)
    states = store.pooled(kind, pooling, layer).double()
    usable = asked.chosen & ~torch.isnan(states).all(-1)
    labels, groups = asked.of(usable)
    found = Examples(states[usable], labels, groups, names, reference is not None)
    return found, int(asked.chosen.sum()) - int(usable.sum())


def fit_directions(
    store: ActivationStore,
    *,
    extractor: str = "mean_difference",
    kind: str = "resid_post",
    pooling: str = "last",
    reading: str | None = None,
    split: str = "train",
    sets: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    reference: str | None = "neutral",
    options: dict[str, float] | None = None,
) -> DirectionSet:
    """Directions of every emotion at every captured layer, fitted on one split.

    Args:
        store: a capture with labels.
        extractor: one of :data:`emotion_circuits.directions.EXTRACTORS`; ``token`` needs pooling ``emotion``.
        kind: captured site kind.
        pooling: states the vectors are fitted on.
        reading: states the thresholds are fitted on and texts are read from; default by :func:`reading_of`.
        split: fitted on; never test in an honest report.
        sets: corpora, e.g. ``("core",)``; all by default.
        labels: emotions, in their order; all in the rows by default.
        reference: label that directions start from; ``None``: each starts from the mean of all the others.
        options: of the extractor.

    Returns:
        Vectors in the units of the activations, thresholds, residual norms, and counts of used and excluded rows.

    Raises:
        EmotionCircuitsError: no rows, a label without rows, states that are not finite, an extractor that does not fit
            the pooling.
    """
    return fit_extractors(
        store, (extractor,), kind=kind, pooling=pooling, reading=reading, split=split, sets=sets, labels=labels,
        reference=reference, options={extractor: options} if options else None,
    )[0]  # fmt: skip


def fit_extractors(
    store: ActivationStore,
    extractors: Sequence[str],
    *,
    kind: str = "resid_post",
    pooling: str = "last",
    reading: str | None = None,
    split: str = "train",
    sets: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    reference: str | None = "neutral",
    options: Mapping[str, dict[str, float]] | None = None,
) -> list[DirectionSet]:
    """As :func:`fit_directions` for several extractors, each layer's states read once; ``options`` by extractor."""
    if "token" in extractors and pooling != "emotion":
        raise EmotionCircuitsError("extractor 'token' is the difference on emotion words: use pooling='emotion'")
    reading = reading or reading_of(pooling, store)
    chosen = rows_of(store, split, sets, None if labels is None else labels_of(labels, reference))
    if not bool(chosen.any()):
        raise EmotionCircuitsError(f"{store.folder}: no row in split {split!r} of {sets or 'any set'} to fit on")
    names = names_with_reference(list(store.rows[chosen]["label"]), labels, reference)
    vectors: dict[str, list[Tensor]] = {e: [] for e in extractors}
    thresholds: dict[str, list[Tensor]] = {e: [] for e in extractors}
    counts: dict[str, int] = {}
    excluded = 0
    asked = Labelled(store, chosen, names)
    there = store.rows[chosen]["label"].value_counts()
    with progress_bar(f"fitting directions on {pooling}", len(store.layers) * len(extractors)) as bar:
        for layer in store.layers:
            examples, excluded = examples_at(store, kind, pooling, layer, asked, names, reference)
            read = (
                examples if reading == pooling else examples_at(store, kind, reading, layer, asked, names, reference)[0]
            )
            for states, pool in ((examples, pooling), (read, reading)):
                _check_rows(store, there, states, pool, layer)
            for extractor in extractors:
                found = extract(extractor, examples, (options or {}).get(extractor))
                vectors[extractor].append(found.vectors)
                own = found.thresholds if reading == pooling else None
                thresholds[extractor].append(midpoint_thresholds(found.vectors, read) if own is None else own)
                bar.advance()
            counts = {name: int((examples.labels == k).sum()) for k, name in enumerate(names)}
    norms = residual_norms(store, kind=kind).double()
    return [
        DirectionSet(
            extractor=extractor,
            kind=kind,
            pooling=pooling,
            labels=tuple(name for name in names if name != reference),
            layers=store.layers,
            vectors=torch.stack(vectors[extractor], dim=1).float(),
            thresholds=torch.stack(thresholds[extractor], dim=1),
            norms=norms,
            reading=reading,
            fit=_provenance(store, split, sets, counts, excluded, (options or {}).get(extractor)),
            reference=reference,
        )
        for extractor in extractors
    ]


def _check_rows(store: ActivationStore, there: pd.Series, examples: Examples, pooling: str, layer: int) -> None:
    """Refuse a label none of whose sentences (``there``: label → how many) has a state, and say why: the sentences are there."""
    found = torch.bincount(examples.labels, minlength=len(examples.names))
    for k, name in enumerate(examples.names):
        if name in there and not int(found[k]):
            why = (
                "none has a marked word behind its first token; mark words ('spans'), or use another pooling"
                if pooling == "emotion"
                else "they are nothing but attention sinks, as texts of one token are; use longer ones, or prefix 'auto'"
            )
            raise EmotionCircuitsError(
                f"{store.folder}: {there[name]} sentences of {name!r}, but no state of pooling {pooling!r} at layer {layer}: "
                f"{why}"
            )


def _provenance(
    store: ActivationStore,
    split: str,
    sets: Sequence[str] | None,
    counts: dict[str, int],
    excluded: int,
    options: dict[str, float] | None,
) -> dict[str, Any]:
    return {
        "model": store.manifest.get("model"),
        "capture": store.manifest.get("hash"),
        "prompts_sha256": store.manifest.get("prompts_sha256"),
        "split": split,
        "sets": sorted(set(corpora_of(store.rows))) if sets is None else list(sets),
        "rows": counts,
        "excluded_without_pooled_token": excluded,
        "options": dict(options or {}),
        "frame": store.frame,
        "sinks": store.sinks.to_json(),
    }
