"""The promises hold in half precision as well."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from emotion_circuits.model import Ablate, Add, Sampling, Site, generate, intervene, observe, self_check
from families import tiny_model
from model_cases import FAMILY_NAMES, TEXTS, batch_of, edit_of, kinds_of, random_tensor, record_all, rows_of

HALVES = ["bfloat16", "float16"]


@cache
def half_model(name: str, dtype: str):
    model = tiny_model(name)
    model.hf.to(getattr(torch, dtype))
    return model


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_half_precision_keeps_every_promise(name, dtype):
    model = half_model(name, dtype)
    batch = batch_of(model)
    width = batch.input_ids.shape[1]
    plain = model.logits(batch)
    with observe(model, model.sites(*kinds_of(model))) as record:
        assert torch.equal(model.logits(batch), plain)
    assert record[Site("resid_post", 1)].dtype == getattr(torch, dtype)
    pattern = record[Site("pattern", 1)].float().sum(-1)
    assert (pattern[batch.real[:, None].expand(-1, 4, -1)] - 1).abs().max() < 0.02
    nothing = [edit_of(model, kind, "add", keys=width, alpha=0.0) for kind in kinds_of(model)]
    with intervene(model, nothing):
        assert torch.equal(model.logits(batch), plain)
    for kind in kinds_of(model):
        with intervene(model, [edit_of(model, kind, "zero", keys=width, rows=(0,))]):
            changed = rows_of(batch, model.logits(batch))
        rows = rows_of(batch, plain)
        assert not torch.equal(changed[0], rows[0]), kind
        assert torch.equal(changed[1], rows[1]), kind
        assert torch.equal(changed[2], rows[2]), kind
    assert torch.equal(model.logits(batch), plain)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_half_precision_generates_and_passes_its_self_check(name, dtype):
    model = half_model(name, dtype)
    assert all(r.passed for r in self_check(model))
    edit = Add(site=Site("resid_post", 1), vector=random_tensor(32), alpha=2.0, rows=(1,))
    how = Sampling(max_new_tokens=6, min_new_tokens=6)
    steered, plain = (generate(model, TEXTS, how, interventions=i) for i in ([edit], []))
    assert steered[0] == plain[0]
    assert steered[2] == plain[2]
    assert steered[1] != plain[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_cutting_all_heads_inside_attention_leaves_exactly_nothing(name, dtype):
    """A rounding error left behind would be blown up to full size by the norm after attention (Gemma 2/3, OLMo 2)."""
    model = half_model(name, dtype)
    batch = batch_of(model)
    with intervene(model, [Ablate(site=Site("z", 1))]):
        expected = record_all(model, batch)
        logits = model.logits(batch)
    for kind in ("pattern", "v"):
        with intervene(model, [Ablate(site=Site(kind, 1))]):
            seen = record_all(model, batch)
            assert torch.equal(model.logits(batch)[batch.real], logits[batch.real]), kind
        assert not seen[Site("z", 1)][batch.real].any()
        assert torch.equal(seen[Site("attn_out", 1)][batch.real], expected[Site("attn_out", 1)][batch.real])
