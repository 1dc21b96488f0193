"""The sum that tells a model from another: of everything that decides what it computes and how it reads a text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.files import sums_of
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.paths import hash_json

__all__ = ["weights_sha256"]

_ASIDE = {"_name_or_path", "transformers_version", "architectures", "dtype"}  # of a configuration: changes no number


def weights_sha256(model: LanguageModel) -> str:
    """One SHA-256 over what the model is: its weights, its configuration, its tokenizer and its chat template.

    Of its files, where it was read from a folder, as their bytes were when it was loaded; else of its tensors and of what its
    configuration and tokenizer hold. Another ``rms_norm_eps`` or another tokenizer is another model.

    Raises:
        EmotionCircuitsError: its weights are neither in files nor in memory.
    """
    assumed = getattr(model, "assumed_sha256", None)
    if assumed is not None:
        return str(assumed)
    if model.source is not None:
        if model.sums is None:
            model.sums = sums_of(model.source, fresh=not _is_meta(model))
        return hash_json(model.sums)
    if _is_meta(model):
        raise EmotionCircuitsError(f"{model.name}: its weights are not here, so they cannot be told from others")
    digest = hashlib.sha256(hash_json([_config(model), _tokenizer(model)]).encode())
    for key, tensor in sorted(model.hf.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_meta(model: LanguageModel) -> bool:
    return any(tensor.is_meta for tensor in model.hf.state_dict().values())


def _config(model: LanguageModel) -> str:
    said = {key: value for key, value in model.config.to_dict().items() if key not in _ASIDE}
    return json.dumps(said, sort_keys=True, default=str)


def _tokenizer(model: LanguageModel) -> list[Any]:
    held = json.loads(model.tokenizer.backend_tokenizer.to_str())
    # How the latest call padded and cut is kept there too.
    rules = {key: value for key, value in held.items() if key not in ("padding", "truncation")}
    return [rules, str(model.tokenizer.chat_template), str(model.tokenizer.special_tokens_map)]
