"""The family table: what is in it, what is refused, and how it is worded."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import FAMILIES, Site, observe
from emotion_circuits.model.families import family_of, language_config
from emotion_circuits.model.sites import KINDS
from families import CONFIGS, tiny_model
from model_cases import FAMILY_NAMES, batch_of, model_of

PARALLEL = {"gpt_neox", "gptj", "stablelm_parallel"}


def test_the_table_holds_the_families_the_instrument_promises():
    promised = "gpt2 gpt_neo gpt_neox gptj llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi3 opt olmo2 stablelm"
    assert set(promised.split()) <= set(FAMILIES)
    assert {c["model_type"] for c in CONFIGS.values()} == set(FAMILIES)


def test_an_unknown_family_is_an_error_that_says_how_to_add_one():
    config = AutoConfig.for_model("bert")
    with pytest.raises(EmotionCircuitsError, match=r"no family row for architecture 'bert'.*llama.*docs/families\.md"):
        family_of(config)


def test_post_norm_opt_is_refused():
    config = AutoConfig.for_model("opt", do_layer_norm_before=False)
    with pytest.raises(EmotionCircuitsError, match=r"post-norm, e\.g\. opt-350m"):
        family_of(config)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_dimensions_are_read_from_any_family(name):
    model = model_of(name)
    grouped = CONFIGS[name].get("num_key_value_heads", 4)
    assert (model.n_layers, model.d_model, model.n_heads, model.n_kv_heads, model.d_head) == (3, 32, 4, grouped, 8)
    assert model.has_resid_mid == (name not in PARALLEL)
    assert model.dtype == torch.float32
    assert model.unembedding.weight.shape == (96, 32)
    assert len(model.blocks) == 3


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_rows_paths_lead_to_modules_of_the_right_shape(name):
    model = model_of(name)
    block, family = model.blocks[0], model.family
    projection = block.get_submodule(family.out_proj)
    assert projection.weight.shape == (32, 32)
    assert (type(projection).__name__ == "Conv1D") == family.conv1d
    attention = block.get_submodule(family.attention)
    widths = {
        "separate": [32, 8 * model.n_kv_heads, 8 * model.n_kv_heads],
        "fused_thirds": [96],
        "fused_per_head": [96],
        "fused_groups": [32 + 16 * model.n_kv_heads],
    }[family.qkv]
    seen = [attention.get_submodule(p).weight.shape[1 if family.conv1d else 0] for p in family.projections]
    assert seen == widths
    for path in (family.attention_norm, family.post_norm):
        assert path is None or block.get_submodule(path).weight.shape == (32,)
    assert model.base.get_submodule(family.final_norm).weight.shape == (32,)


def test_a_head_dimension_of_its_own_is_respected():
    model = tiny_model("qwen3", head_dim=16)
    assert model.d_head == 16
    with observe(model, [Site("z", 0)]) as record:
        model.logits(model.tokenize(["fives", "round"]))
    assert record[Site("z", 0)].shape == (2, 5, 4, 16)
    assert model.out_projection(0).shape == (4, 16, 32)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_attention_is_the_sum_of_its_heads_where_the_row_has_no_post_norm(name):
    model = model_of(name)
    with observe(model, [Site("z", 1), Site("attn_out", 1)]) as record:
        model.logits(batch_of(model))
    written = torch.einsum("bphe,hed->bpd", record[Site("z", 1)], model.out_projection(1))
    rest = record[Site("attn_out", 1)] - written  # the projection's bias, the same everywhere
    summed = torch.allclose(rest, rest[:1, -1:].expand_as(rest), atol=1e-5)
    assert summed == (model.family.post_norm is None)


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_a_norms_gain_is_what_it_multiplies_with(name):
    model = tiny_model(name)
    norm = model.base.get_submodule(model.family.final_norm)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    plain = [norm(x) - norm(-x)]  # without a bias
    gain = model.family.gain(norm).clone()
    norm.weight.fill_(1 - model.family.norm_offset)
    plain.append(norm(x) - norm(-x))
    torch.testing.assert_close(plain[0], plain[1] * gain)
    torch.testing.assert_close(model.family.gain(norm), torch.ones(32))


@pytest.mark.parametrize("name", FAMILY_NAMES)
@torch.no_grad()
def test_logits_are_the_capped_unembedding_of_the_last_states(name):
    changes = {"final_logit_softcapping": 1.5} if name.startswith(("gemma2", "gemma3")) else {}
    model = tiny_model(name, **changes)
    batch = batch_of(model)
    logits = model.unembedding(model.hidden(batch).last_hidden_state)
    torch.testing.assert_close(model.capped(logits), model.logits(batch))
    assert torch.equal(model.capped(logits), logits) == (not changes)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_context_and_window_are_the_configs(name):
    model = model_of(name)
    local = {"mistral": 5, "gemma2": 5, "gemma3": 5, "gpt_neo": 4}
    assert model.context == 128
    assert model.window == local.get(name, float("inf"))


def test_a_config_with_a_vision_part_is_read_as_its_language_model():
    both = AutoConfig.for_model("gemma3", text_config=CONFIGS["gemma3"] | {"model_type": "gemma3_text"})
    text = language_config(both)
    assert text.model_type == "gemma3_text"
    assert text.hidden_size == 32
    assert family_of(text).name == "Gemma 3"
    assert language_config(text) is text


@pytest.mark.parametrize("site", [Site(kind, 2) for kind in KINDS] + [Site("z", 1, 10), Site("pattern", 0, 0)])
def test_sites_can_be_written_and_read_back(site):
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_site_has_a_name_in_transformer_lens(kind):
    assert Site.parse(Site(kind, 7).hook_name) == Site(kind, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Site("residual", 0), "unknown site kind 'residual'; known kinds: resid_pre"),
        (lambda: Site("z", -1), "layer must be 0 or more"),
        (lambda: Site("z", 0, -1), "head must be 0 or more"),
        (lambda: Site("resid_post", 0, 1), "has no heads"),
        (lambda: Site.parse("z"), "write it as KIND.Llayer"),
        (lambda: Site.parse("z.Lx"), "write it as KIND.Llayer"),
        (lambda: Site.parse("nothing.L1"), "unknown site kind"),
        (lambda: Site.parse("blocks.2.ln1.hook_normalized"), r"what enters this one is: blocks\.2\.hook_resid_pre"),
        (lambda: Site.parse("hook_embed"), r"enters the first block: blocks\.0\.hook_resid_pre"),
        (lambda: Site.parse("ln_final.hook_normalized"), r"blocks\.LAYER\.hook_resid_post"),
        (lambda: Site.parse("blocks.4.attn.hook_q"), r"before rotary positions.*blocks\.4\.attn\.hook_rot_q"),
        (lambda: Site.parse("blocks.4.hook_resid_pst"), r"no such place; the nearest is blocks\.4\.hook_resid_post"),
        (lambda: Site.parse("blocks.x.hook_resid_post"), r"no such place"),
    ],
)
def test_impossible_sites_are_refused(make, message):
    with pytest.raises(EmotionCircuitsError, match=message):
        make()
