"""Records can be differentiated through; padding does not turn gradients into NaN."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.model import Site, intervene, observe
from families import tiny_model
from model_cases import FAMILY_NAMES, TEXTS, batch_of, edit_of, kinds_for, kinds_of, model_of


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_flow_through_undetached_records_and_are_finite(name, side):
    model = tiny_model(name)
    weight = model.hf.get_input_embeddings().weight.requires_grad_(True)
    batch = batch_of(model, side=side)
    sites = [Site(kind, 2) for kind in kinds_of(model)]
    with observe(model, sites, detach=False) as record:
        logits = model.logits(batch)
    for site in sites:
        value = record[site]
        if site.kind in ("scores", "pattern"):
            queries = batch.real[:, None].expand(-1, 4, -1)
            value = value.masked_fill(value.isinf(), 0.0)[queries]
        else:
            value = value[batch.real]
        (gradient,) = torch.autograd.grad((value**2).sum(), weight, retain_graph=True)
        assert torch.isfinite(gradient).all(), site
        assert gradient.abs().max() > 0, site
    (gradient,) = torch.autograd.grad(logits[batch.real].logsumexp(-1).sum(), weight)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_gradients_flow_past_interventions_of_every_kind_with_padding(name):
    model = tiny_model(name)
    weight = model.hf.get_input_embeddings().weight.requires_grad_(True)
    batch = batch_of(model)
    for kind in kinds_of(model):
        for mode in ("add", "zero", "patch", "directional"):
            if kind not in kinds_for(model, mode):
                continue
            with intervene(model, [edit_of(model, kind, mode, keys=batch.input_ids.shape[1], rows=(0,))]):
                logits = model.logits(batch)
            (gradient,) = torch.autograd.grad(logits[batch.real].logsumexp(-1).sum(), weight)
            assert torch.isfinite(gradient).all(), (kind, mode)
            assert gradient.abs().max() > 0, (kind, mode)


def test_the_gradient_of_a_record_is_the_finite_difference():
    model = tiny_model("llama").hf.double()
    wrapped = model_of("llama")
    wrapped = type(wrapped)(model, wrapped.tokenizer, wrapped.family, "double")
    weight = model.get_input_embeddings().weight.requires_grad_(True)
    batch, site = wrapped.tokenize(TEXTS[:1]), Site("pattern", 1, 2)

    def outcome() -> torch.Tensor:
        with observe(wrapped, [site], detach=False) as record:
            wrapped.logits(batch)
        return record[site][0, -1, 3]

    (gradient,) = torch.autograd.grad(outcome(), weight)
    token, step = int(batch.input_ids[0, 3]), 1e-3
    with torch.no_grad():
        weight[token, 5] += step
        up = outcome()
        weight[token, 5] -= 2 * step
        down = outcome()
    assert float((up - down) / (2 * step)) == pytest.approx(float(gradient[token, 5]), rel=1e-2)


def test_records_are_detached_unless_asked_for():
    model = tiny_model("llama")
    model.hf.get_input_embeddings().weight.requires_grad_(True)
    with observe(model, [Site("resid_post", 0)]) as record:
        model.logits(batch_of(model))
    assert not record[Site("resid_post", 0)].requires_grad
