"""What every later component does differently at the last token when something is taken out of it there.

What changes at a text's last token changes nothing before it: the keys and values of all earlier tokens stay as they are and
are computed once. A rerun is then one token long, and several hundred directions cost what a dozen would with whole texts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.activations.pooling import batches_by_length
from emotion_circuits.directions.last_token import Component
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Batch, LanguageModel, Site, observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.progress import progress_bar

__all__ = ["last_token_changes"]

CACHE_BYTES = 1.5e8
"""Keys and values that are held at once: how many directions are rerun together follows from it."""


def last_token_changes(
    model: LanguageModel, texts: Sequence[str], vectors: Float[Tensor, "vector d_model"], layer: int
) -> tuple[list[Component], Float[Tensor, "vector text component"]]:
    """Length of each later component's change over the length of its output, at the last token.

    Each vector is subtracted from ``resid_post`` of a layer at the last token, and the blocks after it are run again: exactly,
    with everything that earlier changed blocks hand on.

    Args:
        model: the model.
        texts: of at least two tokens each.
        vectors: what is subtracted, in activation units.
        layer: where.

    Returns:
        The components (heads and MLPs of the layers after ``layer``; ``L3 attention`` where heads cannot be observed), and
        their changes, float64.

    Raises:
        EmotionCircuitsError: no later layer, or a text of fewer than two tokens.
    """
    if layer + 1 >= model.n_layers:
        raise EmotionCircuitsError(f"layer {layer} is the last one: nothing reads what leaves it but the unembedding")
    later = range(layer + 1, model.n_layers)
    split = "z" not in model.refused
    sites = [Site(kind, i) for i in later for kind in ("z" if split else "attn_out", "mlp_out")]  # type: ignore[arg-type]
    names: list[Component] = []
    for i in later:
        names += (
            [Component(f"L{i}H{h}", i) for h in range(model.n_heads)] if split else [Component(f"L{i} attention", i)]
        )
        names.append(Component(f"L{i} MLP", i))
    ids = model.encode(texts).ids
    for text, row in zip(texts, ids, strict=True):
        if len(row) < 2:
            raise EmotionCircuitsError(f"the text {text!r} has {len(row)} tokens for {model.name}; a reader needs two")
    out = torch.zeros(len(vectors), len(texts), len(names), dtype=torch.float64)
    with progress_bar("who reads it", len(ids) * len(vectors)) as bar, torch.inference_mode():
        for rows in batches_by_length(ids, 1024):
            rerun = _Rerun(model, [ids[i] for i in rows], layer, sites)
            base = rerun.outputs(vectors.new_zeros(1, vectors.shape[1]))
            for start in range(0, len(vectors), rerun.at_once):
                some = vectors[start : start + rerun.at_once]
                shares = [
                    (changed - own).norm(dim=-1) / own.norm(dim=-1).clamp(min=1e-12)
                    for changed, own in zip(rerun.outputs(some), base, strict=True)
                ]
                out[start : start + len(some), rows] = torch.cat(shares, dim=-1).double().cpu()
                bar.advance(len(rows) * len(some))
    return names, out


class _Rerun:
    """One batch of texts whose last token is run again and again from a layer on."""

    def __init__(self, model: LanguageModel, ids: Sequence[Sequence[int]], layer: int, sites: Sequence[Site]) -> None:
        self.model, self.layer, self.sites = model, layer, sites
        front = model.collate([row[:-1] for row in ids], side="left")
        self.last = torch.tensor([[row[-1]] for row in ids], device=model.device)
        self.mask = torch.cat([front.attention_mask, torch.ones_like(self.last)], dim=1)
        self.cache: Any = DynamicCache(config=model.config)
        model.hidden(front, past_key_values=self.cache, use_cache=True)
        place = Site("resid_post", layer)
        with observe(model, [place]) as record:
            self._run(self.last, self.mask, copy.deepcopy(self.cache))
        self.stream = record[place]
        held = sum(k.nbytes for entry in self.cache.layers for k in (entry.keys, entry.values))
        self.at_once = max(1, int(CACHE_BYTES / max(held, 1)))

    def outputs(self, vectors: Float[Tensor, "vector d_model"]) -> list[Float[Tensor, "vector text part feature"]]:
        """What each site holds at the last token without each vector; heads are parts of their site, an MLP is one."""
        count, rows = len(vectors), len(self.last)
        place = torch.arange(rows, device=self.last.device).repeat(count)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(place)
        stream = (self.stream[None] - vectors.to(self.stream)[:, None, None]).flatten(0, 1)
        with resume(self.model, self.layer + 1, stream), observe(self.model, self.sites) as record:
            self._run(self.last[place], self.mask[place], cache)
        # [vector · text, 1, (head,) feature] → [vector, text, part, feature]
        return [record[site].float().unflatten(0, (count, rows)).flatten(2, -2) for site in self.sites]

    def _run(self, ids: Tensor, mask: Tensor, cache: Any) -> None:
        self.model.hidden(Batch(ids, mask), past_key_values=cache, use_cache=True)
