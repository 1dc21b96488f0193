"""Minimal pairs made ready for one model: aligned tokens, where they differ, which answers count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Batch, LanguageModel
from emotion_circuits.prompts import Pair, evenly_by_group, tokens_of_span

__all__ = ["PairTask", "by_group", "pair_task", "spread"]


@dataclass(frozen=True, eq=False)
class PairTask:
    """Clean and corrupted prompts of equal token length, with the answers whose logits are compared.

    Attributes:
        pairs: the pairs that fit this model, in order.
        clean: left-padded clean prompts.
        corrupted: left-padded corrupted prompts, same columns.
        spans: per pair, the differing tokens, counted from its first real token.
        answer_ids: ``[pair, answer]`` first tokens of all answers of both sides.
        answer_weights: ``[pair, answer]`` ``+1/n`` for the clean side's, ``-1/m`` for the corrupted side's, 0 padding.
        excluded: pair id → why it could not be used with this model.
    """

    pairs: tuple[Pair, ...]
    clean: Batch
    corrupted: Batch
    spans: tuple[tuple[int, ...], ...]
    answer_ids: Int[Tensor, "pair answer"]
    answer_weights: Float[Tensor, "pair answer"]
    excluded: dict[str, str]

    @property
    def groups(self) -> tuple[str, ...]:
        """Each pair's group: pairs of one group share prompts, so they count as one unit in every statistic."""
        return tuple(p.group for p in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def mirrored(self) -> bool:
        """Whether every pair also stands the other way round.

        Noising one way is denoising the other way with both signs turned, so over a mirrored task the mean effects of
        noising and denoising are the same number; so are integrated gradients of a pair and of its mirror.
        """
        seen = {(p.text, p.corrupted) for p in self.pairs}
        return all((b, a) in seen for a, b in seen)

    def one_way(self) -> PairTask:
        """The task with each two prompts compared in one direction only: the one that comes first."""
        rows: dict[frozenset[str], int] = {}
        for row, pair in enumerate(self.pairs):
            rows.setdefault(frozenset((pair.text, pair.corrupted)), row)
        return self.select(list(rows.values()))

    def turned(self) -> PairTask:
        """The task with every pair the other way round: noising a part there is denoising it here."""
        pairs = tuple(
            p.model_copy(
                update={
                    "text": p.corrupted, "label": p.corrupted_label, "spans": p.corrupted_spans,
                    "answers": p.corrupted_answers, "corrupted": p.text, "corrupted_label": p.label,
                    "corrupted_spans": p.spans, "corrupted_answers": p.answers,
                }
            )
            for p in self.pairs
        )  # fmt: skip
        # As in a fresh task, the clean side's answers come first and padding last.
        rank = torch.where(self.answer_weights < 0, 0, torch.where(self.answer_weights > 0, 1, 2))
        order = rank.argsort(dim=1, stable=True)
        return replace(
            self,
            pairs=pairs,
            clean=self.corrupted,
            corrupted=self.clean,
            answer_ids=self.answer_ids.gather(1, order),
            answer_weights=-self.answer_weights.gather(1, order),
        )

    def logit_difference(self, logits: Float[Tensor, "*variant pair vocabulary"]) -> Float[Tensor, "*variant pair"]:
        """Mean logit of the clean side's answers minus mean logit of the corrupted side's, in logits."""
        ids = self.answer_ids.expand(*logits.shape[:-1], -1)
        return (logits.float().gather(-1, ids) * self.answer_weights).sum(-1)

    def select(self, rows: Sequence[int]) -> PairTask:
        """The task of some of its pairs (columns stay as they are)."""
        index = torch.tensor(list(rows), dtype=torch.long, device=self.answer_ids.device)

        def part(batch: Batch) -> Batch:
            return Batch(batch.input_ids[index], batch.attention_mask[index], tuple(batch.offsets[r] for r in rows))

        return replace(
            self,
            pairs=tuple(self.pairs[r] for r in rows),
            clean=part(self.clean),
            corrupted=part(self.corrupted),
            spans=tuple(self.spans[r] for r in rows),
            answer_ids=self.answer_ids[index],
            answer_weights=self.answer_weights[index],
        )


def pair_task(model: LanguageModel, pairs: Sequence[Pair]) -> PairTask:
    """Tokenize pairs for a model; what does not align is left out and counted, never padded into shape.

    Args:
        model: the model.
        pairs: minimal pairs.

    Raises:
        EmotionCircuitsError: no pair fits the model.
    """
    kept: list[Pair] = []
    spans: list[tuple[int, ...]] = []
    answers: list[tuple[list[int], list[int]]] = []
    excluded: dict[str, str] = {}
    for pair in pairs:
        one = model.tokenize([pair.text, pair.corrupted], names=[pair.id, pair.id])
        lengths = one.attention_mask.sum(-1).tolist()
        if lengths[0] != lengths[1]:
            excluded[pair.id] = f"its two prompts have {lengths[0]} and {lengths[1]} tokens for {model.name}"
            continue
        differing = (one.input_ids[0] != one.input_ids[1]).nonzero()[:, 0].tolist()
        inside = tokens_of_span(one.offsets[0], *pair.spans[0])
        if not differing or not set(differing) <= set(inside):
            excluded[pair.id] = f"its prompts differ outside of the marked place once tokenized for {model.name}"
            continue
        right, wrong = _first_tokens(model, pair.answers), _first_tokens(model, pair.corrupted_answers)
        shared = set(right) & set(wrong)
        right, wrong = [t for t in right if t not in shared], [t for t in wrong if t not in shared]
        if not right or not wrong:
            excluded[pair.id] = "its answer sets begin with the same tokens"
            continue
        kept.append(pair)
        spans.append(tuple(inside))
        answers.append((right, wrong))
    if not kept:
        reason = next(iter(excluded.values()), "no pairs were given")
        raise EmotionCircuitsError(f"none of {len(pairs)} pairs can be used with {model.name}: {reason}")
    width = max(len(a) + len(b) for a, b in answers)
    ids = torch.zeros(len(kept), width, dtype=torch.long)
    weights = torch.zeros(len(kept), width)
    for row, (right, wrong) in enumerate(answers):
        count = len(right) + len(wrong)
        ids[row, :count] = torch.tensor(right + wrong)
        weights[row, :count] = torch.tensor([1 / len(right)] * len(right) + [-1 / len(wrong)] * len(wrong))
    return PairTask(
        tuple(kept),
        model.tokenize([p.text for p in kept]),
        model.tokenize([p.corrupted for p in kept]),
        tuple(spans),
        ids.to(model.device),
        weights.to(model.device),
        excluded,
    )


def spread(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """At most ``limit`` pairs: whole groups, evenly spaced over the corpus (whose rows stand by kind)."""
    for count in range(len({p.group for p in pairs}), 0, -1):
        chosen = evenly_by_group(pairs, count)
        if len(chosen) <= limit:
            return chosen
    return list(pairs[:limit])


def by_group(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Means over the pairs of each group: ``[pair, …]`` to ``[group, …]``, groups in order of appearance."""
    place = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    index = np.array([place[g] for g in groups])
    sums = np.zeros((len(place), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums / np.bincount(index).reshape(-1, *([1] * (values.ndim - 1)))


def _first_tokens(model: LanguageModel, answers: Sequence[str]) -> list[int]:
    return list(dict.fromkeys(row[0] for row in model.continuing(answers) if row))
