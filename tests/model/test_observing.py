"""Watching changes nothing, and sees what the documented shapes say."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from emotion_circuits.errors import EmotionCircuitsError, SiteUnavailableError
from emotion_circuits.model import Add, Batch, Site, generate, intervene, observe
from emotion_circuits.model.generation import Sampling
from emotion_circuits.model.wiring import wiring_of
from families import tiny_model
from model_cases import FAMILY_NAMES, TEXTS, batch_of, kinds_of, model_of


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_are_bit_identical_observed_and_unobserved_at_every_site_kind(name, side):
    model = model_of(name)
    batch = batch_of(model, side=side)
    plain = model.logits(batch)
    for kind in kinds_of(model):
        with observe(model, model.sites(kind)) as record:
            assert torch.equal(model.logits(batch), plain), kind
        assert len(record) == model.n_layers
    with observe(model, model.sites(*kinds_of(model))):
        assert torch.equal(model.logits(batch), plain)
    assert torch.equal(model.logits(batch), plain)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_generation_is_token_identical_while_observed(name):
    model = model_of(name)
    plain = generate(model, TEXTS, Sampling(max_new_tokens=8, temperature=0.9), seeds=3)
    with observe(model, model.sites(*kinds_of(model))):
        assert generate(model, TEXTS, Sampling(max_new_tokens=8, temperature=0.9), seeds=3) == plain


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_shapes_are_those_of_the_table_with_grouped_query_heads_too(name):
    model = model_of(name)
    batch = batch_of(model)
    rows, length = batch.input_ids.shape
    residual, head = (rows, length, 32), (rows, length, 4, 8)
    expected = {
        "resid_pre": residual,
        "resid_mid": residual,
        "resid_post": residual,
        "attn_out": residual,
        "mlp_out": residual,
        "q": head,
        "k": head,
        "v": head,
        "z": head,
        "scores": (rows, 4, length, length),
        "pattern": (rows, 4, length, length),
    }
    kinds = kinds_of(model)
    one_head = [Site(kind, 2, 3) for kind in kinds if kind in ("q", "k", "v", "z", "scores", "pattern")]
    with observe(model, [*model.sites(*kinds), *one_head]) as record:
        model.logits(batch)
    for site in model.sites(*kinds):
        assert tuple(record[site].shape) == expected[site.kind], site
    for site in one_head:
        axis = 1 if site.kind in ("scores", "pattern") else 2
        assert torch.equal(record[site], record[Site(site.kind, 2)].select(axis, 3)), site


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_hooks_are_gone_afterwards_and_the_attention_implementation_is_restored(name):
    model = tiny_model(name)
    before = model.config._attn_implementation

    def broken() -> None:
        with observe(model, model.sites(*kinds_of(model))):
            model.logits(batch_of(model))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert model.config._attn_implementation == before
    hooks = [m for m in model.hf.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []
    assert not any("_attn" in vars(m) for m in model.hf.modules())


def test_records_keep_the_last_pass_or_all_passes():
    model = model_of("llama")
    site = Site("resid_post", 0)
    with observe(model, [site]) as last, observe(model, [site], keep="all") as every:
        generate(model, ["Hello"], Sampling(max_new_tokens=4, min_new_tokens=4))
    assert [t.shape[1] for t in every.passes(site)] == [5, 1, 1, 1]
    assert torch.equal(last[site], every.passes(site)[-1])
    every.clear()
    assert len(every) == 0


def test_a_record_is_a_mapping_and_a_missing_site_is_a_clear_error():
    model = model_of("gpt2")
    seen, missing = Site("z", 0), Site("z", 1)
    with observe(model, [seen]) as record:
        with pytest.raises(EmotionCircuitsError, match="has not been run yet"):
            record[seen]
        model.logits(batch_of(model))
    assert seen in record
    assert missing not in record
    assert record.get(missing) is None
    assert list(record) == [seen]
    with pytest.raises(EmotionCircuitsError, match=r"z\.L1 was not recorded"):
        record[missing]


def test_records_do_not_change_when_the_model_goes_on():
    model = model_of("gpt2")
    sites = [Site(kind, 0) for kind in kinds_of(model)]
    batch = batch_of(model)
    with observe(model, sites) as record:
        model.logits(batch)
        first = {site: record[site] for site in sites}
        copies = {site: value.clone() for site, value in first.items()}
        model.logits(model.tokenize(["Something else entirely"]))
    for site in sites:
        assert torch.equal(first[site], copies[site])


def test_writing_into_a_record_does_not_reach_the_model():
    model = model_of("gpt2")
    prompt, mask = model.tokenize(["Hello"]), torch.ones(1, 6, dtype=torch.long)
    step, results = Batch(torch.tensor([[40]]), mask), []
    for spoil in (False, True):
        cache = DynamicCache(config=model.config)
        with observe(model, model.sites("k", "v")) as record:
            model.forward(prompt, past_key_values=cache, use_cache=True)
        if spoil:
            for value in record.values():
                value.zero_()
        results.append(model.forward(step, past_key_values=cache, use_cache=True).logits)
    assert torch.equal(*results)


def test_transform_is_applied_before_keeping():
    model = model_of("llama")
    site = Site("resid_post", 1)
    batch = batch_of(model)
    with observe(model, [site], transform=lambda _site, value: value[:, -1]) as pooled, observe(model, [site]) as full:
        model.logits(batch)
    assert torch.equal(pooled[site], full[site][:, -1])


def test_what_is_watched_is_what_the_edit_left():
    model = model_of("llama")
    batch = batch_of(model)
    vector = torch.ones(32)
    for kind in ("resid_pre", "resid_mid", "attn_out", "mlp_out", "resid_post"):
        site = Site(kind, 0)
        with observe(model, [site]) as before:
            model.logits(batch)
        with observe(model, [site]) as after, intervene(model, [Add(site=site, vector=vector)]):
            model.logits(batch)
        moved = (after[site] - before[site])[batch.real]
        assert torch.allclose(moved, torch.ones_like(moved), atol=1e-5), kind


def test_errors_name_the_site_and_what_exists():
    model = model_of("gpt2")
    with pytest.raises(SiteUnavailableError, match="layers 0 to 2"), observe(model, [Site("z", 3)]):
        pass
    with pytest.raises(SiteUnavailableError, match="heads 0 to 3"), observe(model, [Site("z", 0, 4)]):
        pass
    with pytest.raises(EmotionCircuitsError, match="'last' or 'all'"), observe(model, [Site("z", 0)], keep="some"):
        pass


@pytest.mark.parametrize("name", ["gpt_neox", "gptj", "stablelm_parallel"])
def test_parallel_families_refuse_resid_mid(name):
    model = model_of(name)
    with pytest.raises(SiteUnavailableError, match="in parallel"), observe(model, [Site("resid_mid", 0)]):
        pass


def test_a_context_that_cannot_be_entered_leaves_nothing_behind():
    model = model_of("llama")
    batch = batch_of(model)
    plain = model.logits(batch)
    model.hf.set_attn_implementation("flex_attention")
    try:
        edits = [
            Add(site=Site("resid_post", 0), vector=torch.ones(32)),
            Add(site=Site("z", 0, 0), vector=torch.ones(8)),
        ]
        bad = Add(site=Site("q", 0, 0), vector=torch.ones(8))
        with pytest.raises(EmotionCircuitsError, match="sdpa"), intervene(model, [*edits, bad]):
            pass
        with pytest.raises(EmotionCircuitsError, match="sdpa"), observe(model, [Site("z", 0), Site("pattern", 0)]):
            pass
    finally:
        model.hf.set_attn_implementation("sdpa")
    assert not any(wiring_of(model).edits.values())
    assert not any(wiring_of(model).watchers.values())
    assert torch.equal(model.logits(batch), plain)


def test_running_a_block_by_itself_is_a_clear_error():
    model = model_of("gpt2")
    site = Add(site=Site("resid_post", 0), vector=torch.ones(32))
    with intervene(model, [site]), pytest.raises(EmotionCircuitsError, match="call the model, not its parts"):
        model.blocks[0](torch.zeros(1, 3, 32))


def test_places_may_be_named_as_transformer_lens_does():
    model = model_of("llama")
    names = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z", "pattern.L1"]
    with observe(model, [*names, *map(Site.parse, names)]) as record:
        model.logits(batch_of(model))
    assert set(record) == {Site("resid_post", 1), Site("z", 0), Site("pattern", 1)}
    assert torch.equal(record["blocks.1.hook_resid_post"], record[Site("resid_post", 1)])
    assert "blocks.0.attn.hook_z" in record
    assert "blocks.1.attn.hook_z" not in record
    assert "nonsense" not in record
    with pytest.raises(EmotionCircuitsError, match=r"nearest is blocks\.1\.hook_resid_post"):
        model.logits(record["blocks.1.hook_resid_posts"])
