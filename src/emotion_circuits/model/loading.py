"""``load_model``: hub id, local folder, GGUF file or bundled name → a checked :class:`LanguageModel`."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import bundled
from emotion_circuits.model.families import family_of, language_config
from emotion_circuits.model.gguf import converted_gguf
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.precision import chosen_dtypes, native_bfloat16, resolve_dtype
from emotion_circuits.model.prefixes import Prefix, neutral_prefix
from emotion_circuits.model.selfcheck import self_check
from emotion_circuits.model.sums import remembered_sha256
from emotion_circuits.paths import hash_json

__all__ = ["dtypes_for", "load_model", "locate", "resolve_device", "weights_sha256"]

_log = logging.getLogger(__name__)


def load_model(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    writing_dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    check: bool = True,
    prefix: Prefix = "none",
) -> LanguageModel:
    """Load a causal language model and check that it can be observed and changed.

    Args:
        name_or_path: a bundled name (``smollm2-135m``, ``qwen2.5-coder-1.5b`` …; installed on first use), a local folder,
            a ``.gguf`` file, or a Hugging Face id. Remote code is never run.
        device: ``cpu``, ``cuda``, ``cuda:1`` …, or ``auto`` to spread a large model over what there is
            (accelerate's ``device_map="auto"``). Default: ``cuda`` where there is one, else ``cpu``.
        dtype: ``float32``, ``bfloat16``, ``float16``, ``float64``, or ``auto`` (the default): bfloat16 on CUDA, and for
            models above 300 million parameters on a CPU that multiplies bfloat16 itself; else float32.
        writing_dtype: in which sweeps of continuations are written (:func:`writing_model`). ``auto``, the default: the
            ``dtype`` where one is named, else bfloat16 for models above 50 million parameters on such a CPU.
        revision: hub branch, tag or commit.
        allow_pickle: also accept pickled weights (``pytorch_model.bin``). Unpickling can run code: only for
            sources you trust.
        check: run the self-check (within a second or so on small models).
        prefix: ``auto`` puts one neutral token before every text (:mod:`emotion_circuits.model.prefixes`).

    Raises:
        EmotionCircuitsError: nothing there, an unsupported family, pickled weights only, or a failed check.
    """
    name = os.fspath(name_or_path)
    folder, shown = locate(name)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    if str(where) != "auto":
        where = resolve_device(where)
    asked, asked_writing = resolve_dtype(dtype), resolve_dtype(writing_dtype)
    options: dict[str, Any] = {"revision": revision} if revision is not None and folder is None else {}
    if folder is not None and name in bundled.BUNDLED and not Path(name).expanduser().is_dir():
        _check_bundled(name, folder)
    source = str(folder) if folder is not None else name
    bars = hf_logging.is_progress_bar_enabled()
    if folder is not None:  # a local load is quick; a hub download keeps its bar
        hf_logging.disable_progress_bar()
    try:
        config = language_config(AutoConfig.from_pretrained(source, trust_remote_code=False, **options))
        family = family_of(config)
        use_dtype, writes = dtypes_for(config, where, asked, asked_writing)
        hf = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=use_dtype,
            trust_remote_code=False,
            use_safetensors=None if allow_pickle else True,
            **({"device_map": "auto"} if str(where) == "auto" else {}),
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except EmotionCircuitsError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError, UnpicklingError) as error:
        raise EmotionCircuitsError(_explain(name, folder, error)) from error
    finally:
        if bars:
            hf_logging.enable_progress_bar()
    if str(where) != "auto":
        hf.to(where)
    hf.eval().requires_grad_(False)
    if not tokenizer.is_fast:
        raise EmotionCircuitsError(
            f"{name}: its tokenizer has no fast version; only those give the character offsets that find words"
        )
    commit = getattr(hf.config, "_commit_hash", None)
    model = LanguageModel(hf, tokenizer, family, shown, source=folder, revision=commit or revision, writes=writes)
    model.check_tokenizer()
    model.prefix = neutral_prefix(tokenizer, prefix)
    if check:
        self_check(model)
    _log.info(
        "%s: %d layers, %s, on %s, from %s", shown, model.n_layers, model.dtype, model.device, folder or "the hub"
    )
    return model


def dtypes_for(
    config: Any, where: str | torch.device, dtype: torch.dtype | None, writing: torch.dtype | None
) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes of figures and of writing, from what was asked for, the model's size and the device.

    Args:
        config: of the Hugging Face model.
        where: device, or ``auto``.
        dtype: asked for; ``None``: by size and device.
        writing: asked for; ``None``: as ``dtype`` where that was asked for, else by size and device.
    """
    kind = torch.device("cuda" if torch.cuda.is_available() else "cpu") if str(where) == "auto" else torch.device(where)
    native = kind.type == "cpu" and native_bfloat16()
    parameters = 0
    if native and dtype is None:  # elsewhere the size decides nothing
        with torch.device("meta"):
            parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    figures, written = chosen_dtypes(parameters, kind.type, native=native)
    return dtype or figures, writing or dtype or written


def locate(name: str) -> tuple[Path | None, str]:
    """The local folder to read (``None``: the hub) and the name to show."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path, name
    if path.suffix == ".gguf":
        return converted_gguf(path), name
    if name in bundled.BUNDLED:
        return bundled.installed(name) or bundled.install(name), name
    if path.exists():
        raise EmotionCircuitsError(f"{name}: neither a model folder nor a .gguf file")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EmotionCircuitsError(f"{name}: no such folder or file")
    return None, name


def resolve_device(where: str | torch.device) -> torch.device:
    """A device that exists here."""
    try:
        device = torch.device(where)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EmotionCircuitsError(
            f"device {str(where)!r} cannot be used here ({reason}); use 'cpu', 'cuda', 'cuda:1' … or 'auto'"
        ) from error
    return device


def _explain(name: str, folder: Path | None, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = str(error).lower()
    if "safetensors" in text and folder is not None and any(folder.glob("*.bin")):
        return (
            f"{name}: only pickled weights were found, and unpickling can run code. If you trust the source, pass "
            "allow_pickle=True (command line: --allow-pickle), or convert the weights to safetensors."
        )
    if folder is None:
        return (
            f"{name}: could not be loaded from the hub ({first}). Without a connection use a local folder, a .gguf "
            f"file, or a bundled model: {', '.join(bundled.BUNDLED)}."
        )
    return f"{name}: could not be loaded: {first}"


def weights_sha256(model: LanguageModel) -> str:
    """One SHA-256 over the model's weight files, or over its tensors where there are no files.

    Sums of files are remembered by size and modification time, so that a large model is hashed once.
    """
    assumed = getattr(model, "assumed_sha256", None)
    if assumed is not None:
        return str(assumed)
    files = sorted(model.source.glob("*.safetensors")) if model.source is not None else []
    if files:
        return hash_json({f.name: remembered_sha256(f) for f in files})
    if any(tensor.is_meta for tensor in model.hf.state_dict().values()):
        raise EmotionCircuitsError(f"{model.name}: its weights are not here, so they cannot be told from others")
    digest = hashlib.sha256()
    for key, tensor in sorted(model.hf.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_bundled(name: str, folder: Path) -> None:
    """Refuse an installed model whose weights are not the ones that were written when it was installed."""
    noted = bundled.noted_sums(folder)
    for file in sorted(folder.glob("*.safetensors")):
        if file.name in noted and noted[file.name] != remembered_sha256(file):
            raise EmotionCircuitsError(
                f"{file}: is damaged (its SHA-256 differs from the one noted at installation); run 'emotion-circuits models "
                f"install {name} --force'"
            )
