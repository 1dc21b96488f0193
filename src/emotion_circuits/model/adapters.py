"""LoRA adapters: a folder that peft wrote, merged into its base model when that is loaded, or refused.

Merged, so that everything that reads the model's weights (heads, circuits, sums, copies in another dtype) sees what it computes;
nothing in a folder may be left out without a word.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.paths import file_sha256, path_of, read_json

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "adapter_sums", "checked_adapter", "merged"]

_log = logging.getLogger(__name__)
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_LARGEST_SHORT = 0.05
"""Nats by which a merged model may differ in 16 bits, where the sum of two weights is rounded."""
_PLAIN_START = (True, False, "gaussian", None)


def checked_adapter(place: str | os.PathLike[str]) -> Path:
    """The folder of an adapter that can be merged whole.

    Raises:
        EmotionCircuitsError: no such folder, pickled, no LoRA adapter of a causal language model, or one whose base model was
            changed when it was begun.
    """
    folder = path_of(place)
    file = folder / ADAPTER_CONFIG
    if not folder.is_dir() or not file.is_file():
        raise EmotionCircuitsError(f"{folder}: is not the folder of an adapter (no {ADAPTER_CONFIG})")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        why = "only pickled weights, and unpickling can run code; save it with peft again" if pickled else "no weights"
        raise EmotionCircuitsError(f"{folder}: holds {why} ({ADAPTER_WEIGHTS} is needed)")
    said = read_json(file)
    if not isinstance(said, dict):
        raise EmotionCircuitsError(f"{file}: is no JSON object")
    kind, task, start = said.get("peft_type"), said.get("task_type"), said.get("init_lora_weights", True)
    if kind != "LORA":
        raise EmotionCircuitsError(
            f"{file}: peft_type is {kind!r}; adapters of kind 'LORA' are merged, others would be ignored"
        )
    if task not in (None, "CAUSAL_LM"):
        raise EmotionCircuitsError(f"{file}: task_type is {task!r}; an adapter of a causal language model is needed")
    if start not in _PLAIN_START:
        raise EmotionCircuitsError(
            f"{file}: init_lora_weights is {start!r}: it belongs to a base model that was changed when training began; save it "
            "as a plain LoRA (peft: save_pretrained(…, path_initial_model_for_weight_conversion=…))"
        )
    return folder


def adapter_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that decide what an adapter is, by names that no model's folder has."""
    return {f"adapter/{name}": file_sha256(folder / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}


def merged(hf: Any, folder: Path, name: str, *, strength: float = 1.0) -> Any:
    """The Hugging Face model with the adapter's changes in its weights.

    Args:
        hf: the base model; its weights are changed.
        folder: by :func:`checked_adapter`.
        name: of the base model, for messages.
        strength: times the adapter's changes.

    Raises:
        EmotionCircuitsError: peft is not installed, the base model is quantised, or a tensor of the adapter has no place in it,
            another shape, or is missing.
    """
    try:
        from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    except ImportError as error:
        raise EmotionCircuitsError(
            "adapters need the extra 'hybrid': pip install 'emotion-circuits[hybrid]'"
        ) from error
    from safetensors.torch import load_file

    if getattr(hf.config, "quantization_config", None) is not None:
        raise EmotionCircuitsError(f"{name}: its weights are quantised; an adapter is merged into whole ones only")
    with (
        warnings.catch_warnings(action="ignore"),  # what they warn of is compared below
        understood(lambda error: f"{folder}: cannot be merged into {name}: {one_line(error)}"),
    ):
        config = LoraConfig.from_pretrained(str(folder))
        if strength != 1:
            if config.use_dora or config.modules_to_save:
                raise ValueError("it does more than add to weights, so it has no strength but 1")
            config.lora_alpha *= strength
            config.alpha_pattern = {name: alpha * strength for name, alpha in config.alpha_pattern.items()}
        base = config.base_model_name_or_path
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        wrapped = PeftModel(hf, config)
        places = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
        own = wrapped.state_dict()
        # peft keeps embeddings beside an adapter of theirs: where they are the base model's, nothing is left out with them.
        for extra in tensors.keys() - places:
            if extra in own and torch.equal(own[extra].cpu(), tensors[extra].to(own[extra].dtype)):
                del tensors[extra]
        for what, names in (
            ("has no place for", tensors.keys() - places), ("needs, and the adapter lacks,", places - tensors.keys())
        ):  # fmt: skip
            if names:
                raise ValueError(f"it {what} {len(names)} tensors: {', '.join(sorted(names)[:2])}")
        set_peft_model_state_dict(wrapped, tensors)
        before = _next(wrapped.eval())
        found = wrapped.merge_and_unload(safe_merge=True)
        after = _next(found)
        moved = float((before.exp() * (before - after)).sum(-1).max())
        if not moved <= (1e-6 if hf.dtype in (torch.float32, torch.float64) else _LARGEST_SHORT):
            raise ValueError(
                f"merged it computes something else than beside the model ({moved:.2g} nats): it changes an unembedding that is "
                "tied to the embedding, or the numbers are too short for it (--dtype float32)"
            )
    if base and Path(str(base)).name != Path(name).name:
        _log.warning(
            "%s: was trained on %s, and is merged into %s; only names and shapes were compared", folder, base, name
        )
    return found


@torch.inference_mode()
def _next(hf: Any) -> Tensor:
    """Log-probabilities behind some tokens, any ones."""
    embedding = hf.get_input_embeddings().weight
    ids = torch.arange(8, device=embedding.device)[None] * 7 % len(embedding)
    return torch.log_softmax(hf(input_ids=ids).logits[0].double(), dim=-1)
