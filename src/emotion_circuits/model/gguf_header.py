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
from typing import Any, NamedTuple

import gguf
import numpy as np

__all__ = ["Header", "StoredTensor", "read_header"]

_STRING, _ARRAY = 8, 9
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LONG = 4096  # items; an array of settings has one for each layer at most, the longer ones are words
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


class Header(NamedTuple):
    """What stands in a GGUF file before its tensors.

    Attributes:
        architecture: as the file calls it.
        tensors: where each lies.
        said: its settings by name: numbers, texts, and lists of numbers of up to 4096; its words are left out.
    """

    architecture: str
    tensors: list[StoredTensor]
    said: dict[str, Any]


def read_header(file: Path) -> Header:
    """The architecture, the tensors and the settings of a GGUF file.

    Raises:
        ValueError: it is no GGUF file of version 2 or 3, is cut short, or says less or more than once what it is.

    Example::

        architecture, tensors, said = read_header(Path("qwen2.5-coder-0.5b.gguf"))
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _header(data)
        except (struct.error, IndexError) as error:
            raise ValueError(f"it is cut short: {error}") from error


def _header(data: mmap.mmap) -> Header:
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it is no GGUF file of version 2 or 3")
    place, said = 24, {}
    for _ in range(n_keys):
        key, place = _string(data, place)
        (kind,) = struct.unpack_from("<I", data, place)
        place += 4
        value, end = _value(data, place, kind), _behind(data, place, kind)
        if key in said:
            raise ValueError(f"it says {key} twice")
        place, said[key] = end, value
    said = {key: value for key, value in said.items() if value is not None}
    architecture, alignment = (
        said.get("general.architecture"),
        said.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT),
    )
    if not isinstance(architecture, str) or not isinstance(alignment, int) or alignment < 1:
        raise ValueError("it does not say its architecture, or how its tensors are aligned")
    found = []
    for _ in range(n_tensors):
        name, place = _string(data, place)
        (n_dims,) = struct.unpack_from("<I", data, place)
        *dims, stored, offset = struct.unpack_from(f"<{n_dims}QIQ", data, place + 4)
        place += 4 + 8 * n_dims + 12
        found.append((name, gguf.GGMLQuantizationType(stored), tuple(reversed(dims)), offset))
    begin = -(-place // alignment) * alignment
    tensors = [StoredTensor(name, stored, shape, begin + offset) for name, stored, shape, offset in found]
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("it holds two tensors of one name")
    return Header(architecture, tensors, said)


def _value(data: mmap.mmap, place: int, kind: int) -> Any:
    """What stands there; ``None`` for words and long lists."""
    if kind in _FORMATS:
        return struct.unpack_from(f"<{_FORMATS[kind]}", data, place)[0]
    if kind == _STRING:
        return _string(data, place)[0]
    if kind == _ARRAY:
        item, count = struct.unpack_from("<IQ", data, place)
        if item in _FORMATS and count <= _LONG:
            return list(struct.unpack_from(f"<{count}{_FORMATS[item]}", data, place + 12))
    return None


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
