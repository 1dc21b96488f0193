"""Weights written to a safetensors file block by block, so that no model has to be held in memory to be kept."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion_circuits.paths import cannot_write

__all__ = ["write_weights"]

_CODES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}


def write_weights(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    blocks: Callable[[str], Iterable[Tensor]],
    dtype: torch.dtype,
) -> str:
    """Write a safetensors file, one block of one tensor in memory at a time.

    The bytes are those that ``safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})`` writes: a header of
    JSON behind its length, padded to eight bytes, then the tensors by name.

    Args:
        file: where to; written over.
        shapes: of every tensor, by name.
        blocks: gives a tensor's consecutive pieces along its first axis, in any floating dtype.
        dtype: kept on disk.

    Returns:
        The file's SHA-256.

    Raises:
        ValueError: the blocks of a tensor do not fill its shape.
        EmotionCircuitsError: the file cannot be written.

    Example::

        write_weights(file, {"w": (2, 3)}, lambda name: [torch.zeros(1, 3), torch.ones(1, 3)], torch.bfloat16)
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    sizes = {name: torch.Size(shapes[name]).numel() * dtype.itemsize for name in sorted(shapes)}
    place = 0
    for name, size in sizes.items():
        header[name] = {"dtype": _CODES[dtype], "shape": list(shapes[name]), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with file.open("wb", buffering=0) as out:
        _put(out, digest, len(text).to_bytes(8, "little") + text)
        for name, size in sizes.items():
            written = 0
            for block in blocks(name):
                raw = block.to(dtype).contiguous().reshape(-1).view(torch.uint8).numpy()
                _put(out, digest, raw)
                written += raw.nbytes
            if written != size:
                raise ValueError(
                    f"{file.name}: tensor {name} came with {written} bytes, and its shape {shapes[name]} needs {size}"
                )
    return digest.hexdigest()


def _put(out: io.FileIO, digest: hashlib._Hash, data: Any) -> None:
    rest = memoryview(data)
    digest.update(rest)
    try:
        while len(rest):
            rest = rest[out.write(rest) :]
    except OSError as error:  # a full disk; told apart from what goes wrong in reading the blocks
        raise cannot_write(Path(str(out.name)), error) from error
