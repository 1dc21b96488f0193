"""Δattention: which heads attend more to the emotion word than to the word in its place. A screen, not a cause.

The same query and the same key positions are compared in token-aligned pairs, so position and sentence length cancel.
Only pairs of an emotion against neutral say something about emotion words, and only in that direction: over pairs that
stand both ways round the difference is 0 by construction. Where a task has none, its pairs are taken one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.scanning import base_run
from emotion_circuits.heads.scans import sign_flips
from emotion_circuits.heads.tasks import PairTask, by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import bootstrap_mean_intervals, fdr, permutation_ps

__all__ = ["Screen", "delta_attention"]


@dataclass(frozen=True, eq=False)
class Screen:
    """Attention to the differing word.

    Attributes:
        clean: ``[layer, head, pair]`` attention mass on it in the clean prompt.
        corrupted: the same positions in the corrupted prompt.
        groups: each pair's group.
        query: ``last`` token, or mean over all ``later`` tokens.
    """

    clean: Float[Tensor, "layer head pair"]
    corrupted: Float[Tensor, "layer head pair"]
    groups: tuple[str, ...]
    query: str

    @property
    def delta(self) -> Float[Tensor, "layer head"]:
        """Mean of clean minus corrupted."""
        return (self.clean - self.corrupted).mean(-1)

    def table(self, *, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
        """One row per head, strongest first.

        ``delta`` with 95 % interval by pair; ``p`` of the shuffled-pair null (clean and corrupted exchanged at random
        within pairs) and ``q`` over all heads; ``null_low``/``null_high``: the middle 95 % of a random head's delta.
        """
        n_heads = self.clean.shape[1]
        difference = by_group((self.clean - self.corrupted).flatten(0, 1).T.double().cpu().numpy(), self.groups)
        intervals = bootstrap_mean_intervals(difference, resamples=resamples, seed=seed)
        p = permutation_ps(difference, resamples=sign_flips(difference.shape[1]), seed=seed + 1)
        q = fdr(list(map(float, p)), family="Δattention of all heads").q
        low, high = np.quantile(difference.mean(0), [0.025, 0.975])
        table = pd.DataFrame(
            {
                "node": [f"L{i // n_heads}H{i % n_heads}" for i in range(difference.shape[1])],
                "layer": [i // n_heads for i in range(difference.shape[1])],
                "head": [i % n_heads for i in range(difference.shape[1])],
                "delta": [e.estimate for e in intervals],
                "low": [e.low for e in intervals],
                "high": [e.high for e in intervals],
                "p": p,
                "q": list(q.values()) if isinstance(q, dict) else list(q),
                "null_low": low,
                "null_high": high,
                "n": difference.shape[0],
            }
        )
        return table.sort_values("delta", key=lambda d: d.abs(), ascending=False, ignore_index=True)


def _against_neutral(task: PairTask, reference: str | None) -> PairTask:
    rows = [i for i, p in enumerate(task.pairs) if p.label != reference and p.corrupted_label == reference]
    return task.select(rows) if rows else task.one_way()


def delta_attention(
    model: LanguageModel, task: PairTask, *, query: Literal["last", "later"] = "last", reference: str | None = "neutral"
) -> Screen:
    """Attention to the differing word in clean and corrupted prompts.

    Args:
        model: the model.
        task: token-aligned pairs; those of an emotion against neutral are used.
        query: who attends: the ``last`` token, or the mean of all tokens ``later`` than the word.
        reference: label of neutral prompts; where no pair has any, all pairs are used one way round.

    Raises:
        EmotionCircuitsError: an unknown query.
    """
    if query not in ("last", "later"):
        raise EmotionCircuitsError(f"query must be last or later, got {query!r}")
    task = _against_neutral(task, reference)
    width = task.clean.input_ids.shape[1]
    first = task.clean.attention_mask.argmax(-1)
    key = torch.zeros(len(task), width)
    asks = torch.zeros(len(task), width)
    for row, span in enumerate(task.spans):
        start = int(first[row])
        key[row, [start + i for i in span]] = 1.0
        asks[row, -1 if query == "last" else slice(start + max(span) + 1, None)] = 1.0
        if not bool(asks[row].any()):
            asks[row, -1] = 1.0
    key, asks = key.to(model.device), (asks / asks.sum(1, keepdim=True)).to(model.device)
    sites = model.sites("pattern")
    sides = []
    for batch in (task.clean, task.corrupted):
        values = base_run(model, batch, sites).values
        sides.append(torch.stack([torch.einsum("rhqk,rq,rk->hr", values[s].float(), asks, key) for s in sites]))
    return Screen(sides[0], sides[1], task.groups, query)
