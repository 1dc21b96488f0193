"""Read what prompts share once: whole prompts up to the layer where the rows part, or the beginning of prompts.

The arms of a sweep continue the same openings, and what is done to them begins at one layer: below it every row of an
opening holds the same numbers. They are computed for one row of each opening, and handed to the others with their keys
and values. Where nothing is done to a batch, as with prompting in words, prompts that begin alike (instructions, few
shots) have that beginning read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.observing import observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.model.sites import Site
from emotion_circuits.model.wiring import wiring_of

__all__ = ["beginning_of", "foreign_hooks", "read_prompts", "shared_columns"]


class Read(NamedTuple):
    """What is known after the prompts.

    Attributes:
        logits: after the last token of each.
        cache: every row's keys and values.
        mask: which columns of the cache are tokens.
    """

    logits: Float[Tensor, "row 1 vocabulary"]
    cache: Any
    mask: Int[Tensor, "row column"]


def read_prompts(model: LanguageModel, batch: Batch, *, room: float = 0) -> Read:
    """Run a left-padded batch under whatever is edited and watched, and keep its keys and values.

    Args:
        model: the model.
        batch: the prompts.
        room: columns that will follow at most; infinity: the cache is to hold no gaps.
    """
    if foreign_hooks(model):
        return _row_by_row(model, batch)
    rows, place = _distinct(batch)
    few = Batch(batch.input_ids[rows], batch.attention_mask[rows])
    many = 2 * len(rows) <= len(place)
    layer = wiring_of(model).first_layer
    if layer is None:
        logits, cache, mask = _beginnings_once(model, few if many else batch, room)
        if not many:
            return Read(logits, cache, mask)
        cache.batch_select_indices(place)
        return Read(logits[place], cache, mask[place])
    if not many or not layer:
        return _row_by_row(model, batch)
    cache, below = DynamicCache(config=model.config), DynamicCache(config=model.config)
    at = Site("resid_post", layer - 1)
    with wiring_of(model).untouched(), observe(model, [at]) as record, resume(model, 0, None, stop=layer):
        model.hidden(few, finite=False, past_key_values=below, use_cache=True)
    with resume(model, layer, record[at][place]):
        logits = _last(model, batch, cache)
    below.batch_select_indices(place)
    cache.layers[:layer] = below.layers[:layer]
    return Read(logits, cache, batch.attention_mask)


def shared_columns(model: LanguageModel, a: Batch, b: Batch) -> int:
    """In how many first columns two batches are the same, so that their keys and values there are; never all of them.

    None where something is edited or watched, or somebody's hooks are on the model (they may act by column), and where
    the columns reach a window: its cache keeps the last ones only.

    Args:
        model: the model that will read both.
        a: one batch.
        b: another of the same shape.
    """
    width = a.input_ids.shape[1]
    if wiring_of(model).first_layer is not None or width >= model.window or foreign_hooks(model):
        return 0
    differ = ((a.input_ids != b.input_ids) | (a.attention_mask != b.attention_mask)).any(0)
    return min(int(differ.long().argmax()) if bool(differ.any()) else width, width - 1)


def beginning_of(model: LanguageModel, cache: Any, columns: int) -> Any:
    """A cache of its own with the first columns of another, for a run that goes on from there.

    Args:
        model: the model that filled it.
        cache: keys and values of whole prompts.
        columns: how many, within every window.
    """
    found = DynamicCache(config=model.config)
    for index, layer in enumerate(cache.layers):
        found.update(layer.keys[:, :, :columns], layer.values[:, :, :columns], index)
    return found


def foreign_hooks(model: LanguageModel) -> bool:
    """Whether somebody else's hooks are on the model: what they do to which rows is not known.

    Those by which transformers itself records outputs stay on a model once they were used, and change nothing.
    """
    with wiring_of(model).untouched():
        hooks = [h for m in model.base.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    ours = ("transformers.", "emotion_circuits.")
    return any(not str(getattr(h, "__module__", "")).startswith(ours) for h in hooks)


def _row_by_row(model: LanguageModel, batch: Batch) -> Read:
    """Nothing is shared."""
    cache = DynamicCache(config=model.config)
    return Read(_last(model, batch, cache), cache, batch.attention_mask)


def _last(model: LanguageModel, batch: Batch, cache: Any) -> Float[Tensor, "row 1 vocabulary"]:
    logits: Tensor = model.forward(batch, last_only=True, past_key_values=cache, use_cache=True).logits
    return logits[:, -1:]


def _distinct(batch: Batch) -> tuple[Int[Tensor, " prompt"], Int[Tensor, " row"]]:
    """One row of each prompt, and for every row the place of its prompt among them."""
    both = torch.cat([batch.input_ids, batch.attention_mask], dim=1).tolist()
    places: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    place = []
    for index, row in enumerate(map(tuple, both)):
        if row not in places:
            places[row] = len(first)
            first.append(index)
        place.append(places[row])
    device = batch.input_ids.device
    return torch.tensor(first, device=device), torch.tensor(place, device=device)


class _Split(NamedTuple):
    """Prompts as beginnings that groups of them share, and ends of their own."""

    heads: list[list[int]]
    place: list[int]
    tails: list[list[int]]

    @property
    def widths(self) -> tuple[int, int]:
        """Of the longest beginning and the longest end."""
        return max(map(len, self.heads)), max(map(len, self.tails))

    @property
    def cost(self) -> int:
        """Positions that are computed, padding included."""
        front, back = self.widths
        return len(self.heads) * front + len(self.tails) * back


def _beginnings_once(model: LanguageModel, batch: Batch, room: float) -> Read:
    """Prompts to which nothing is done; a beginning that several share stands in the first columns of the cache."""
    texts = [ids[real].tolist() for ids, real in zip(batch.input_ids, batch.real, strict=True)]
    # Alike are prompts that agree in their first tokens; in how many of them is tried, since templates begin alike too.
    splits = [_split(texts, alike) for alike in range(16, batch.input_ids.shape[1], 16)]
    best = min((s for s in splits if all(s.heads)), key=lambda s: s.cost, default=None)
    # The gap between a beginning and an end would count among the columns of a window.
    if best is None or best.cost > 0.8 * batch.input_ids.numel() or sum(best.widths) + room >= model.window:
        return _row_by_row(model, batch)
    cache = DynamicCache(config=model.config)
    front, back = model.collate(best.heads), model.collate(best.tails)
    place = torch.tensor(best.place, device=model.device)
    model.hidden(front, finite=False, past_key_values=cache, use_cache=True)
    cache.batch_select_indices(place)
    mask = torch.cat([front.attention_mask[place], back.attention_mask], dim=1)
    return Read(_last(model, Batch(back.input_ids, mask), cache), cache, mask)


def _split(texts: Sequence[list[int]], alike: int) -> _Split:
    """Prompts that agree in so many first tokens, and what each group begins with."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, ids in enumerate(texts):
        groups.setdefault(tuple(ids[:alike]), []).append(row)
    heads = [_common([texts[row] for row in rows]) for rows in groups.values()]
    place = [0] * len(texts)
    for index, rows in enumerate(groups.values()):
        for row in rows:
            place[row] = index
    return _Split(heads, place, [ids[len(heads[group]) :] for ids, group in zip(texts, place, strict=True)])


def _common(texts: Sequence[list[int]]) -> list[int]:
    """What all begin with, so that at least one token of each is left."""
    low, high = min(texts), max(texts)  # what the first and the last in order share, all share
    size = min(map(len, texts)) - 1
    return low[: next((i for i in range(size) if low[i] != high[i]), size)]
