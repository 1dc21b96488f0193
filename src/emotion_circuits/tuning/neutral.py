"""What a method does to text that has nothing to do with it: the next token on given neutral sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.model import Intervention, LanguageModel, intervene

__all__ = ["NeutralCost", "neutral_cost", "next_tokens"]

_ROWS = 8


@dataclass(frozen=True, eq=False)
class NeutralCost:
    """By text, means over its tokens but the first.

    Attributes:
        kl: divergence of the changed model's next token from the plain one's, nats: KL(plain ‖ changed).
        loss: of the changed model, nats per token.
    """

    kl: Float[np.ndarray, " text"]
    loss: Float[np.ndarray, " text"]


@torch.inference_mode()
def next_tokens(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    *,
    before: Sequence[int] = (),
    interventions: Sequence[Intervention] = (),
) -> list[Float[Tensor, "position vocabulary"]]:
    """Log-probabilities of what follows each token of each text, float32 on the CPU.

    Args:
        model: the model.
        rows: token ids of the texts.
        before: ids that stand before every text, which are not among what is given back.
        interventions: what is changed meanwhile.
    """
    found = []
    for start in range(0, len(rows), _ROWS):
        some = [[*before, *row] for row in rows[start : start + _ROWS]]
        batch = model.collate(some, side="right")
        with intervene(model, interventions):
            logits = model.logits(batch)
        for index, row in enumerate(some):
            found.append(torch.log_softmax(logits[index, len(before) : len(row)].float(), -1).cpu())
    return found


def neutral_cost(
    plain: Sequence[Float[Tensor, "position vocabulary"]],
    changed: Sequence[Float[Tensor, "position vocabulary"]],
    rows: Sequence[Sequence[int]],
) -> NeutralCost:
    """Compare what two models expect to follow in the same texts.

    Args:
        plain: by :func:`next_tokens` of the plain model.
        changed: of the changed one.
        rows: token ids of the texts, two at least.

    Example:
        >>> p = [torch.log_softmax(torch.zeros(2, 4), -1)]
        >>> neutral_cost(p, p, [[0, 1]]).loss.round(3).tolist()
        [1.386]
    """
    kl, loss = [], []
    for a, b, row in zip(plain, changed, rows, strict=True):
        a, b = a[:-1].double(), b[:-1].double()
        kl.append(float((a.exp() * (a - b)).sum(-1).clamp(min=0).mean()))
        loss.append(float(-b.gather(-1, torch.tensor(list(row[1:]))[:, None]).mean()))
    return NeutralCost(np.array(kl), np.array(loss))
