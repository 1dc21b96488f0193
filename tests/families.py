"""Tiny random models of every supported family."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from emotion_circuits.model import LanguageModel
from emotion_circuits.model.families import family_of

_LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=96,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
_GPT = dict(vocab_size=96, bos_token_id=1, eos_token_id=2, pad_token_id=0)

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": dict(model_type="gpt2", n_embd=32, n_layer=3, n_head=4, n_positions=128, **_GPT),
    "gpt_neo": dict(
        model_type="gpt_neo",
        hidden_size=32,
        num_layers=3,
        num_heads=4,
        attention_types=[[["global", "local", "global"], 1]],
        window_size=4,
        max_position_embeddings=128,
        **_GPT,
    ),
    "gpt_neox": dict(
        model_type="gpt_neox",
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
        use_parallel_residual=True,
        **_GPT,
    ),
    "gpt_neox_sequential": dict(
        model_type="gpt_neox",
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
        use_parallel_residual=False,
        **_GPT,
    ),
    "gptj": dict(model_type="gptj", n_embd=32, n_layer=3, n_head=4, rotary_dim=4, n_positions=128, **_GPT),
    "llama": dict(model_type="llama", **_LLAMA),
    "mistral": dict(model_type="mistral", sliding_window=5, **_LLAMA),
    "qwen2": dict(model_type="qwen2", **_LLAMA),
    "qwen3": dict(model_type="qwen3", head_dim=8, **_LLAMA),
    "gemma": dict(model_type="gemma", head_dim=8, **_LLAMA),
    "gemma2": dict(model_type="gemma2", head_dim=8, sliding_window=5, attn_logit_softcapping=5.0, **_LLAMA),
    "gemma3": dict(model_type="gemma3_text", head_dim=8, sliding_window=5, sliding_window_pattern=2, **_LLAMA),
    "phi3": dict(model_type="phi3", **_LLAMA),
    "opt": dict(
        model_type="opt",
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=32,
        **_GPT,
    ),
    "olmo2": dict(model_type="olmo2", **_LLAMA),
    "stablelm": dict(model_type="stablelm", use_parallel_residual=False, **_LLAMA),
    "stablelm_parallel": dict(model_type="stablelm", use_parallel_residual=True, **_LLAMA),
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per printable ASCII character, so that any English text has tokens with exact offsets."""
    characters = [chr(c) for c in range(32, 125)]
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="|"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="|"
    )


def tiny_hf(name: str, seed: int = 0, **changes: Any) -> Any:
    """A random model of the family, with weights large enough that everything matters."""
    fields = {**CONFIGS[name], **changes}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval().requires_grad_(False)


def tiny_model(name: str, seed: int = 0, **changes: Any) -> LanguageModel:
    """A wrapped tiny random model."""
    hf = tiny_hf(name, seed, **changes)
    return LanguageModel(hf, tiny_tokenizer(), family_of(hf.config), f"tiny-{name}")
