"""Where the tensors of a GGUF file lie, read without touching them.

``gguf.GGUFReader`` makes several objects of every word of the tokenizer, which for a vocabulary of 150 000 takes more memory
than half a model of 500 million weights; here its metadata are walked over.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

__all__ = ["StoredTensor", "read_header"]

_STRING, _ARRAY = 8, 9
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_PLAIN = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a GGUF file.

    Attributes:
        name: in the file.
        kind: how its values are stored.
        shape: of its values, rows first.
        offset: of its first byte in the file.
    """

    name: str
    kind: gguf.GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int

    def rows(self, file: Path, start: int, stop: int) -> np.ndarray:
        """Its rows from ``start`` to ``stop`` in float32, read from the file and dequantised.

        Raises:
            ValueError: the file ends before them.
            NotImplementedError: the ``gguf`` package cannot dequantise this kind.
        """
        plain = _PLAIN.get(self.kind)
        if plain is not None:
            stored, dtype = self.shape, np.dtype(plain).newbyteorder("<")
        else:
            stored, dtype = gguf.quant_shape_to_byte_shape(self.shape, self.kind), np.dtype(np.uint8)
        row = math.prod(stored[1:])
        raw = np.fromfile(file, dtype, count=(stop - start) * row, offset=self.offset + start * row * dtype.itemsize)
        if raw.size != (stop - start) * row:
            raise ValueError(f"it ends within tensor {self.name}")
        values: np.ndarray = gguf.dequantize(raw.reshape(stop - start, *stored[1:]), self.kind)
        return values


def read_header(file: Path) -> tuple[str, list[StoredTensor]]:
    """The architecture and the tensors of a GGUF file.

    Raises:
        ValueError: it is no GGUF file of version 2 or 3, or is cut short.

    Example::

        architecture, tensors = read_header(Path("qwen2.5-coder-0.5b.gguf"))
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _header(data)
        except (struct.error, IndexError) as error:
            raise ValueError(f"it is cut short: {error}") from error


def _header(data: mmap.mmap) -> tuple[str, list[StoredTensor]]:
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it is no GGUF file of version 2 or 3")
    place, architecture, alignment = 24, "", gguf.GGUF_DEFAULT_ALIGNMENT
    for _ in range(n_keys):
        key, place = _string(data, place)
        (kind,) = struct.unpack_from("<I", data, place)
        place += 4
        if key == "general.architecture" and kind == _STRING:
            architecture = _string(data, place)[0]
        elif key == "general.alignment" and kind in (4, 5):
            (alignment,) = struct.unpack_from("<I", data, place)
        place = _behind(data, place, kind)
    found = []
    for _ in range(n_tensors):
        name, place = _string(data, place)
        (n_dims,) = struct.unpack_from("<I", data, place)
        *dims, kind, offset = struct.unpack_from(f"<{n_dims}QIQ", data, place + 4)
        place += 4 + 8 * n_dims + 12
        found.append((name, gguf.GGMLQuantizationType(kind), tuple(reversed(dims)), offset))
    begin = -(-place // alignment) * alignment
    return architecture, [StoredTensor(name, kind, shape, begin + offset) for name, kind, shape, offset in found]


def _string(data: mmap.mmap, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, place)
    end = place + 8 + length
    if end > len(data):
        raise ValueError("it is cut short")
    return data[place + 8 : end].decode("utf-8"), end


def _behind(data: mmap.mmap, place: int, kind: int) -> int:
    """The place after a value."""
    if kind in _WIDTHS:
        return place + _WIDTHS[kind]
    if kind == _STRING:
        return place + 8 + int(struct.unpack_from("<Q", data, place)[0])
    if kind != _ARRAY:
        raise ValueError(f"its metadata hold a value of unknown type {kind}")
    item: int
    count: int
    item, count = struct.unpack_from("<IQ", data, place)
    place += 12
    if item in _WIDTHS:
        return int(place + count * _WIDTHS[item])
    for _ in range(count):
        place = _behind(data, place, item)
    return place
