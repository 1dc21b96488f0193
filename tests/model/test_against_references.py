"""Records and edits against computations that share no code with the package.

References: Hugging Face's own ``output_hidden_states`` / ``output_attentions`` under eager attention, weights
multiplied by hand, surgery on the weights, and an attention written out here.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from emotion_circuits.model import Ablate, Add, Batch, LanguageModel, Patch, Positions, Site, intervene, observe
from families import CONFIGS, tiny_model
from model_cases import FAMILY_NAMES, batch_of, kinds_of, model_of, random_tensor, record_all

MODULES = {  # where each family's head outputs enter the output projection, written down again by hand
    "gpt2": "transformer.h.{}.attn.c_proj",
    "gpt_neo": "transformer.h.{}.attn.attention.out_proj",
    "gpt_neox": "gpt_neox.layers.{}.attention.dense",
    "gpt_neox_sequential": "gpt_neox.layers.{}.attention.dense",
    "gptj": "transformer.h.{}.attn.out_proj",
    "opt": "model.decoder.layers.{}.self_attn.out_proj",
}


def out_projection(model: LanguageModel, layer: int) -> Any:
    return model.hf.get_submodule(
        MODULES.get(model.name.removeprefix("tiny-"), "model.layers.{}.self_attn.o_proj").format(layer)
    )


def inputs(batch: Batch) -> dict[str, Tensor]:
    positions = (batch.attention_mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": positions}


def close(a: Tensor, b: Tensor, atol: float = 2e-5) -> bool:
    return torch.allclose(a, b, atol=atol, rtol=1e-4)


# -- records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_residual_stream_is_that_of_output_hidden_states(name, side):
    model = model_of(name)
    batch = batch_of(model, side=side)
    record = record_all(model, batch)
    hidden = model.hf(**inputs(batch), output_hidden_states=True).hidden_states
    assert len(hidden) == model.n_layers + 1
    for layer in range(model.n_layers):
        assert torch.equal(record[Site("resid_pre", layer)], hidden[layer])
        if layer + 1 < model.n_layers:  # the last one is handed out after the final norm
            assert torch.equal(record[Site("resid_post", layer)], hidden[layer + 1])
    final = model.hf.get_submodule(f"{model.family.base}.{model.family.final_norm}")
    assert torch.equal(final(record[Site("resid_post", model.n_layers - 1)]), hidden[-1])


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_attention_and_mlp_add_up_to_the_stream(name):
    model = model_of(name)
    batch = batch_of(model)
    record = record_all(model, batch)
    for layer in range(model.n_layers):
        pre, attn, mlp, post = (record[Site(k, layer)] for k in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
        if model.has_resid_mid:
            mid = record[Site("resid_mid", layer)]
            assert close(pre + attn, mid)
            assert close(mid + mlp, post)
        assert close(pre + attn + mlp, post)
        assert min(float(t.abs().max()) for t in (pre, attn, mlp)) > 1e-3


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_patterns_are_those_of_output_attentions_under_eager(name, side):
    model = model_of(name)
    batch = batch_of(model, side=side)
    record = record_all(model, batch)
    eager = copy.deepcopy(model.hf)
    eager.set_attn_implementation("eager")
    attentions = eager(**inputs(batch), output_attentions=True).attentions
    real = batch.real[:, None, :].expand(-1, model.n_heads, -1)
    for layer in range(model.n_layers):
        pattern, scores = record[Site("pattern", layer)], record[Site("scores", layer)]
        assert close(pattern[real], attentions[layer][real], 1e-5)
        assert close(torch.softmax(scores, -1)[real], attentions[layer][real], 1e-5)
        # Nothing on the future or on padding, and scores say so.
        columns = torch.arange(pattern.shape[-1])
        hidden = (columns[:, None] < columns[None, :])[None, None] | ~batch.real[:, None, None, :]
        assert not pattern[hidden.expand_as(pattern) & real[..., None]].any()
        assert torch.isneginf(scores[hidden.expand_as(scores) & real[..., None]]).all()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_z_is_the_input_of_the_output_projection_and_pattern_times_v(name):
    model = model_of(name)
    batch = batch_of(model)
    seen: dict[int, Tensor] = {}
    handles = [
        out_projection(model, layer).register_forward_pre_hook(
            lambda _module, args, layer=layer: seen.__setitem__(layer, args[0].clone())
        )
        for layer in range(model.n_layers)
    ]
    model.hf(**inputs(batch))
    for handle in handles:
        handle.remove()
    record = record_all(model, batch)
    for layer in range(model.n_layers):
        z = record[Site("z", layer)]
        assert torch.equal(z.flatten(2), seen[layer].view(*z.shape[:2], -1))
        mixed = torch.einsum("bhqk,bkhd->bqhd", record[Site("pattern", layer)], record[Site("v", layer)])
        assert close(mixed[batch.real], z[batch.real])
        attn_out_before_norm = out_projection(model, layer)(z.flatten(2))
        if name not in ("gemma2", "gemma3", "olmo2"):
            assert close(attn_out_before_norm[batch.real], record[Site("attn_out", layer)][batch.real])


def rotate(x: Tensor, positions: Tensor, dims: int, base: float) -> Tensor:
    """Rotary embedding of the first ``dims`` features (half-split), from its definition with complex numbers."""
    half = dims // 2
    angle = positions[..., None, None].double() * base ** (-torch.arange(half).double() / half)
    turned = torch.complex(x[..., :half].double(), x[..., half:dims].double()) * torch.exp(1j * angle)
    return torch.cat([turned.real.float(), turned.imag.float(), x[..., dims:]], -1)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gpt_neox", "llama", "qwen2", "opt"])
def test_q_k_v_and_scores_recomputed_from_the_weights(name):
    model = model_of(name)
    batch = batch_of(model)
    record = record_all(model, batch)
    positions = inputs(batch)["position_ids"]
    for layer in range(model.n_layers):
        x = record[Site("resid_pre", layer)]
        if name == "gpt2":
            block = model.hf.transformer.h[layer]
            fused = block.ln_1(x) @ block.attn.c_attn.weight + block.attn.c_attn.bias
            q, k, v = (t.unflatten(-1, (4, 8)) for t in fused.split(32, -1))
        elif name == "gpt_neox":
            block = model.hf.gpt_neox.layers[layer]
            dense = block.attention.query_key_value
            fused = block.input_layernorm(x) @ dense.weight.T + dense.bias
            q, k, v = fused.unflatten(-1, (4, 3, 8)).unbind(-2)
        else:
            if name == "gpt_neo":
                block = model.hf.transformer.h[layer]
                attention, normed = block.attn.attention, block.ln_1(x)
            elif name == "opt":
                block = model.hf.model.decoder.layers[layer]
                attention, normed = block.self_attn, block.self_attn_layer_norm(x)
            else:
                block = model.hf.model.layers[layer]
                attention, normed = block.self_attn, block.input_layernorm(x)
            project = (attention.q_proj, attention.k_proj, attention.v_proj)
            q, k, v = (
                (normed @ p.weight.T + (0 if p.bias is None else p.bias)).unflatten(-1, (-1, 8)) for p in project
            )
        if name in ("llama", "qwen2"):
            assert k.shape[2] == v.shape[2] == 2  # grouped queries: query head h reads key/value head h // 2
            q, k = rotate(q, positions, 8, 10_000), rotate(k, positions, 8, 10_000)
            k, v = (t[:, :, [0, 0, 1, 1]] for t in (k, v))
        if name == "gpt_neox":
            dims = int(8 * model.config.rope_parameters["partial_rotary_factor"])
            q, k = rotate(q, positions, dims, 10_000), rotate(k, positions, dims, 10_000)
        scale = {"gpt_neo": 1.0, "opt": 1.0}.get(name, 8**-0.5)
        seen_q = record[Site("q", layer)]
        # OPT hands the attention function a query that is scaled already.
        assert close(seen_q[batch.real], (q * 8**-0.5 if name == "opt" else q)[batch.real]), layer
        assert close(record[Site("k", layer)][batch.real], k[batch.real]), layer
        assert close(record[Site("v", layer)][batch.real], v[batch.real]), layer
        scores = torch.einsum("bqhd,bkhd->bhqk", seen_q, k) * scale
        allowed = torch.isfinite(record[Site("scores", layer)])
        assert close(scores[allowed], record[Site("scores", layer)][allowed]), layer


# -- cutting a head ----------------------------------------------------------------------------------------------


def without_head(model: LanguageModel, layer: int, head: int) -> Any:
    """A copy whose output projection does not read the head: its slice of the weight is 0, the bias is kept."""
    cut = copy.copy(model)
    cut.hf = copy.deepcopy(model.hf)
    projection = out_projection(cut, layer)
    columns = slice(head * 8, (head + 1) * 8)
    with torch.no_grad():
        if model.name == "tiny-gpt2":  # Conv1D: [in, out]
            assert type(projection).__name__ == "Conv1D"
            projection.weight[columns] = 0
        else:
            assert isinstance(projection, torch.nn.Linear)
            projection.weight[:, columns] = 0
    return cut.hf


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_z_ablation_equals_a_model_whose_output_projection_does_not_read_the_head(name):
    model = model_of(name)
    batch = batch_of(model)
    plain = model.logits(batch)
    for layer, head in ((0, 0), (1, 3), (2, 1)):
        reference = without_head(model, layer, head)(**inputs(batch)).logits
        with intervene(model, [Ablate(site=Site("z", layer, head))]):
            ablated = model.logits(batch)
        assert close(ablated[batch.real], reference[batch.real]), (layer, head)
        assert (reference - plain)[batch.real].abs().max() > 1e-3
        with intervene(model, [Ablate(site=Site("v", layer, head))]):
            assert close(model.logits(batch)[batch.real], reference[batch.real])
        with intervene(model, [Ablate(site=Site("pattern", layer, head))]):
            assert close(model.logits(batch)[batch.real], reference[batch.real])


# -- edits inside attention --------------------------------------------------------------------------------------

Change = Callable[[str, Tensor], Tensor]


def reference_logits(model: LanguageModel, batch: Batch, layer: int, change: Change, monkeypatch: Any) -> Tensor:
    """Logits of a copy whose attention is written out here, with ``change(kind, value)`` at one layer.

    Values have the layout [batch, head, position, …].
    """
    hf = copy.deepcopy(model.hf)

    def attend(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, softcap: float | None, here: bool
    ) -> Tensor:
        def maybe(kind: str, value: Tensor) -> Tensor:
            return change(kind, value.clone()) if here else value

        groups = q.shape[1] // k.shape[1]
        k, v = (torch.stack([t] * groups, 2).flatten(1, 2) for t in (k, v))
        q, k, v = maybe("q", q), maybe("k", k), maybe("v", v)
        scores = torch.matmul(q, k.mT) * scaling
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        scores = torch.where(mask, scores, -torch.inf)
        scores = maybe("scores", scores)
        top = scores.amax(-1, keepdim=True).clamp(min=-1e30)
        weights = torch.exp(scores - top)
        pattern = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)
        return maybe("pattern", pattern) @ v

    if model.family.seam == "method":
        for index, block in enumerate(hf.transformer.h):
            module = block.attn.attention if model.family.name == "GPT-Neo" else block.attn

            def method(q, k, v, mask=None, module=module, index=index):
                allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()[None, None]
                if getattr(module, "attention_type", "") == "local":
                    allowed = allowed & ~torch.ones_like(allowed).tril(-model.config.window_size)
                if mask is not None:
                    allowed = allowed & (mask >= -1)
                scaling = 1.0 if model.family.name == "GPT-Neo" else 8**-0.5
                return attend(q, k, v, allowed, scaling, None, index == layer), None

            monkeypatch.setattr(module, "_attn", method, raising=False)
    else:
        hf.set_attn_implementation("eager")
        attention = {hf.get_submodule(f"{model.family.base}.{model.family.blocks}")[layer]}
        target = next(iter(attention)).get_submodule(model.family.attention)

        def function(module, q, k, v, mask, scaling=None, dropout=0.0, softcap=None, **_kwargs):
            scaling = q.shape[-1] ** -0.5 if scaling is None else scaling
            return attend(q, k, v, mask >= -1, scaling, softcap, module is target).transpose(1, 2).contiguous(), None

        monkeypatch.setattr(sys.modules[type(target).__module__], "eager_attention_forward", function)
    return hf(**inputs(batch)).logits


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_reference_attention_is_right_when_nothing_is_changed(name, monkeypatch):
    model = model_of(name)
    batch = batch_of(model)
    logits = reference_logits(model, batch, 1, lambda _kind, value: value, monkeypatch)
    assert close(logits[batch.real], model.logits(batch)[batch.real])


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_knocking_out_one_key_for_one_query_equals_the_reference(name, monkeypatch):
    """Three rows without padding; query 4 of rows 0 and 2 may not attend to key 2, in one head."""
    model = model_of(name)
    batch = model.tokenize(["Thank you", "Damn this", "So sorry!"])
    layer, head, query, key, rows = 1, 2, 4, 2, [0, 2]
    knocked = torch.zeros(batch.input_ids.shape[1])
    knocked[key] = -torch.inf
    edit = Add(site=Site("scores", layer, head), vector=knocked, positions=Positions.at(query), rows=tuple(rows))

    def change(kind: str, value: Tensor) -> Tensor:
        if kind == "scores":
            value[rows, head, query, key] = -torch.inf
        return value

    reference = reference_logits(model, batch, layer, change, monkeypatch)
    plain = model.logits(batch)
    with observe(model, [Site("pattern", layer)]) as record, intervene(model, [edit]):
        changed = model.logits(batch)
    assert close(changed, reference)
    # The effect is exactly there: other rows and earlier queries do not move by a bit.
    assert torch.equal(changed[1], plain[1])
    assert torch.equal(changed[:, :query], plain[:, :query])
    assert (changed[rows, query] - plain[rows, query]).abs().amax(-1).min() > 1e-5
    pattern = record[Site("pattern", layer)]
    assert not pattern[rows, head, query, key].any()
    assert torch.allclose(pattern.sum(-1), torch.ones(3, 4, pattern.shape[-1]), atol=1e-6)


@pytest.mark.parametrize("kind", ["q", "k", "v", "scores", "pattern"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_edits_inside_attention_equal_the_reference_under_left_padding(name, kind, monkeypatch):
    model = model_of(name)
    batch = batch_of(model)
    width, layer, head = batch.input_ids.shape[1], 1, 3
    wide = width if kind in ("scores", "pattern") else 8
    vector = random_tensor(wide, seed=5)
    edit = Add(site=Site(kind, layer, head), vector=vector, positions=Positions.at(0, 2), rows=(0, 2))

    def change(seen: str, value: Tensor) -> Tensor:
        if seen == kind:
            for row in (0, 2):
                first = int((batch.attention_mask[row] == 0).sum())
                for position in (first, first + 2):
                    moved = value[row, head, position] + vector
                    if kind in (
                        "scores",
                        "pattern",
                    ):  # a query cannot be made to see padding, the future, or past its window
                        moved = torch.where(record[row, head, position].isfinite(), moved, value[row, head, position])
                    value[row, head, position] = moved
        return value

    record = record_all(model, batch)[Site("scores", layer)]
    reference = reference_logits(model, batch, layer, change, monkeypatch)
    plain = model.logits(batch)
    with intervene(model, [edit]):
        changed = model.logits(batch)
    assert close(changed[batch.real], reference[batch.real])
    assert torch.equal(changed[1][batch.real[1]], plain[1][batch.real[1]])
    assert (changed - plain)[batch.real].abs().max() > 1e-4


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("kind", ["scores", "pattern"])
def test_no_edit_lets_a_query_see_the_future_or_padding(name, kind):
    model = model_of(name)
    batch = batch_of(model)
    width = batch.input_ids.shape[1]
    allowed = record_all(model, batch)[Site("scores", 1)].isfinite()
    flat = Patch(site=Site(kind, 1), value=torch.full((1, 4, width, width), 0.25))
    with observe(model, [Site("pattern", 1)]) as record, intervene(model, [flat]):
        changed = model.logits(batch)
        other = batch.input_ids.clone()
        other[:, -1] = 50
        again = model.logits(Batch(other, batch.attention_mask))
    assert not record[Site("pattern", 1)][~allowed].any()
    assert torch.allclose(again[:, :-1][batch.real[:, :-1]], changed[:, :-1][batch.real[:, :-1]], atol=1e-6)
    if kind == "scores":  # equal scores: attention spreads evenly over what can be seen
        pattern = record[Site("pattern", 1)]
        even = allowed.float() / allowed.sum(-1, keepdim=True).clamp(min=1)
        assert torch.allclose(
            pattern[batch.real[:, None].expand(-1, 4, -1)], even[batch.real[:, None].expand(-1, 4, -1)]
        )


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_patching_one_position_of_one_site_from_another_run(name):
    """Noising and denoising: the patched position holds the other run's value, the others their own."""
    model = model_of(name)
    clean, corrupt = model.tokenize(["Thank you", "Oh, great"]), model.tokenize(["Damn yous", "So it was"])
    source, before = record_all(model, clean), record_all(model, corrupt)
    for kind in kinds_of(model):
        site = Site(kind, 1)
        edit = Patch(site=site, value=source[site], positions=Positions.at(3))
        with observe(model, [site]) as record, intervene(model, [edit]):
            model.logits(corrupt)
        axis = 2 if kind in ("scores", "pattern") else 1
        for position in range(clean.input_ids.shape[1]):
            expected = (source if position == 3 else before)[site]
            assert torch.equal(record[site].select(axis, position), expected.select(axis, position)), (kind, position)


@pytest.mark.parametrize("name", [n for n in FAMILY_NAMES if n not in ("gpt_neo", "gptj")])
def test_models_running_eager_attention_are_observed_and_changed_alike(name):
    model = model_of(name)
    other = tiny_model(name)
    other.hf.set_attn_implementation("eager")
    batch = batch_of(model)
    plain = other.logits(batch)
    record, expected = record_all(other, batch), record_all(model, batch)
    assert torch.equal(other.logits(batch), plain)
    real = batch.real
    for site, value in expected.items():
        same = value.isfinite()
        mask = real if site.kind not in ("scores", "pattern") else real[:, None, :].expand(-1, 4, -1)
        assert close(record[site][mask][same[mask]], value[mask][same[mask]]), site
    edit = Ablate(site=Site("pattern", 1, 0))
    with intervene(other, [edit]), intervene(model, [edit]):
        assert close(other.logits(batch)[real], model.logits(batch)[real])


def test_every_family_of_the_table_is_tested():
    from emotion_circuits.model import FAMILIES

    assert {c["model_type"] for c in CONFIGS.values()} == set(FAMILIES)
