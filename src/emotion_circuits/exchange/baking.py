"""A vector baked into weights: as the bias of the MLP's last map, so that a saved model steers without any of this program.

A constant that is added behind a block is a bias of the block's last linear map, where that map's output enters the residual
stream as it is. Families that have such a bias keep their architecture. Llama gets one by its setting ``mlp_bias``. Qwen 2, and
Mistral without sliding windows, have no place for it and compute what a Llama with attention biases computes: they are saved as
one. Where a norm lies behind the MLP (Gemma 2 and 3, OLMo 2), or no architecture with such a bias computes the same, nothing is
baked.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.model import LanguageModel, intervene
from emotion_circuits.model.families import Family, family_of
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.opening import outline, quiet
from emotion_circuits.paths import cannot_write, make_folder
from emotion_circuits.temporaries import scratch_folder

__all__ = ["Baked", "bake", "cannot_bake"]

_CHECKED = ("When the bus arrived, she", "The report on the new bridge says that")
_LARGEST = {torch.float64: 1e-6, torch.float32: 1e-6}
_LARGEST_SHORT = 0.05
"""Largest divergence, in nats, of a baked model's next token from the steered one's; 16-bit weights round the sum otherwise."""
_AS_LLAMA = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings", "pad_token_id",
    "bos_token_id", "eos_token_id", "initializer_range", "use_cache", "dtype",
)  # fmt: skip


class Baked(NamedTuple):
    """What was written.

    Attributes:
        folder: of the model.
        architecture: ``model_type`` that it is saved as.
        divergence: largest Kullback–Leibler divergence, in nats, of its next token from the steered model's.
        moved: the same of the steered model from the unsteered one, for comparison.
    """

    folder: Path
    architecture: str
    divergence: float
    moved: float


def cannot_bake(config: Any) -> str | None:
    """Why a vector cannot be baked into a model; ``None`` where it can.

    Args:
        config: of Hugging Face.

    Raises:
        EmotionCircuitsError: no supported family.
    """
    family = family_of(config)
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantised; bake into the model that they were made from"
    if family.down is None:
        return f"{family.name} has a norm between the MLP and the residual stream, so no bias is a constant push there"
    if family.down_bias or config.model_type == "qwen2":
        if config.model_type == "qwen2" and _windows(config):
            return f"{family.name} with sliding windows has no bias there, and no other architecture computes the same"
        return None
    if config.model_type == "mistral" and not _windows(config):
        return None
    windows = " with sliding windows" if config.model_type == "mistral" else ""
    return f"{family.name}{windows} has no bias there, and transformers has no architecture with one that computes the same"


def _windows(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds:
        return kinds != {"full_attention"}
    return bool(getattr(config, "use_sliding_window", True)) and getattr(config, "sliding_window", None) is not None


def bake(model: LanguageModel, vector: PortableVector, folder: Path) -> Baked:
    """Save a model that writes as the steered one does, for plain transformers.

    It is loaded again and compared with the steered model before it is kept.

    Args:
        model: that the vector was made of (:meth:`PortableVector.check_fits`).
        vector: added at every token; a push at the first token alone has no place in weights.
        folder: made; must not exist or be empty.

    Raises:
        EmotionCircuitsError: the architecture has no place for it, the folder is in use, or the saved model differs.
    """
    why = cannot_bake(model.config)
    if why is not None:
        raise EmotionCircuitsError(
            f"{model.name}: a vector cannot be baked into it: {why}. Export it as llama.cpp, repeng or steering-vectors instead"
        )
    if vector.spares_first:
        raise EmotionCircuitsError("a bias acts at every token: bake vector.everywhere()")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise EmotionCircuitsError(f"{folder}: exists; name a new folder for the baked model")
    make_folder(folder.parent)
    config, state = _with_bias(model, vector)
    try:
        with scratch_folder(folder.parent, "baked") as new:
            _save(model, config, state, new)
            divergence, moved = _compared(model, vector, new)
            if folder.exists():
                folder.rmdir()
            shutil.move(new, folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return Baked(folder, str(config.model_type), divergence, moved)


def _with_bias(model: LanguageModel, vector: PortableVector) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and tensors with the vector in the biases; tensors that stay are shared with the model."""
    family = model.family
    config = model.config
    state = dict(model.hf.state_dict())
    names = _bias_names(family, model.n_layers)
    if family.down_bias is not True:
        config = _llama_config(config)
        added = outline(config, model.name, model.dtype).state_dict()
        missing = [name for name in added if name not in state]
        if not all(name.endswith("bias") for name in missing):
            raise EmotionCircuitsError(f"{model.name}: is not what its architecture says: no tensor {missing[0]}")
        state |= {name: torch.zeros(added[name].shape, dtype=model.dtype) for name in missing}
    for layer, row in vector.rows.items():
        old = state[names[layer]]
        state[names[layer]] = (old.detach().cpu().double() + row.double()).to(old.dtype)
    return config, state


def _bias_names(family: Family, layers: int) -> list[str]:
    return [f"{family.base}.{family.blocks}.{layer}.{family.down}.bias" for layer in range(layers)]


def _llama_config(config: Any) -> Any:
    """A Llama with ``mlp_bias``; of another architecture, one that computes the same."""
    if config.model_type == "llama":
        fields = config.to_dict()
        fields["mlp_bias"] = True
        return type(config).from_dict(fields)
    said = config.to_dict()
    fields = {key: said[key] for key in _AS_LLAMA if key in said}
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    biased = config.model_type == "qwen2"
    return AutoConfig.for_model("llama", **fields, head_dim=head, attention_bias=biased, mlp_bias=True)


def _save(model: LanguageModel, config: Any, state: dict[str, Tensor], folder: Path) -> None:
    with quiet():
        hf = outline(config, model.name, model.dtype)
        hf.load_state_dict(state, assign=True, strict=True)
        hf.tie_weights()
        hf.generation_config = model.hf.generation_config
        hf.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)


@torch.inference_mode()
def _compared(model: LanguageModel, vector: PortableVector, folder: Path) -> tuple[float, float]:
    batches = [model.tokenize([text]) for text in _CHECKED]
    plain = [_next(model.logits(batch)) for batch in batches]
    with intervene(model, vector.interventions()):
        steered = [_next(model.logits(batch)) for batch in batches]
    with quiet(), understood(lambda error: f"{folder}: what was baked cannot be loaded again: {one_line(error)}"):
        hf = AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype).to(model.device).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    baked = [_next(hf(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits) for batch in batches]
    if any(tokenizer(text)["input_ids"] != model.tokenizer(text)["input_ids"] for text in _CHECKED):
        raise EmotionCircuitsError(
            f"{model.name}: its tokenizer reads texts otherwise when it is saved and loaded again"
        )
    divergence, moved = _largest(steered, baked), _largest(plain, steered)
    if not divergence <= _LARGEST.get(model.dtype, _LARGEST_SHORT):
        raise EmotionCircuitsError(
            f"{model.name}: the baked model differs from the steered one by {divergence:.2g} nats (steering itself moves it by "
            f"{moved:.2g}), so it is not kept; load the model in float32 (--dtype float32)"
        )
    return divergence, moved


def _next(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits[0].double(), dim=-1)


def _largest(of: list[Tensor], other: list[Tensor]) -> float:
    """Largest divergence over positions, in nats."""
    return max(float((a.exp() * (a - b)).sum(-1).max()) for a, b in zip(of, other, strict=True))
