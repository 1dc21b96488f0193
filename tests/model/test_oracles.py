"""The same numbers from nnsight, a tool with other seams (extra ``oracles``; run with ``pytest -m oracle``)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from emotion_circuits.model import Ablate, Add, LanguageModel, Site, intervene, load_model
from families import CONFIGS, tiny_hf
from model_cases import model_of, random_tensor, record_all

pytestmark = pytest.mark.oracle

NAMES = ["gpt2", "gpt_neox", "llama", "qwen3", "gemma3", "opt"]
BLOCKS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "opt": "model.decoder.layers"}
PROJECTION = {"gpt2": "attn.c_proj", "gpt_neox": "attention.dense", "opt": "self_attn.out_proj"}
ATTENTION = {"gpt2": "attn", "gpt_neox": "attention", "opt": "self_attn"}
TEXT = "Thank you so much"
LAYER = 1


def nnsight_of(hf: Any) -> Any:
    from nnsight import NNsight

    return NNsight(hf)


def envoy(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = root[int(part)] if part.isdigit() else getattr(root, part)
    return root


def first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def ids_of(model: LanguageModel) -> dict[str, Tensor]:
    batch = model.tokenize([TEXT])
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}


@pytest.mark.parametrize("name", NAMES)
def test_the_residual_stream_and_head_outputs_are_those_nnsight_sees(name):
    model = model_of(name)
    record = record_all(model, model.tokenize([TEXT]))
    oracle = nnsight_of(tiny_hf(name))
    blocks = BLOCKS.get(name, "model.layers")
    for layer in range(3):
        block = envoy(oracle, f"{blocks}.{layer}")
        with oracle.trace(**ids_of(model)):
            z = envoy(block, PROJECTION.get(name, "self_attn.o_proj")).input.save()
            post = block.output.save()
        assert torch.allclose(first(post), record[Site("resid_post", layer)], atol=1e-5)
        expected = record[Site("z", layer)].flatten(2)
        assert torch.allclose(z.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_patterns_are_those_nnsight_sees_in_the_eager_attention(name):
    model = model_of(name)
    record = record_all(model, model.tokenize([TEXT]))
    hf = tiny_hf(name)
    hf.set_attn_implementation("eager")
    oracle = nnsight_of(hf)
    for layer in range(3):
        module = envoy(oracle, f"{BLOCKS.get(name, 'model.layers')}.{layer}.{ATTENTION.get(name, 'self_attn')}")
        with oracle.trace(**ids_of(model)):
            weights = module.output[1].save()
        assert torch.allclose(weights, record[Site("pattern", layer)], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_steered_logits_are_those_of_nnsight(name):
    model, vector = model_of(name), random_tensor(32)
    with intervene(model, [Add(site=Site("resid_post", LAYER), vector=vector, alpha=2.0)]):
        steered = model.logits(model.tokenize([TEXT]))
    oracle = nnsight_of(tiny_hf(name))
    block = envoy(oracle, f"{BLOCKS.get(name, 'model.layers')}.{LAYER}")
    with oracle.trace(**ids_of(model)):
        block.output = block.output + 2.0 * vector
        logits = oracle.output.logits.save()
    assert torch.allclose(logits, steered, atol=1e-4)
    assert not torch.allclose(logits, model.logits(model.tokenize([TEXT])), atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_head_gives_the_logits_of_nnsight(name):
    model, head = model_of(name), 2
    with intervene(model, [Ablate(site=Site("z", LAYER, head))]):
        cut = model.logits(model.tokenize([TEXT]))
    oracle = nnsight_of(tiny_hf(name))
    path = f"{BLOCKS.get(name, 'model.layers')}.{LAYER}.{PROJECTION.get(name, 'self_attn.o_proj')}"
    projection = envoy(oracle, path)
    with oracle.trace(**ids_of(model)):
        projection.input[..., head * 8 : (head + 1) * 8] = 0
        logits = oracle.output.logits.save()
    assert torch.allclose(logits, cut, atol=1e-4)


def test_smollm2_agrees_with_nnsight():
    model = load_model("smollm2-135m")
    batch = model.tokenize([TEXT])
    record = record_all(model, batch)
    vector = random_tensor(576) * 3
    with intervene(model, [Add(site=Site("resid_post", 12), vector=vector)]):
        steered = model.logits(batch)
    oracle = nnsight_of(model.hf)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with oracle.trace(**inputs):
        post = oracle.model.layers[12].output.save()
    assert torch.allclose(first(post), record[Site("resid_post", 12)], atol=1e-3, rtol=1e-4)
    with oracle.trace(**inputs):
        oracle.model.layers[12].output = oracle.model.layers[12].output + vector
        logits = oracle.output.logits.save()
    assert torch.allclose(logits, steered, atol=1e-3, rtol=1e-4)


def test_the_families_compared_are_tested_families():
    assert set(NAMES) <= set(CONFIGS)
