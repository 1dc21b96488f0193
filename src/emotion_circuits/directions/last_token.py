"""What every component has written at the last token, for many texts in few passes.

A trace looks at one text from all sides; averages over a set need only its last token, so texts are batched and nothing
else is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations.pooling import batches_by_length
from emotion_circuits.directions.trace_text import check_parts, head_readers
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.progress import progress_bar

__all__ = ["Component", "at_last_token", "last_token_attention", "last_token_parts"]


class Component(NamedTuple):
    """A writer into the residual stream.

    Attributes:
        name: ``embedding``, ``L3H2``, ``L3 attention`` (where heads cannot be told apart), ``L3 attention bias``,
            ``L3 MLP``.
        layer: −1 for the embedding.
    """

    name: str
    layer: int


def at_last_token(
    model: LanguageModel,
    texts: Sequence[str],
    sites: Sequence[Site],
    take: Callable[[dict[Site, Tensor]], Tensor],
    *,
    title: str,
    batch_tokens: int = 1024,
) -> Tensor:
    """``take`` of the last token's values, text by text, in the order of the texts.

    Args:
        model: the model.
        texts: non-empty texts.
        sites: with a position axis; attention kinds are watched at the last query.
        take: from ``{site: [row, …]}`` (attention: ``[row, head, key]``, keys beyond a text's end 0) to
            ``[row, …]``; results are joined along the rows, the last axis filled up with zeros where it differs.
        title: of the progress bar.
        batch_tokens: upper bound of tokens in one forward pass.

    Raises:
        EmotionCircuitsError: a text without tokens.
    """
    ids = model.encode(texts).ids
    for text, row in zip(texts, ids, strict=True):
        if len(row) <= len(model.prefix):
            raise EmotionCircuitsError(f"the text {text!r} has no tokens for {model.name}")
    batches = batches_by_length(ids, batch_tokens)
    parts: list[Tensor] = []
    with progress_bar(title, len(ids)) as bar:
        for rows in batches:
            batch = model.collate([ids[i] for i in rows], side="right")
            last = batch.attention_mask.sum(-1) - 1
            each = torch.arange(len(rows), device=last.device)

            def keep(site: Site, value: Tensor, each: Tensor = each, last: Tensor = last) -> Tensor:
                return (value[each, :, last] if site.kind in ("scores", "pattern") else value[each, last]).clone()

            with torch.inference_mode(), observe(model, sites, transform=keep) as record:
                model.hidden(batch)
            parts.append(take(dict(record)))
            bar.advance(len(rows))
    width = max(p.shape[-1] for p in parts)
    joined = torch.cat([torch.nn.functional.pad(p, (0, width - p.shape[-1])) for p in parts])
    result = torch.empty_like(joined)
    result[torch.tensor([row for rows in batches for row in rows])] = joined
    return result


def last_token_parts(
    model: LanguageModel, texts: Sequence[str], units: Float[Tensor, "direction d_model"], layer: int
) -> tuple[list[Component], Float[Tensor, "text direction component"]]:
    """Each component's part of the projection of ``resid_post`` of a layer at the last token.

    The parts are asserted to sum to the projection.

    Args:
        model: the model.
        texts: non-empty texts.
        units: directions, in any unit: parts are their scalar products.
        layer: up to which layer.

    Raises:
        EmotionCircuitsError: parts that do not sum to the whole, NaN or infinity.
    """
    layers = range(layer + 1)
    split = model.family.post_norm is None and "z" not in model.refused
    kinds = ("attn_out", "mlp_out", *(("z",) if split else ()))
    sites = [Site("resid_pre", 0), Site("resid_post", layer)]
    sites += [Site(kind, i) for i in layers for kind in kinds]  # type: ignore[arg-type]
    units = units.double()
    readers = [head_readers(model, i, units) for i in layers] if split else []
    names = [Component("embedding", -1)]
    for i in layers:
        if split:
            names += [Component(f"L{i}H{h}", i) for h in range(model.n_heads)]
            names += [Component(f"L{i} attention bias", i)] if bool((readers[i][1] != 0).any()) else []
        else:
            names.append(Component(f"L{i} attention", i))
        names.append(Component(f"L{i} MLP", i))

    def take(seen: dict[Site, Tensor]) -> Tensor:
        def along(kind: str, i: int) -> Tensor:
            return seen[Site(kind, i)].double().cpu() @ units.T  # type: ignore[arg-type]

        columns = [along("resid_pre", 0)[:, :, None]]
        for i in layers:
            if split:
                read, bias = readers[i]
                heads = torch.einsum("rhd,hdl->rlh", seen[Site("z", i)].double().cpu(), read)
                columns.append(heads)
                if Component(f"L{i} attention bias", i) in names:
                    columns.append(bias[None, :, None].expand(len(heads), -1, 1))
            else:
                columns.append(along("attn_out", i)[:, :, None])
            columns.append(along("mlp_out", i)[:, :, None])
        parts = torch.cat(columns, -1)
        check_parts(model, parts.sum(-1), along("resid_post", layer), parts)
        return parts

    return names, at_last_token(model, texts, sites, take, title="tracing")


def last_token_attention(
    model: LanguageModel, texts: Sequence[str], **options: Any
) -> Float[Tensor, "text layer head key"]:
    """Attention of the last token to every token; keys beyond a text's end are 0.

    Raises:
        EmotionCircuitsError: a model whose attention cannot be observed.
    """
    if "pattern" in model.refused:
        raise EmotionCircuitsError(f"{model.name}: attention patterns cannot be observed")
    sites = model.sites("pattern")

    def take(seen: dict[Site, Tensor]) -> Tensor:
        return torch.stack([seen[site].float().cpu() for site in sites], dim=1)

    return at_last_token(model, texts, sites, take, title="attention of the last token", **options)
