"""One vector at one layer, trained by preferences while the model stays as it is (BiPO, Cao et al. 2024; RePS, Wu et al. 2025).

Added, it is to make the preferred continuation likelier than the other, compared with the model alone; subtracted, the other way
round. Log-probabilities are per token, so that no length is preferred.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import REST, Add, LanguageModel, Site, intervene
from emotion_circuits.tuning.examples import Sequence3
from emotion_circuits.tuning.trained import Recipe, Trained

__all__ = ["PreferenceVector", "gains", "token_log_probabilities", "train_vector"]


@dataclass(frozen=True, eq=False)
class PreferenceVector:
    """What was trained.

    Attributes:
        vector: ``[d_model]``, in the units of the activations.
        layer: block behind which it is added, at every token but the first.
        trained: how it went.
    """

    vector: Float[Tensor, " d_model"]
    layer: int
    trained: Trained


def token_log_probabilities(
    model: LanguageModel, heads: Sequence[Sequence[int]], tails: Sequence[Sequence[int]]
) -> Float[Tensor, " row"]:
    """Mean log-probability per token of each continuation behind its beginning, in nats; differentiable.

    Args:
        model: as it is changed at the moment.
        heads: token ids of the beginnings, at least one each.
        tails: of the continuations.
    """
    batch = model.collate([[*head, *tail] for head, tail in zip(heads, tails, strict=True)], side="right")
    logits = model.logits(batch)[:, :-1]
    picked = torch.log_softmax(logits.float(), -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    columns = torch.arange(1, batch.input_ids.shape[1], device=picked.device)
    first = torch.tensor([len(head) for head in heads], device=picked.device)[:, None]
    inside = (columns >= first) & batch.attention_mask[:, 1:].bool()
    return torch.where(inside, picked, 0.0).sum(1) / inside.sum(1)


def gains(
    model: LanguageModel, sequences: Sequence[Sequence3], reference: Float[Tensor, " row"] | None = None
) -> Float[Tensor, " row"]:
    """By how much each preferred continuation is likelier than the other, per token, less what it is in ``reference``."""
    heads = [s.prompt for s in sequences]
    both = token_log_probabilities(
        model, [*heads, *heads], [s.chosen for s in sequences] + [s.rejected for s in sequences]
    )
    found = both[: len(sequences)] - both[len(sequences) :]
    return found if reference is None else found - reference


def train_vector(
    model: LanguageModel, sequences: Sequence[Sequence3], layer: int, recipe: Recipe, *, length: float, seed: int = 0
) -> PreferenceVector:
    """Train the vector; no weight of the model gets a gradient.

    Args:
        model: the model.
        sequences: preferences.
        layer: block behind which it acts.
        recipe: ``rate`` is a share of ``length`` per step; ``beta`` multiplies differences of log-probabilities.
        length: of a residual stream's state there, the unit of steps.
        seed: of the order of examples and of the signs.

    Raises:
        EmotionCircuitsError: nothing to learn from, a layer that the model lacks, or a loss that is no number.
    """
    if not sequences:
        raise EmotionCircuitsError("preference: there are no examples to learn from")
    site = Site("resid_post", layer)
    model.check_site(site)
    started, rng = time.monotonic(), np.random.default_rng(seed)
    with torch.inference_mode():
        chunks = [gains(model, sequences[i : i + recipe.rows]) for i in range(0, len(sequences), recipe.rows)]
    plain = torch.cat(chunks).clone()
    # In units of the layer's states, where a step of one size means the same in every layer.
    vector = torch.zeros(model.d_model, device=model.device, requires_grad=True)
    optimiser = torch.optim.AdamW([vector], lr=recipe.rate / model.d_model**0.5, weight_decay=0.0)
    order: list[int] = []
    losses, seen = [], set()
    for step in range(recipe.steps):
        while len(order) < recipe.rows:
            order += [int(i) for i in rng.permutation(len(sequences))]
        taken, order = order[: recipe.rows], order[recipe.rows :]
        seen |= set(taken)
        sign = 1.0 if step % 2 == 0 else -1.0
        with (
            torch.enable_grad(),
            intervene(model, [Add(site=site, positions=REST, vector=vector * length, alpha=sign)]),
        ):
            found = gains(model, [sequences[i] for i in taken], plain[taken])
            loss = -torch.nn.functional.logsigmoid(sign * recipe.beta * found).mean()
            (gradient,) = torch.autograd.grad(loss, vector)
        if not bool(torch.isfinite(gradient).all()):
            raise EmotionCircuitsError("preference: the gradient is no number; give a smaller step size")
        vector.grad = gradient
        optimiser.step()
        losses.append(float(loss.detach()))
    trained = Trained(
        tuple(range(1, recipe.steps + 1)), tuple(losses), model.d_model, time.monotonic() - started, len(seen)
    )
    return PreferenceVector((vector.detach() * length).cpu(), layer, trained)
