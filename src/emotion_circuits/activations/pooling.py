"""What of a sentence's token states is kept: one token, an average, or the tokens of an emotion word."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.model.language_model import Batch
from emotion_circuits.model.sites import RESIDUAL_KINDS
from emotion_circuits.prompts import Prompt, tokens_of_span

__all__ = [
    "ALL_POOLINGS",
    "AVERAGES",
    "FRAME",
    "POOLINGS",
    "READABLE",
    "PooledPositions",
    "batches_by_length",
    "frame_tokens",
    "mix",
    "pool_weights",
    "pooled_positions",
    "run_batch",
    "stateless",
    "text_mask",
    "token_batches",
    "width",
]

POOLINGS = ("last", "emotion", "mean")
"""Poolings that are captured by default."""
ALL_POOLINGS = (*POOLINGS, "weighted", "frame", "tokens")
"""Every pooling; ``tokens`` keeps one state per token."""
AVERAGES = ("mean", "weighted")
"""Averages over a text's tokens without the first, which is an attention sink."""
READABLE = ("last", *AVERAGES, "frame")
"""Poolings with one state for any text, marked words or not."""
FRAME = " I feel"
"""Continuation whose last token's state is pooling ``frame``."""


@dataclass(frozen=True)
class PooledPositions:
    """Which tokens of a sentence are pooled as its emotion state.

    Attributes:
        tokens: indices of real tokens; empty where the sentence has none.
        matched: the id of the emotional sentence whose position a neutral sentence borrows, if it does.
    """

    tokens: tuple[int, ...]
    matched: str | None = None


def pooled_positions(prompts: Sequence[Prompt], offsets: Sequence[Sequence[tuple[int, int]]]) -> list[PooledPositions]:
    """Emotion-word tokens of each sentence, located by character offsets.

    A sentence without marked words (a neutral one) gets the position of an emotional sentence of its own group, the
    choice among several made by a checksum of its id; where that position lies beyond its end, or its group has no
    marked sentence, it has none and is excluded from this pooling.

    Args:
        prompts: the sentences.
        offsets: per sentence, the character span of each token.

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
            marked[index] = tuple(found)
            by_group.setdefault((prompt.set, prompt.group), []).append(index)
    result: list[PooledPositions] = []
    for index, prompt in enumerate(prompts):
        if index in marked:
            result.append(PooledPositions(marked[index]))
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
    ids: list[int] = model.tokenizer(frame, add_special_tokens=False)["input_ids"]
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


def run_batch(
    model: LanguageModel,
    ids: Sequence[Sequence[int]],
    kinds: Sequence[str],
    layers: Sequence[int],
    pooling: str,
    frame: str = FRAME,
) -> dict[str, Float[Tensor, "layer row d"]]:
    """Pooled states of one batch of token ids (on the CPU, in the model's dtype), by kind; NaN where :func:`stateless`."""
    suffix = frame_tokens(model, frame) if pooling == "frame" else []
    batch = model.collate([[*row, *suffix] for row in ids], side="right")
    weight = pool_weights(pooling, batch, text_mask(batch, len(suffix)), [PooledPositions(())] * len(ids))
    out = {kind: torch.empty(len(layers), len(ids), width(model, kind), dtype=model.dtype) for kind in kinds}
    place = {layer: i for i, layer in enumerate(layers)}

    def keep(site: Site, value: Tensor) -> Tensor:
        value = value.flatten(2)
        state = value[torch.arange(len(weight)), weight] if weight.dim() == 1 else mix(weight, value)
        out[site.kind][place[site.layer]] = state.to("cpu", model.dtype)
        return value.new_empty(0)

    with observe(model, [Site(kind, layer) for layer in layers for kind in kinds], transform=keep):  # type: ignore[arg-type]
        model.hidden(batch)
    return out


def mix(weight: Float[Tensor, "row position"], value: Float[Tensor, "row position d"]) -> Float[Tensor, "row d"]:
    """Weighted mean of token states, float32."""
    return torch.bmm(weight[:, None], value.float())[:, 0]


def width(model: LanguageModel, kind: str) -> int:
    """Numbers in one token's state."""
    return model.d_model if kind in RESIDUAL_KINDS else model.n_heads * model.d_head


def text_mask(batch: Batch, suffix: int) -> Tensor:
    """``[row, position]`` 1 on the sentence's own tokens: right-padded, without the appended ones."""
    lengths = batch.attention_mask.sum(-1, keepdim=True) - suffix
    return (torch.arange(batch.input_ids.shape[1], device=lengths.device)[None] < lengths).long()


def stateless(pool: str, lengths: Int[Tensor, " row"]) -> Bool[Tensor, " row"]:
    """Texts that have no such state: a single token is the sink, which averages leave out.

    Args:
        pool: one of :data:`READABLE`.
        lengths: tokens of each text.
    """
    return lengths < 2 if pool in AVERAGES else torch.zeros_like(lengths, dtype=torch.bool)


def pool_weights(pool: str, batch: Batch, text: Tensor, positions: Sequence[PooledPositions]) -> Tensor:
    """The index of the pooled token ``[row]``, or averaging weights ``[row, position]`` (NaN: no such state)."""
    lengths = text.sum(-1)
    if pool == "last":
        return lengths - 1
    if pool == "frame":
        return batch.attention_mask.sum(-1) - 1
    weights = torch.zeros(text.shape, device=text.device)
    if pool in AVERAGES:
        weights[:, 1:] = text[:, 1:].float()
        if pool == "weighted":
            weights *= torch.arange(text.shape[1], device=text.device)
        weights[stateless(pool, lengths), 0] = float("nan")
    else:
        for row, where in enumerate(positions):
            if where.tokens:
                weights[row, list(where.tokens)] = 1.0
            else:
                weights[row, 0] = float("nan")
    return weights / weights.sum(-1, keepdim=True)
