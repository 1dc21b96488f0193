"""Directions from what a model writes: states of replies under contrasting instructions (Chen et al. 2025).

A model answers the same requests under several instructions per value. A judge says which replies came out as asked; the mean
state over the tokens of each of these but attention sinks is kept, as it was under its instruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.activations import Sinks
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.model.halving import in_halves
from emotion_circuits.progress import progress_bar
from emotion_circuits.steering.conditions import Condition
from emotion_circuits.steering.contrasting import LabelledRows

__all__ = ["LEAST", "asking_for", "judged_replies", "reply_states"]

LEAST = 8
"""Replies of a label that must have come out as asked; of fewer no mean is taken."""
_TOKENS = 8192  # of a batch that is read


def asking_for(labels: Sequence[str], reference: str | None) -> list[Condition]:
    """The arms that ask for each label in words.

    Args:
        labels: values and reference.
        reference: which of them is asked for by the plain phrase.
    """
    return [Condition(name=label, kind="prompting", emotion=None if label == reference else label) for label in labels]


def judged_replies(written: Sequence[pd.DataFrame], judge: Evaluator) -> pd.DataFrame:
    """Replies with what they were asked for and what they are called.

    Args:
        written: by way of asking, a sweep of :func:`asking_for`.
        judge: calls them.

    Returns:
        One row per reply: ``label`` (asked for) ``way prompt_id prompt context text ids called counts``. An empty reply never
        counts.
    """
    rows = pd.concat([table.assign(way=way) for way, table in enumerate(written)], ignore_index=True)
    scores = judge.score([text.strip() for text in rows["text"]])
    called = pd.Series(judge.decide(scores), dtype=object)
    found = rows[["way", "prompt_id", "prompt", "context", "text", "ids"]].assign(
        label=rows["condition"], called=called
    )
    return found.assign(counts=(found["label"] == called) & (rows["n_tokens"] > 0))


@torch.inference_mode()
def reply_states(model: LanguageModel, replies: pd.DataFrame, sinks: Sinks) -> tuple[LabelledRows, pd.Series]:
    """Mean state over the tokens of each reply that counts, at every layer's output, behind what the model was asked.

    Args:
        model: that wrote them.
        replies: of :func:`judged_replies`.
        sinks: of the model; such tokens are in no mean, and a reply of nothing else at some layer does not count.

    Returns:
        The means, and by row of ``replies`` how many of its tokens are sinks at the layer where most are; missing where it does
        not count.

    Raises:
        EmotionCircuitsError: none counts, or one that is longer than the model reads.
    """
    kept = replies[replies["counts"]]
    if kept.empty:
        raise EmotionCircuitsError("no reply came out as it was asked for")
    heads = model.encode(kept["context"].tolist(), add_special_tokens=False).ids
    tails = [[int(i) for i in ids.split()] for ids in kept["ids"]]
    for head, tail in zip(heads, tails, strict=True):
        model.check_length(len(head) + len(tail), what=lambda: "a reply and its request")
    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]
    order = sorted(range(len(tails)), key=lambda i: len(heads[i]) + len(tails[i]))
    states = torch.empty(len(tails), model.n_layers, model.d_model)
    counted = torch.empty(len(tails), model.n_layers, dtype=torch.long)

    def read(rows: Sequence[int]) -> list[tuple[Float[Tensor, "layer d_model"], Int[Tensor, " layer"]]]:
        batch = model.collate([[*heads[i], *tails[i]] for i in rows], side="right")
        with observe(model, sites) as record:
            model.hidden(batch)
        found = []
        for place, i in enumerate(rows):
            whole = torch.stack([record[site][place, : len(heads[i]) + len(tails[i])].float().cpu() for site in sites])
            kept = sinks.kept(whole)
            kept[:, : len(heads[i])] = False
            count = kept.sum(1)
            found.append((torch.where(kept[..., None], whole, 0.0).sum(1) / count[:, None].clamp(min=1), count))
        return found

    with progress_bar("Reading replies", len(order)) as bar:
        start = 0
        while start < len(order):
            stop = start + 1
            while (
                stop < len(order)
                and (stop + 1 - start) * (len(heads[order[stop]]) + len(tails[order[stop]])) <= _TOKENS
            ):
                stop += 1
            some = order[start:stop]
            parts = [part for parts in in_halves(some, read, what="replies to be read") for part in parts]
            states[torch.tensor(some)] = torch.stack([state for state, _ in parts])
            counted[torch.tensor(some)] = torch.stack([count for _, count in parts])
            bar.advance(len(some))
            start = stop
    least = counted.min(1).values
    left_out = pd.Series([len(tail) - int(count) for tail, count in zip(tails, least, strict=True)], index=kept.index)
    whole = kept[(least > 0).numpy()]
    if whole.empty:
        raise EmotionCircuitsError("every reply that came out holds nothing but attention sinks at some layer")
    rows = LabelledRows(whole["label"].tolist(), states[least > 0].double(), whole["prompt_id"].tolist(), "the replies")
    return rows, left_out.reindex(replies.index)
