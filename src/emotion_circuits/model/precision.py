"""In which number format a model is computed, and in which it writes."""

from __future__ import annotations

from functools import cache

import torch

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["LARGE", "SMALL", "chosen_dtypes", "native_bfloat16", "resolve_dtype"]

_NAMES = ("auto", "float32", "bfloat16", "float16", "float64")

LARGE = 300_000_000
"""Parameters above which a model is kept, and on a processor with bfloat16 products computed, in bfloat16."""

SMALL = 50_000_000
"""Parameters up to which bfloat16 gains nothing in writing: the time is not spent in products."""


@cache
def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself, and torch's products on it do so.

    ``torch.cpu.get_capabilities()`` says what the processor has (AVX512-BF16 or AMX on x86, BF16 on ARM); the products go
    through oneDNN, which says whether it takes bfloat16. AVX-512 without these instructions only imitates it, slower than
    float32.
    """
    has = torch.cpu.get_capabilities()
    instructions = any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return bool(instructions and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def chosen_dtypes(parameters: int, device: str, *, native: bool) -> tuple[torch.dtype, torch.dtype]:
    """What ``auto`` means: the dtype of all figures, and the dtype of writing.

    Args:
        parameters: of the model.
        device: its type; ``cuda``, ``cpu`` …
        native: whether the processor multiplies bfloat16 itself.

    Returns:
        On CUDA bfloat16 for both. On a CPU float32 for both, unless it multiplies bfloat16 itself: then models above 300
        million parameters are bfloat16 in everything, those above 50 million in writing.

    Example:
        >>> chosen_dtypes(135_000_000, "cpu", native=True)
        (torch.float32, torch.bfloat16)
    """
    if device == "cuda":
        return torch.bfloat16, torch.bfloat16
    if device != "cpu" or not native:
        return torch.float32, torch.float32
    return (
        torch.bfloat16 if parameters > LARGE else torch.float32,
        torch.bfloat16 if parameters > SMALL else torch.float32,
    )


def resolve_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype meant; ``None`` where it is left to the model's size and the device (``auto``).

    Raises:
        EmotionCircuitsError: there is no such dtype.
    """
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _NAMES:
        raise EmotionCircuitsError(f"dtype must be one of {', '.join(_NAMES)}, got {dtype!r}")
    return None if dtype == "auto" else getattr(torch, dtype)  # type: ignore[no-any-return]
