"""GGUF files: dequantised once into a folder of safetensors with the tokenizer beside it."""

from __future__ import annotations

import io
import struct
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import cache_dir, file_sha256, make_folder

__all__ = ["convert_gguf", "converted_gguf"]


def convert_gguf(file: Path, folder: Path) -> None:
    """Write ``folder`` (model.safetensors in float32, config, tokenizer) from a GGUF file.

    Raises:
        EmotionCircuitsError: the file cannot be read as GGUF or its architecture is unknown to transformers.
    """
    with redirect_stderr(io.StringIO()):  # transformers draws bars of its own there
        try:
            model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        except (ValueError, OSError, LookupError, RuntimeError, struct.error) as error:
            raise EmotionCircuitsError(f"{file}: cannot be loaded as a GGUF model: {error}") from error
        _write(model, tokenizer, folder)


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    # The weights are plain float32 now; save_pretrained refuses while the quantisation is still noted.
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def converted_gguf(file: Path) -> Path:
    """The converted folder of a user's GGUF file, made on first use and found again by the file's SHA-256."""
    if not file.is_file():
        raise EmotionCircuitsError(f"{file}: no such GGUF file")
    folder = cache_dir() / "models" / "gguf" / file_sha256(file)[:32]
    make_folder(folder.parent)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "config.json").exists():
            with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
                ready = Path(scratch) / "ready"
                convert_gguf(file, ready)
                ready.rename(folder)
    return folder
