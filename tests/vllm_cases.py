"""A vLLM to test with, where there is one, and tiny models that it can load."""

from __future__ import annotations

import os

import pytest
import torch

from emotion_circuits.model import load_model
from emotion_circuits.model.vllm import PYTHON, Service
from families import tiny_hf, tiny_tokenizer

NEEDED = pytest.mark.skipif(
    not os.environ.get(PYTHON),
    reason=f"{PYTHON} names no Python with vLLM and the plugin; docs/howto/vllm.md says how to make such an environment",
)
"""Of tests that start a vLLM."""

_LARGER = dict(
    hidden_size=64, num_attention_heads=2, intermediate_size=96, max_position_embeddings=512, head_dim=32, num_key_value_heads=1
)  # fmt: skip
"""vLLM's kernels have head widths from 32 on."""
_CHANGES = {
    "llama": _LARGER, "mistral": {**_LARGER, "sliding_window": 64}, "qwen2": _LARGER, "qwen3": _LARGER,
    "gemma2": {**_LARGER, "sliding_window": 64, "query_pre_attn_scalar": 32},
    "gemma3": {**_LARGER, "sliding_window": 64, "query_pre_attn_scalar": 32},
    "gpt2": dict(n_embd=64, n_head=2, n_positions=512),
    "gpt_neox": dict(hidden_size=64, num_attention_heads=2, intermediate_size=96, max_position_embeddings=512),
    "opt": dict(hidden_size=64, num_attention_heads=2, ffn_dim=96, max_position_embeddings=512, word_embed_proj_dim=64),
    "stablelm": _LARGER, "olmo2": _LARGER, "phi3": {**_LARGER, "original_max_position_embeddings": 512},
    "gptj": dict(n_embd=64, n_head=2, n_positions=512, rotary_dim=16),
}  # fmt: skip


def saved_tiny(name, folder):
    """A tiny random model of a family in a folder, loaded from there in float32."""
    hf = tiny_hf(name, **_CHANGES[name])
    hf.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return load_model(str(folder), dtype="float32")


def service_of(model, **options):
    """A vLLM of a model, with few threads and little memory."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    return Service(os.environ[PYTHON], model, dtype=str(model.dtype).removeprefix("torch."), **options)


def directions(model, count=3, seed=5):
    """Unit directions of a model's residual stream."""
    drawn = torch.randn(count, model.d_model, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)
