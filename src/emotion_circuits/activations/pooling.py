"""What of a sentence's token states is kept: one token, an average, or the tokens of an emotion word.

Attention sinks are left out of all of them (:mod:`emotion_circuits.activations.sinks`); a sentence of which nothing is left at
a layer has no state there (NaN).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emotion_circuits.activations.sinks import Sinks, run_judged
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.halving import in_halves
from emotion_circuits.model.language_model import Batch
from emotion_circuits.model.sites import RESIDUAL_KINDS
from emotion_circuits.prompts import Prompt, tokens_of_span

__all__ = [
    "ALL_POOLINGS",
    "FRAME",
    "POOLINGS",
    "READABLE",
    "Pooled",
    "PooledPositions",
    "Pooler",
    "batches_by_length",
    "frame_tokens",
    "pooled_positions",
    "run_batch",
    "token_batches",
    "width",
]

POOLINGS = ("last", "emotion", "mean")
"""Poolings that are captured by default."""
ALL_POOLINGS = (*POOLINGS, "weighted", "frame", "tokens")
"""Every pooling; ``tokens`` keeps one state per token."""
READABLE = ("last", "mean", "weighted", "frame")
"""Poolings with one state for any text, marked words or not."""
FRAME = " I feel"
"""Continuation whose last token's state is pooling ``frame``."""


@dataclass(frozen=True)
class PooledPositions:
    """Which tokens of a sentence are pooled as its emotion state.

    Attributes:
        tokens: indices of real tokens; empty where the sentence has none.
        matched: the id of the emotional sentence whose position a neutral sentence borrows, if it does.
        sink: whether the sentence has a marked word, all of whose tokens are the attention sink at its beginning.
    """

    tokens: tuple[int, ...]
    matched: str | None = None
    sink: bool = False


def pooled_positions(
    prompts: Sequence[Prompt], offsets: Sequence[Sequence[tuple[int, int]]], lead: int = 1
) -> list[PooledPositions]:
    """Emotion-word tokens of each sentence, located by character offsets.

    Tokens at the beginning, which are an attention sink, are left out; a sentence whose marked word is nothing else is
    excluded from this pooling. A sentence without marked words (a neutral one) gets the position of an emotional sentence of
    its own group, the choice among several made by a checksum of its id; where that position lies beyond its end, or its
    group has no marked sentence with such a token, it is excluded too.

    Args:
        prompts: the sentences.
        offsets: per sentence, the character span of each token.
        lead: how many tokens at the beginning are left out (:attr:`.sinks.Sinks.lead`).

    Raises:
        EmotionCircuitsError: a marked word that no token overlaps.
    """
    marked: dict[int, tuple[int, ...]] = {}
    by_group: dict[tuple[str, str], list[int]] = {}
    for index, (prompt, spans) in enumerate(zip(prompts, offsets, strict=True)):
        if prompt.spans:
            found = sorted({t for a, b in prompt.spans for t in tokens_of_span(spans, a, b)})
            if not found:
                raise EmotionCircuitsError(
                    f"sentence {prompt.id}: no token overlaps its marked word {prompt.span_texts()!r}"
                )
            marked[index] = tuple(t for t in found if t >= lead)
            if marked[index]:
                by_group.setdefault((prompt.set, prompt.group), []).append(index)
    result: list[PooledPositions] = []
    for index, prompt in enumerate(prompts):
        if index in marked:
            result.append(PooledPositions(marked[index], sink=not marked[index]))
            continue
        donors = by_group.get((prompt.set, prompt.group), [])
        if not donors:
            result.append(PooledPositions(()))
            continue
        donor = donors[zlib.crc32(prompt.id.encode()) % len(donors)]
        inside = tuple(t for t in marked[donor] if t < len(offsets[index]))
        result.append(PooledPositions(inside, prompts[donor].id))
    return result


def frame_tokens(model: LanguageModel, frame: str) -> list[int]:
    """Token ids appended for pooling ``frame``.

    Raises:
        EmotionCircuitsError: the frame has no tokens.
    """
    (ids,) = model.continuing([frame])
    if not ids:
        raise EmotionCircuitsError(f"the frame {frame!r} has no tokens for {model.name}")
    return ids


def token_batches(members: Sequence[int], ids: Sequence[Sequence[int]], batch_tokens: int) -> list[list[int]]:
    """Rows in batches: neighbours in length, at most ``batch_tokens`` tokens with padding."""
    batches: list[list[int]] = []
    current: list[int] = []
    for row in members:
        if current and (len(current) + 1) * len(ids[row]) > batch_tokens:
            batches.append(current)
            current = []
        current.append(row)
    return [*batches, current]


