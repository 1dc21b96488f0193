"""Rows of one layer straight from a shard's bytes into memory.

Mapping a file and copying from the map touches every page of it one fault at a time; one read into a buffer that is used
again takes the bytes at the speed of the page cache or disk. Only the header of the safetensors format (an 8-byte
little-endian length, then JSON with dtype, shape and offsets) is needed for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Shard"]

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class _Entry(NamedTuple):
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # of the tensor's bytes in the file


@dataclass(eq=False)
class Shard:
    """One shard file.

    Attributes:
        path: the file.
    """

    path: Path
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def rows(self, name: str, layer: int, start: int, stop: int | None, scratch: bytearray) -> Tensor:
        """Rows ``start`` to ``stop`` of one layer of a ``[layer, row, …]`` tensor, as a view of ``scratch``.

        The view is good until ``scratch`` is used again; ``scratch`` grows where it is too small.

        Raises:
            EmotionCircuitsError: a file that is missing, cut off or damaged, or has no such tensor.
        """
        try:
            entry = self._entry(name)
            dtype, (layers, rows, *rest) = entry.dtype, entry.shape
            stop = rows if stop is None else stop
            if not (0 <= layer < layers and 0 <= start <= stop <= rows):
                raise ValueError(f"{name} has {layers} layers and {rows} rows")
            item = int(np.prod(rest, dtype=np.int64)) * dtype.itemsize
            size = (stop - start) * item
            if len(scratch) < size:
                scratch.extend(bytearray(size - len(scratch)))
            with self.path.open("rb", buffering=0) as stream:
                stream.seek(entry.start + (layer * rows + start) * item)
                got = 0
                while got < size and (more := stream.readinto(memoryview(scratch)[got:size])):
                    got += more
            if got < size:
                raise ValueError("the file is cut off")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EmotionCircuitsError(
                f"{self.path}: cannot be read ({error}); delete this one file and run the capture again, it resumes"
            ) from error
        if not size:
            return torch.empty(stop - start, *rest, dtype=dtype)
        return torch.frombuffer(scratch, dtype=dtype, count=size // dtype.itemsize).view(stop - start, *rest)

    def _entry(self, name: str) -> _Entry:
        if not self._entries:
            with self.path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if not 2 <= length <= os.fstat(stream.fileno()).st_size - 8:
                    raise ValueError("it does not begin with a safetensors header")
                header = loads(stream.read(length))
            for key, value in header.items():
                if key != "__metadata__":
                    place = 8 + length + int(value["data_offsets"][0])
                    self._entries[key] = _Entry(_DTYPES[value["dtype"]], tuple(value["shape"]), place)
        return self._entries[name]
