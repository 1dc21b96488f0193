"""What the telescope's tests share: tiny models, texts, and one edit of every kind for every site."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from emotion_circuits.model import Ablate, Add, Batch, Intervention, LanguageModel, Patch, Positions, Site, observe
from emotion_circuits.model.positions import When
from emotion_circuits.model.sites import KINDS, SiteKind
from families import CONFIGS, tiny_model

FAMILY_NAMES = sorted(CONFIGS)
TEXTS = ("Thank you so much", "Why?", "It rains again")
MODES = ("add", "zero", "mean", "directional", "resample", "patch")
LAYER = 1


@cache
def model_of(name: str) -> LanguageModel:
    """One tiny model per family, shared by all tests (none may leave anything behind on it)."""
    return tiny_model(name)


def kinds_of(model: LanguageModel) -> list[SiteKind]:
    return [kind for kind in KINDS if kind != "resid_mid" or model.has_resid_mid]


def kinds_for(model: LanguageModel, mode: str) -> list[SiteKind]:
    """The kinds a mode is defined at: the keys of a sequence have no directions."""
    return [k for k in kinds_of(model) if not (mode == "directional" and k in ("scores", "pattern"))]


def batch_of(model: LanguageModel, texts: tuple[str, ...] = TEXTS, side: str = "left") -> Batch:
    return model.tokenize(texts, side=side)


def rows_of(batch: Batch, logits: Tensor) -> list[Tensor]:
    """Each row's values on real tokens only."""
    return [row[real] for row, real in zip(logits, batch.real, strict=True)]


def random_tensor(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def position_shape(model: LanguageModel, site: Site, keys: int) -> tuple[int, ...]:
    """The shape of one position at a site, written down independently of the package."""
    heads = () if site.head is not None else (model.n_heads,)
    if site.kind in ("scores", "pattern"):
        return (*heads, keys)
    if site.kind in ("q", "k", "v", "z"):
        return (*heads, model.d_head)
    return (model.d_model,)


def edit_of(
    model: LanguageModel,
    kind: SiteKind,
    mode: str,
    *,
    keys: int,
    head: int | None = None,
    layer: int = LAYER,
    rows: tuple[int, ...] | None = None,
    positions: Positions | None = None,
    when: When = "all",
    alpha: float = 2.0,
    seed: int = 0,
) -> Intervention:
    """One intervention of the given mode with random contents that fit the site."""
    site = Site(kind, layer, head)
    shape = position_shape(model, site, keys)
    where: dict[str, Any] = dict(site=site, rows=rows, positions=positions or Positions("all"), when=when)
    value = random_tensor(*shape, seed=seed)
    if mode == "add":
        return Add(vector=value, alpha=alpha, **where)
    if mode == "zero":
        return Ablate(mode="zero", **where)
    if mode == "mean":
        return Ablate(mode="mean", value=value, **where)
    if mode == "directional":
        return Ablate(mode="directional", direction=value, **where)
    count = 1 if rows is None else len(rows)
    # As recorded: [row, position, (head,) feature], but [row, head, query, key] inside attention.
    full = random_tensor(count, keys, *shape, seed=seed)
    if kind in ("scores", "pattern") and head is None:
        full = full.transpose(1, 2)
    if mode == "resample":
        return Ablate(mode="resample", value=full, **where)
    return Patch(value=full, **where)


def record_all(model: LanguageModel, batch: Batch) -> dict[Site, Tensor]:
    with observe(model, model.sites(*kinds_of(model))) as record:
        model.logits(batch)
    return dict(record)
