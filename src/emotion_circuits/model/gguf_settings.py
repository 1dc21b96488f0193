"""What a GGUF file says of its model beside the tensors, held against what the conversion made of it.

transformers carries over the settings that it knows, and says nothing of the others. Here each setting of the file is looked
up in the configuration that came out: what is not found there, with the same value, is refused by name. What can be carried
over exactly is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import Regex, pre_tokenizers, processors
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

__all__ = ["carry_over", "carry_over_words", "check_settings", "check_words", "ends"]


def carry_over(config: Any, said: Mapping[str, Any]) -> None:
    """Set in a configuration what the file says and transformers leaves out.

    Args:
        config: of the Hugging Face model; changed.
        said: the file's settings, by their names in it.
    """
    kind = said["general.architecture"]
    for key, attribute in _CAPS.items():
        if f"{kind}.{key}" in said and hasattr(config, attribute):
            setattr(config, attribute, said[f"{kind}.{key}"])
    if hasattr(config, "sliding_window") and config.model_type == "mistral":
        config.sliding_window = said.get(
            f"{kind}.attention.sliding_window"
        )  # the configuration's default is one model's
    # The largest models of two families divide their scores by another number than the others; files leave it unsaid.
    if (kind, said.get(f"{kind}.block_count")) in (("gemma2", 46), ("gemma3", 62)):
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads
    rope = _rope(config)
    if rope is not None and said.get(f"{kind}.rope.scaling.type") == "linear":
        rope |= {"rope_type": "linear", "factor": float(said.get(f"{kind}.rope.scaling.factor", 1.0))}


def check_settings(config: Any, said: Mapping[str, Any]) -> None:
    """Refuse a file whose settings are not those of the configuration.

    Args:
        config: that came out.
        said: the file's settings.

    Raises:
        ValueError: naming the setting, its value, and what came out.
    """
    parts = said.get("split.count", 1)
    if parts > 1:
        raise ValueError(
            f"it is part {said.get('split.no', 0) + 1} of a file split in {parts}; join them first (llama-gguf-split --merge "
            "FIRST-PART OUT.gguf)"
        )
    if said.get("general.type", "model") != "model":
        raise ValueError(
            f"general.type is {said['general.type']!r}, not 'model': merge an adapter into its base model first"
        )
    kind = said["general.architecture"]
    for key, value in said.items():
        if not key.startswith(f"{kind}."):
            continue
        name = key.removeprefix(f"{kind}.")
        if name in _HARMLESS:
            continue
        if name not in _FOUND:
            raise ValueError(
                f"{key} is {_shown(value)}, which may change what the model computes and cannot be carried over"
            )
        made = _FOUND[name](config)
        if not _same(made, value):
            raise ValueError(f"{key} is {_shown(value)}, and the conversion would make {_shown(made)} of it")


def carry_over_words(tokenizer: Any, said: Mapping[str, Any]) -> None:
    """Set in a tokenizer what the file says of it and transformers leaves out.

    Args:
        tokenizer: that came out; changed.
        said: the file's settings.

    Raises:
        ValueError: it is not known how the file's texts are cut before they become tokens.
    """
    cut, backend = said.get("tokenizer.ggml.pre"), tokenizer.backend_tokenizer
    if said.get("tokenizer.ggml.model") == "gpt2":
        if cut in _DIGITS:
            digits = pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")
            backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        elif cut in _WHOLE_WORDS:
            backend.model.ignore_merges = True
        elif cut not in (*GGUF_PRE_TOKENIZER_SPLITS, *_AS_GPT2) and (cut or said["general.architecture"] != "gpt2"):
            raise ValueError(
                f"tokenizer.ggml.pre is {cut!r}: how it cuts texts before they become tokens is not known here; use the "
                "model's original folder"
            )
    if _wanted("add_bos_token", said) and not _made(tokenizer)["add_bos_token"] and tokenizer.bos_token is not None:
        first, number = tokenizer.bos_token, tokenizer.bos_token_id
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first}:1 $B:1", special_tokens=[(first, number)]
        )


def ends(tokenizer: Any, said: Mapping[str, Any]) -> list[int]:
    """Ids of the tokens with which the file says that a text, a turn or a message ends.

    Args:
        tokenizer: that came out.
        said: the file's settings.

    Raises:
        ValueError: one that the tokenizer does not have.
    """
    found = [said.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    for number in found:
        if number is not None and not 0 <= number < len(tokenizer):
            raise ValueError(f"a text would end with token {number}, and it has {len(tokenizer)}")
    return list(dict.fromkeys(number for number in found if number is not None))


def check_words(tokenizer: Any, said: Mapping[str, Any]) -> None:
    """Refuse a file whose texts would begin or end otherwise than it says.

    Args:
        tokenizer: as it is read back from the folder that was written.
        said: the file's settings.

    Raises:
        ValueError: naming the setting.
    """
    for key, made in _made(tokenizer).items():
        if made != _wanted(key, said):
            raise ValueError(f"tokenizer.ggml.{key} is {not made}, and the tokenizer that comes out does the opposite")


def _wanted(key: str, said: Mapping[str, Any]) -> bool:
    pieces = said.get("tokenizer.ggml.model") == "llama"
    unsaid = {
        "add_bos_token": pieces or said.get("tokenizer.ggml.pre") in _WHOLE_WORDS - {"tekken"},
        "add_eos_token": False,
        "add_space_prefix": pieces,
    }
    if key == "add_space_prefix" and not pieces:
        return False  # of no meaning there
    return bool(said.get(f"tokenizer.ggml.{key}", unsaid[key]))


def _made(tokenizer: Any) -> dict[str, bool]:
    begun: list[int] = tokenizer("a")["input_ids"]
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    return {
        "add_bos_token": begun[0] == tokenizer.bos_token_id,
        "add_eos_token": begun[-1] == tokenizer.eos_token_id,
        "add_space_prefix": tokenizer.convert_ids_to_tokens(plain)[0].startswith("▁"),
    }


def _rope(config: Any) -> dict[str, Any] | None:
    """The rotary settings of the layers that see everything."""
    rope = getattr(config, "rope_parameters", None)
    return rope.get("full_attention", rope) if isinstance(rope, dict) else None


def _rotary(config: Any) -> int:
    share = (_rope(config) or {}).get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    return round(_head(config) * share)


def _head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _local_base(config: Any) -> Any:
    rope = getattr(config, "rope_parameters", None) or {}
    return rope.get("sliding_attention", {}).get("rope_theta", rope.get("rope_theta"))


def _scaling(config: Any) -> str:
    kind = (_rope(config) or {}).get("rope_type", "default")
    return "none" if kind == "default" else str(kind)


def _attribute(*names: str) -> Callable[[Any], Any]:
    return lambda config: next((getattr(config, n) for n in names if getattr(config, n, None) is not None), None)


_CAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}

_FOUND: dict[str, Callable[[Any], Any]] = {
    "block_count": _attribute("num_hidden_layers"),
    "context_length": _attribute("n_ctx", "max_position_embeddings"),
    "embedding_length": _attribute("hidden_size"),
    "feed_forward_length": lambda c: (
        getattr(c, "intermediate_size", None) or getattr(c, "n_inner", None) or 4 * c.hidden_size
    ),
    "vocab_size": _attribute("vocab_size"),
    "attention.head_count": _attribute("num_attention_heads"),
    "attention.head_count_kv": _attribute("num_key_value_heads", "num_attention_heads"),
    "attention.key_length": _head,
    "attention.value_length": _head,
    "attention.layer_norm_rms_epsilon": _attribute("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": _attribute("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps"),
    "attention.sliding_window": _attribute("sliding_window"),
    "attention.causal": lambda _: True,
    "attn_logit_softcapping": _attribute("attn_logit_softcapping"),
    "final_logit_softcapping": _attribute("final_logit_softcapping"),
    "rope.dimension_count": _rotary,
    "rope.freq_base": lambda c: (_rope(c) or {}).get("rope_theta"),
    "rope.freq_base_swa": _local_base,
    "rope.scaling.type": _scaling,
    "rope.scaling.factor": lambda c: (_rope(c) or {}).get("factor", 1.0),
    "rope.scaling.attn_factor": lambda _: 1.0,
    "use_parallel_residual": _attribute("use_parallel_residual"),
    "expert_count": lambda _: 0,
    "expert_used_count": lambda _: 0,
}
"""What a configuration has for a setting of a file; a setting that is not among these is refused."""

_HARMLESS = {"rope.scaling.finetuned", "rope.scaling.original_context_length"}
"""Say how a model was made, and change nothing where the kind of scaling is one of those carried over."""

_AS_GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais"}
_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Each digit by itself, then as GPT-2."""
_WHOLE_WORDS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "tekken"}
"""A word of the vocabulary is one token whatever the merges say; all but one of them begin texts where a file does not say."""


def _same(made: Any, said: Any) -> bool:
    if isinstance(made, bool | str) or isinstance(said, bool | str) or made is None:
        return bool(made == said)
    if isinstance(said, list):  # one value for each layer
        return all(_same(made, value) for value in said)
    return math.isclose(made, said, rel_tol=1e-6)  # files keep their fractions in 32 bits


def _shown(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else repr(value)
