"""Llama models of given shapes with random weights: what a model costs does not depend on what it says."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of
from emotion_circuits.prompts import Pair

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 512,
    },
    "smollm2-135m": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152,
    },
    "llama-8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256,
    },
}  # fmt: skip
"""Name → what its configuration says."""

WORDS = 500


def random_llama(
    name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32, **changes: int
) -> LanguageModel:
    """A Llama of one of :data:`SHAPES`, made directly on the device, whose words are ``w0`` to ``w499``."""
    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(WORDS))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shape: dict[str, Any] = {**SHAPES[name], **changes}
    config = LlamaConfig(**shape, tie_word_embeddings=name != "llama-8b", bos_token_id=None, eos_token_id=None)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            hf: Any = LlamaForCausalLM(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    return LanguageModel(hf, fast, family_of(config), f"{name}-shape")


def text(index: int, tokens: int) -> str:
    """Some words, others for every index."""
    return " ".join(f"w{(31 * index + 7 * i) % WORDS}" for i in range(tokens))


def pairs(count: int) -> list[Pair]:
    """Token-aligned pairs in those words, each with answers of its own side."""
    found = []
    for i in range(count):
        rest = text(i, 11)
        start = len(f"w{i}") + 1
        found.append(
            Pair(
                id=str(i), text=f"w{i} w401 {rest}", corrupted=f"w{i} w450 {rest}", label="gratitude",
                corrupted_label="anger", spans=((start, start + 4),), corrupted_spans=((start, start + 4),),
                answers=(" w491",), corrupted_answers=(" w492",), group=str(i), split="test", language="en", set="bench",
            )
        )  # fmt: skip
    return found
