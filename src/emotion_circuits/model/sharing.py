"""Read prompts that several rows share once, up to the first layer where the rows part.

The arms of a sweep continue the same openings, and what is done to them begins at one layer: below it every row of an
opening holds the same numbers. They are computed for one row of each opening, and handed to the others with their keys
and values.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.model.language_model import Batch, LanguageModel
from emotion_circuits.model.observing import observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.model.sites import Site
from emotion_circuits.model.wiring import wiring_of

__all__ = ["read_prompts"]


def read_prompts(model: LanguageModel, batch: Batch, cache: Any) -> Float[Tensor, "row 1 vocabulary"]:
    """Fill an empty cache with a left-padded batch, under whatever is edited and watched, and return the last logits.

    Args:
        model: the model.
        batch: the prompts.
        cache: a new ``DynamicCache`` of the model's config; afterwards it holds every row's keys and values.
    """
    rows, place = _distinct(batch)
    wiring = wiring_of(model)
    layer = wiring.first_layer
    common = model.n_layers if layer is None else layer
    if 2 * len(rows) > len(place) or not common:
        return _last(model, batch, cache)
    few = Batch(batch.input_ids[rows], batch.attention_mask[rows])
    if layer is None:
        logits = _last(model, few, cache)[place]
        cache.batch_select_indices(place)
        return logits
    below = DynamicCache(config=model.config)
    at = Site("resid_post", common - 1)
    with wiring.untouched(), observe(model, [at]) as record, resume(model, 0, None, stop=common):
        model.hidden(few, finite=False, past_key_values=below, use_cache=True)
    with resume(model, common, record[at][place]):
        logits = _last(model, batch, cache)
    below.batch_select_indices(place)
    cache.layers[:common] = below.layers[:common]
    return logits


def _last(model: LanguageModel, batch: Batch, cache: Any) -> Float[Tensor, "row 1 vocabulary"]:
    logits: Tensor = model.forward(batch, last_only=True, past_key_values=cache, use_cache=True).logits
    return logits[:, -1:]


def _distinct(batch: Batch) -> tuple[Tensor, Tensor]:
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
