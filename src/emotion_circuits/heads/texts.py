"""What a change of heads does beyond the answers: to plain text, and to what the model writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.changes import node_sites, node_value
from emotion_circuits.heads.nodes import Node
from emotion_circuits.heads.scanning import base_run
from emotion_circuits.model import (
    Generated,
    Intervention,
    LanguageModel,
    Patch,
    Positions,
    Sampling,
    generate,
    intervene,
)

__all__ = ["BothArms", "continue_both", "next_token_loss", "source_patch"]


class BothArms(NamedTuple):
    """Continuations of the same prompts with the same seeds and decoding.

    Attributes:
        plain: without the change.
        changed: with it.
    """

    plain: list[Generated]
    changed: list[Generated]


@torch.no_grad()
def next_token_loss(
    model: LanguageModel, texts: Sequence[str], interventions: Sequence[Intervention] = ()
) -> Float[Tensor, " text"]:
    """Mean loss per text in nats per token: what a change costs on text that has nothing to do with emotions.

    Args:
        model: the model.
        texts: plain texts of at least two tokens.
        interventions: the change, on all rows.

    Raises:
        EmotionCircuitsError: a text of a single token.
    """
    batch = model.tokenize(texts)
    predicted = batch.real[:, 1:] & batch.real[:, :-1]
    if not bool(predicted.any(1).all()):
        short = int((~predicted.any(1)).nonzero()[0, 0])
        raise EmotionCircuitsError(f"text {short} ({texts[short]!r}) has a single token: there is nothing to predict")
    with intervene(model, interventions):
        logits = model.logits(batch)
    log_p = torch.log_softmax(logits[:, :-1].float(), -1).gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    kept: Tensor = -(log_p * predicted).sum(1) / predicted.sum(1)
    return kept


def source_patch(model: LanguageModel, sources: Sequence[str], nodes: Sequence[Node]) -> list[Intervention]:
    """The sources' node outputs at their last token, put at each target's last prompt token and every generated one.

    Source and target need not have the same length: one position is taken.

    Args:
        model: the model.
        sources: one source text per target row.
        nodes: heads and MLPs.
    """
    run = base_run(model, model.tokenize(sources), node_sites(nodes))
    return [Patch(site=n.site, value=node_value(run, n)[:, -1:], positions=Positions("last")) for n in nodes]


def continue_both(
    model: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention],
    sampling: Sampling | None = None,
    *,
    seeds: Sequence[int] | int = 0,
) -> BothArms:
    """Continue prompts with and without a change; both arms share prompts, seeds and decoding.

    Args:
        model: the model.
        prompts: one per row.
        interventions: e.g. from :func:`source_patch` or :func:`emotion_circuits.heads.changes.ablation`.
        sampling: length and choice of tokens.
        seeds: as in :func:`emotion_circuits.model.generate`.
    """
    plain = generate(model, prompts, sampling, seeds=seeds)
    return BothArms(plain, generate(model, prompts, sampling, interventions=interventions, seeds=seeds))