def batches_by_length(ids: Sequence[Sequence[int]], batch_tokens: int) -> list[list[int]]:
    """Indices of rows, shortest first, in batches of :func:`token_batches`."""
    return token_batches(sorted(range(len(ids)), key=lambda i: (len(ids[i]), i)), ids, batch_tokens)


class Pooled(NamedTuple):
    """States of the rows of a batch by one pooling.

    Attributes:
        states: NaN where a row has no such state.
        absent: where it has none.
    """

    states: Float[Tensor, "row d"]
    absent: Bool[Tensor, " row"]


class Pooler:
    """Pools the token states of one batch.

    Args:
        batch: right-padded rows: prefix, text, and for pooling ``frame`` the frame.
        suffix: how many tokens the frame has.
        positions: emotion-word tokens of each row.
        sinks: which tokens are left out.
    """

    def __init__(self, batch: Batch, suffix: int, positions: Sequence[PooledPositions], sinks: Sinks) -> None:
        self.batch, self.positions, self.sinks = batch, positions, sinks
        lengths = batch.attention_mask.sum(-1) - suffix
        columns = torch.arange(batch.input_ids.shape[1], device=lengths.device)
        self.text: Bool[Tensor, "row position"] = columns[None] < lengths[:, None]
        """True on the text's own tokens and those before it, without the frame and padding."""
        self._wanted: dict[str, Tensor] = {}

    def wanted(self, pool: str) -> Float[Tensor, "row position"]:
        """How much each token weighs in a pooling before sinks are left out, up to a factor per row."""
        if pool not in self._wanted:
            weights = torch.zeros(self.text.shape, device=self.text.device)
            each = torch.arange(len(weights), device=weights.device)
            if pool == "last":
                weights[each, self.text.sum(-1) - 1] = 1.0
            elif pool == "frame":
                weights[each, self.batch.attention_mask.sum(-1) - 1] = 1.0
            elif pool == "emotion":
                for row, where in enumerate(self.positions):
                    weights[row, list(where.tokens)] = 1.0
            else:
                weights += self.text
                if pool == "weighted":
                    weights *= torch.arange(weights.shape[1], device=weights.device)
            self._wanted[pool] = weights
        return self._wanted[pool]

    def pool(self, pool: str, kind: str, layer: int, states: Float[Tensor, "row position d"], norms: Tensor) -> Pooled:
        """States of a kind and layer, pooled without sinks; ``norms`` as :func:`.sinks.run_judged` gives them."""
        sink = self.sinks.among(kind, layer, norms)
        weights = self.wanted(pool) * ~sink
        absent = weights.sum(-1) == 0
        if pool == "frame":  # it speaks of the text: where that is nothing but sinks, of nothing
            absent = absent | ~(self.text & ~sink).any(-1)
        if pool in ("last", "frame"):
            found = states[torch.arange(len(weights), device=states.device), weights.argmax(-1)].clone()
        else:
            share = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
            found = torch.bmm(share[:, None], states.float())[:, 0]
        found[absent] = float("nan")
        return Pooled(found, absent)


def run_batch(
    model: LanguageModel,
    ids: Sequence[Sequence[int]],
    kinds: Sequence[str],
    layers: Sequence[int],
    pooling: str,
    sinks: Sinks,
    frame: str = FRAME,
) -> tuple[dict[str, Float[Tensor, "layer row d"]], dict[str, Bool[Tensor, "layer row"]]]:
    """Pooled states of one batch of token ids by kind (on the CPU, in the model's dtype), and where there are none (NaN)."""
    suffix = frame_tokens(model, frame) if pooling == "frame" else []
    out = {kind: torch.empty(len(layers), len(ids), width(model, kind), dtype=model.dtype) for kind in kinds}
    absent = {kind: torch.zeros(len(layers), len(ids), dtype=torch.bool) for kind in kinds}
    place = {layer: i for i, layer in enumerate(layers)}

    def run(rows: Sequence[int]) -> None:
        batch = model.collate([[*ids[row], *suffix] for row in rows], side="right")
        pooler, at = Pooler(batch, len(suffix), [PooledPositions(())] * len(rows), sinks), list(rows)

        def take(kind: str, layer: int, states: Tensor, norms: Tensor) -> None:
            found = pooler.pool(pooling, kind, layer, states, norms)
            out[kind][place[layer], at] = found.states.to("cpu", model.dtype)
            absent[kind][place[layer], at] = found.absent.cpu()

        # What is read is checked, not what the model would have made of it.
        run_judged(model, batch, kinds, layers, take, whole=False)

    for _ in in_halves(range(len(ids)), run, what="texts to be read"):
        pass
    return out, absent


def width(model: LanguageModel, kind: str) -> int:
    """Numbers in one token's state."""
    return model.d_model if kind in RESIDUAL_KINDS else model.n_heads * model.d_head
