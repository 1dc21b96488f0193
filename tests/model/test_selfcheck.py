"""The self-check passes on every family and notices models that break its promises."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError, SiteUnavailableError
from emotion_circuits.model import LanguageModel, Site, intervene, observe, self_check
from emotion_circuits.model.intervening import Ablate
from families import tiny_model
from model_cases import FAMILY_NAMES, batch_of, kinds_of


def failures(model: LanguageModel) -> dict[str, str]:
    return {r.name: r.detail for r in self_check(model, strict=False) if not r.passed}


def with_row(model: LanguageModel, **changes) -> LanguageModel:
    return LanguageModel(model.hf, model.tokenizer, replace(model.family, **changes), model.name)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_family_passes(name):
    model = tiny_model(name)
    plain = model.logits(batch_of(model))
    results = self_check(model)
    assert all(r.passed for r in results), [r for r in results if not r.passed]
    assert model.refused == {}
    edits = {r.name for r in results if r.name.startswith("an edit at")}
    assert len(edits) == len(kinds_of(model))
    assert torch.equal(model.logits(batch_of(model)), plain)


def test_a_model_that_ignores_position_ids_is_refused_for_left_padding():
    model = tiny_model("gpt2")
    forward = model.base.forward
    model.base.forward = lambda *args, position_ids=None, **kwargs: forward(*args, **kwargs)
    assert "left-padded = one by one" in failures(model)
    with pytest.raises(EmotionCircuitsError, match="failed its self-check: left-padded = one by one"):
        self_check(model)


def test_a_model_whose_output_wanders_is_refused():
    model, drift = tiny_model("gpt2"), iter(range(1000))
    model.hf.lm_head.register_forward_hook(lambda _m, _i, out: out + 1e-3 * next(drift))
    assert {"observed = unobserved", "after an intervention = before"} <= set(failures(model))
    with pytest.raises(EmotionCircuitsError, match="observed = unobserved"):
        self_check(model)


def test_a_model_with_nan_weights_is_refused():
    model = tiny_model("llama")
    model.hf.model.norm.weight[3] = float("nan")
    with pytest.raises(EmotionCircuitsError, match="NaN or infinity in the logits"):
        self_check(model)


def test_a_model_whose_attention_does_not_use_the_seam_loses_the_sites_inside_attention():
    model = tiny_model("llama")
    for block in model.blocks:
        attention = block.self_attn

        def forward(self, hidden_states, **_kwargs):
            return self.o_proj(self.q_proj(hidden_states)), None

        attention.forward = types.MethodType(forward, attention)
    failed = failures(model)
    assert "pattern is seen" in failed
    for kind in ("q", "k", "v", "scores", "pattern"):
        with (
            pytest.raises(SiteUnavailableError, match=f"site '{kind}' is not available for tiny-llama.*its seam"),
            intervene(model, [Ablate(site=Site(kind, 0))]),
        ):
            pass
    with observe(model, [Site("z", 0)]):  # the rest goes on
        model.logits(batch_of(model))


def test_a_wrong_scale_inside_attention_is_noticed(monkeypatch):
    model = with_row(tiny_model("gpt_neo"), score_divisor="scale_attn")
    for block in model.blocks:
        block.attn.attention.scale_attn = torch.tensor(50.0)  # the seam believes it; the model does not divide by it
    assert "pattern · v = z" in failures(model)
    assert {"pattern", "scores", "v"} <= set(model.refused)


def test_an_edit_without_effect_refuses_its_kind():
    model = tiny_model("llama")
    deaf = with_row(model, out_proj="self_attn.q_norm")
    for block in model.blocks:
        block.self_attn.q_norm = torch.nn.Identity()
        block.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: (module.q_norm(kwargs["hidden_states"]), None)[1], with_kwargs=True
        )
    failed = failures(deaf)
    assert "an edit at z changes the logits" in failed
    assert deaf.refused["z"]


@pytest.mark.parametrize(
    ("name", "changes", "kind"),
    [
        ("gemma3", dict(attn_out="self_attn"), "attn_out"),  # before the norm that follows attention
        ("olmo2", dict(mlp_out="mlp"), "mlp_out"),
        ("gemma2", dict(mid="post_attention_layernorm"), "resid_mid"),
        ("gpt2", dict(mlp_out="attn"), "mlp_out"),
    ],
)
def test_a_row_that_points_at_the_wrong_module_is_noticed(name, changes, kind):
    model = with_row(tiny_model(name), **changes)
    assert "resid_pre + attn_out + mlp_out = resid_post" in failures(model)
    with pytest.raises(SiteUnavailableError, match="do not add up"), observe(model, [Site(kind, 0)]):
        pass


def test_a_row_that_points_nowhere_is_a_clear_error():
    model = with_row(tiny_model("llama"), out_proj="self_attn.c_proj")
    with pytest.raises(EmotionCircuitsError, match=r"has no part 'self_attn\.c_proj'.*docs/families\.md"):
        self_check(model)
    assert torch.isfinite(model.logits(batch_of(model))).all()


def test_a_refusal_is_forgotten_when_the_model_is_checked_again():
    model = tiny_model("llama")
    model.refused["z"] = "for a test"
    with pytest.raises(SiteUnavailableError, match="for a test"):
        model.check_site(Site("z", 0))
    self_check(model)
    model.check_site(Site("z", 0))
