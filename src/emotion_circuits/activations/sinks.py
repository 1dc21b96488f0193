"""One rule for attention sinks: tokens whose states say nothing of the text, however long they are.

The first token of a text, and in some layers a few others, carry a massive activation (Sun et al. 2024, *Massive Activations
in Large Language Models*) that later tokens attend to for want of anything else (Xiao et al. 2024, *Efficient Streaming
Language Models with Attention Sinks*). One such state outweighs a hundred others in a mean. A token is a **sink of a layer**
where it is the first (or belongs to the model's prefix), or where its residual stream there is longer than :data:`SINK` times
the layer's **median** token norm. Sinks are left out of every pooling, norm and alignment; a text of which nothing else is
left has no state at that layer, and is left out and counted.

The medians are measured once, by :func:`measure_sinks`, on sentences that are fixed by the capture and in batches that are
fixed here, so that which tokens are sinks depends neither on the batches of a capture nor on what computes them. They are kept
in the capture's manifest and go with the directions that are fitted on it. The median of tokens that are no sinks is also
what ``alpha = 1`` means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.model.halving import in_halves
from emotion_circuits.model.language_model import Batch
from emotion_circuits.model.resuming import resume
from emotion_circuits.prompts import Prompt, evenly

__all__ = ["SINK", "STREAM", "Sinks", "judged_by", "measure_sinks", "median_norm", "run_judged", "sentences_for_sinks"]

SINK = 4.0
"""A token whose residual stream is longer than so many medians of its layer is a sink."""
STREAM = ("resid_pre", "resid_mid", "resid_post")
"""Kinds that are the residual stream itself; they are judged by their own length, all others by ``resid_post``."""
_SENTENCES = 128
_BATCH_TOKENS = 1024
_DIGITS = 6
"""Of the medians kept: what the last bits of a matrix product decide must not decide which token is a sink."""


def judged_by(kind: str) -> str:
    """The residual-stream kind whose length tells the sinks among states of a kind."""
    return kind if kind in STREAM else "resid_post"


def median_norm(norms: Float[np.ndarray, " token"], factor: float = SINK) -> float:
    """Median of the norms that are at most ``factor`` times it: outliers are dropped until none is left.

    Args:
        norms: token norms, at least one, first tokens left out.
        factor: beyond which a norm is an outlier.

    Example:
        >>> median_norm(np.array([1.0, 2.0, 3.0, 500.0, 500.0]))
        2.0
    """
    kept = norms
    while True:
        median = float(np.median(kept))
        inside = kept[kept <= factor * median]
        # All zero: nothing is longer than nothing.
        if len(inside) == len(kept) or not len(inside):
            return median
        kept = inside


@dataclass(frozen=True)
class Sinks:
    """The measured lengths behind the rule, and the rule.

    Attributes:
        layers: model layers, in the order of the medians.
        medians: by site kind, the median token norm of each layer, sinks left out; the residual-stream kinds judge.
        prefix: token ids that stand before every text.
        sentences: on how many sentences it was measured.
        tokens: on how many of their tokens, first ones left out.
        factor: how many medians make a sink.
    """

    layers: tuple[int, ...]
    medians: Mapping[str, tuple[float, ...]]
    prefix: tuple[int, ...] = ()
    sentences: int = 0
    tokens: int = 0
    factor: float = SINK

    @property
    def lead(self) -> int:
        """How many of a text's first tokens are left out whatever their length."""
        return max(1, len(self.prefix))

    def median(self, kind: str, layer: int) -> float:
        """Median token norm of a kind at a layer, in the units of the activations.

        Raises:
            EmotionCircuitsError: not measured.
        """
        if kind not in self.medians or layer not in self.layers:
            raise EmotionCircuitsError(
                f"sinks were not measured at {kind} of layer {layer}; measured: {', '.join(self.medians)} at layers "
                f"{', '.join(map(str, self.layers))}"
            )
        return self.medians[kind][self.layers.index(layer)]

    def among(self, kind: str, layer: int, norms: Float[Tensor, "row position"]) -> Bool[Tensor, "row position"]:
        """True on sinks.

        Args:
            kind: whose states are to be pooled.
            layer: where.
            norms: of the residual stream (of :func:`judged_by`) there; texts begin at column 0.
        """
        found = norms > self.factor * self.median(judged_by(kind), layer)
        found[:, : self.lead] = True
        return found

    def kept(self, states: Float[Tensor, "layer position d_model"]) -> Bool[Tensor, "layer position"]:
        """True on the tokens of one text that are no sinks, at every block's output.

        Args:
            states: that leave the blocks, all of them; the text begins at position 0.
        """
        return ~torch.cat([self.among("resid_post", layer, own.norm(dim=-1)[None]) for layer, own in enumerate(states)])

    def to_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "factor": self.factor,
            "prefix": list(self.prefix),
            "layers": list(self.layers),
            "medians": {kind: list(values) for kind, values in self.medians.items()},
            "sentences": self.sentences,
            "tokens": self.tokens,
        }

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> Sinks:
        """Back from a manifest.

        Raises:
            EmotionCircuitsError: a note without them.
        """
        try:
            layers = tuple(int(v) for v in note["layers"])
            medians = {str(k): tuple(float(v) for v in values) for k, values in note["medians"].items()}
            for kind, found in medians.items():
                if len(found) != len(layers):
                    raise ValueError(f"{len(found)} medians of {kind} for {len(layers)} layers")
            return cls(
                layers=layers,
                medians=medians,
                prefix=tuple(int(v) for v in note["prefix"]),
                sentences=int(note["sentences"]),
                tokens=int(note["tokens"]),
                factor=float(note["factor"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EmotionCircuitsError(f"the note on attention sinks is damaged ({error}); capture anew") from error


def sentences_for_sinks(prompts: Sequence[Prompt], reference: str | None = "neutral") -> list[Prompt]:
    """What the medians are measured on: at most 128 neutral training sentences, evenly over them.

    Without a reference they are all training sentences. Where a corpus has fewer than eight of those, sentences of any label and
    split serve: norms hardly depend on what is said.
    """
    chosen = [p for p in prompts if p.split == "train" and reference in (None, p.label)]
    return evenly(chosen if len(chosen) >= 8 else list(prompts), _SENTENCES)


Take = Callable[[str, int, Tensor, Tensor], None]


def run_judged(
    model: LanguageModel,
    batch: Batch,
    kinds: Sequence[str],
    layers: Sequence[int],
    take: Take,
    *,
    finite: bool = True,
    whole: bool = True,
) -> None:
    """One forward pass; hands over the states of every kind and layer with the norms that tell the sinks among them.

    Kinds that are not the residual stream are held back until the stream leaves their layer.

    Args:
        model: the model.
        batch: right-padded.
        kinds: with a state per token.
        layers: where.
        take: ``take(kind, layer, states [row, position, d], norms [row, position])``; heads lie side by side in ``states``,
            norms are float32.
        finite: refuse NaN and infinity at the end of the model.
        whole: run the layers behind the last of ``layers`` too, for the sake of that end.
    """
    later = [kind for kind in kinds if kind not in STREAM]
    watched = [*dict.fromkeys([*kinds, *(["resid_post"] if later else [])])]
    held: dict[int, list[tuple[str, Tensor]]] = {}

    def see(site: Site, value: Tensor) -> Tensor:
        states = value.flatten(2)
        if site.kind in later:
            held.setdefault(site.layer, []).append((site.kind, states.clone()))
            return value.new_empty(0)
        norms = torch.linalg.vector_norm(states.float(), dim=-1)
        if site.kind == "resid_post":
            for kind, earlier in held.pop(site.layer, []):
                take(kind, site.layer, earlier, norms)
        if site.kind in kinds:
            take(site.kind, site.layer, states, norms)
        return value.new_empty(0)

    sites = [Site(kind, layer) for layer in layers for kind in watched]  # type: ignore[arg-type]
    stop = None if whole else max(layers) + 1
    with observe(model, sites, transform=see), resume(model, 0, None, stop=stop):
        model.hidden(batch, finite=finite)


@torch.inference_mode()
def measure_sinks(
    model: LanguageModel,
    texts: Sequence[str],
    kinds: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
) -> Sinks:
    """Median token norms per kind and layer.

    A kind's median is over the tokens that are no sinks of their layer. The batches are the same whatever else is run, and
    six digits are kept.

    Args:
        model: the model; its prefix stands before every text.
        texts: what to measure on (:func:`sentences_for_sinks`).
        kinds: further kinds than the residual stream that leaves a block.
        layers: all by default.
        names: of the texts, for messages; their numbers by default.

    Raises:
        EmotionCircuitsError: no text has a second token; NaN or infinity, with kind, layer and text.
    """
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    wanted = [*dict.fromkeys(["resid_post", *kinds])]
    lead = max(1, len(model.prefix))
    called = list(names) if names is not None else [str(i) for i in range(len(texts))]
    found_ids = zip(model.encode(texts, names=names).ids, called, strict=True)
    ids = sorted(((row, name) for row, name in found_ids if len(row) > lead), key=lambda pair: len(pair[0]))
    if not ids:
        raise EmotionCircuitsError("attention sinks need texts of at least two tokens to be told from other tokens")
    seen: dict[tuple[str, int], list[np.ndarray]] = {}
    width = 0
    for rows in _cut(ids):
        for norms, count in in_halves(
            rows, lambda some: _norms(model, some, wanted, chosen, lead), what="sentences to be measured"
        ):
            width += count
            for place, pair in norms.items():
                seen.setdefault(place, []).append(pair)
    medians: dict[str, tuple[float, ...]] = {}
    judges: dict[tuple[str, int], float] = {}
    for kind in sorted(wanted, key=lambda k: k not in STREAM):
        found = []
        for layer in chosen:
            own, judge = np.concatenate(seen[kind, layer]).astype(np.float64).T
            if kind in STREAM:
                value = judges[kind, layer] = _rounded(median_norm(own))
            else:
                value = _rounded(float(np.median(own[judge <= SINK * judges["resid_post", layer]])))
            found.append(value)
        medians[kind] = tuple(found)
    return Sinks(chosen, {kind: medians[kind] for kind in wanted}, tuple(model.prefix), len(ids), width)


def _norms(
    model: LanguageModel, rows: Sequence[tuple[list[int], str]], kinds: Sequence[str], layers: Sequence[int], lead: int
) -> tuple[dict[tuple[str, int], np.ndarray], int]:
    """By kind and layer, norms of the tokens behind the first ones and those that tell the sinks among them; how many."""
    batch, found = model.collate([row for row, _ in rows], side="right"), {}
    inner = batch.real.clone()
    inner[:, :lead] = False

    def take(kind: str, layer: int, states: Tensor, norms: Tensor) -> None:
        own = torch.linalg.vector_norm(states.float(), dim=-1)
        if not bool(torch.isfinite(own[batch.real]).all()):
            bad = int((~torch.isfinite(own) & batch.real).any(-1).nonzero()[0])
            raise EmotionCircuitsError(not_finite(model, kind, layer, rows[bad][1]))
        found[kind, layer] = torch.stack([own, norms], -1)[inner].cpu().numpy()

    # The states are checked, kind by kind.
    run_judged(model, batch, kinds, layers, take, finite=False, whole=False)
    return found, int(inner.sum())


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def not_finite(model: LanguageModel, kind: str, layer: int, name: str) -> str:
    """What is said of a state that is no number."""
    return (
        f"{model.name} gives NaN or infinity at {kind} of layer {layer}, first in sentence {name}; nothing of this batch was "
        "kept. Load the model with dtype 'float32' or 'bfloat16'; if it still does, its weights are damaged"
    )


def _cut(rows: Sequence[tuple[list[int], str]]) -> list[list[tuple[list[int], str]]]:
    """Neighbours in length, at most so many tokens with padding."""
    batches: list[list[tuple[list[int], str]]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row[0]) > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches
