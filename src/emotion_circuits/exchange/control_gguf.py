"""Control vectors as GGUF files: what llama.cpp, repeng and EasySteer read, and each other's.

All three keep one float32 tensor ``direction.N`` per layer under the architecture ``controlvector``; N is the block (from 0)
behind which it is added. llama.cpp has no place for block 0.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import gguf
import torch

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.card import Card
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.model.foreign import one_line, understood
from emotion_circuits.model.gguf_header import Header, read_header
from emotion_circuits.paths import replacing
from emotion_circuits.record.notes import checked

__all__ = ["CARD", "read_control_gguf", "write_control_gguf"]

_ARCHITECTURE = "controlvector"
CARD = "emotion_circuits.card"
"""Key of the card, as JSON; programs that do not know it pass over it."""
_TENSOR = re.compile(r"direction\.(0|[1-9][0-9]{0,4})")
_PLAIN = ("F32", "F16", "BF16")


def write_control_gguf(file: Path, vector: PortableVector, hint: str) -> None:
    """Write a control vector; bytes follow from the vector alone.

    Args:
        file: where to.
        vector: added at every token; :meth:`PortableVector.everywhere`.
        hint: name of the model's architecture, as the reading program calls it.

    Raises:
        EmotionCircuitsError: it cannot be written.
    """
    with replacing(file) as temporary:
        writer = gguf.GGUFWriter(str(temporary), _ARCHITECTURE)
        writer.add_string(f"{_ARCHITECTURE}.model_hint", hint)
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(vector.rows))
        if vector.card is not None:
            card = vector.card
            writer.add_name(f"{card.value} ({card.model.name})")
            if card.model.licence:
                writer.add_license(card.model.licence)
            writer.add_string(CARD, json.dumps(card.model_dump(mode="json"), ensure_ascii=False, allow_nan=False))
        for layer, row in sorted(vector.rows.items()):
            writer.add_tensor(f"direction.{layer}", row.float().contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_control_gguf(file: Path) -> PortableVector:
    """What a control vector adds, whoever wrote it.

    Args:
        file: with tensors ``direction.N`` of float32, float16 or bfloat16.

    Raises:
        EmotionCircuitsError: no GGUF file, not a control vector (a model, say), damaged, or with tensors of another kind.
    """
    with understood(lambda error: f"{file}: no control vector can be read here: {one_line(error)}"):
        header = read_header(checked(file))
        if header.architecture != _ARCHITECTURE:
            raise ValueError(
                f"its architecture is {header.architecture!r}, a control vector's is {_ARCHITECTURE!r}; a model is loaded with "
                "--model"
            )
        rows = _rows(file, header)
        noted, hint = header.said.get(CARD), header.said.get(f"{_ARCHITECTURE}.model_hint", "")
        card = None if noted is None else Card.noted(loads(noted), str(file))
    try:
        return PortableVector(rows, card=card, hint=hint if isinstance(hint, str) else "")
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{file}: {error}") from error


def _rows(file: Path, header: Header) -> dict[int, torch.Tensor]:
    size = file.stat().st_size
    found = {}
    for tensor in header.tensors:
        match = _TENSOR.fullmatch(tensor.name)
        if match is None:
            raise ValueError(
                f"it holds a tensor {tensor.name[:60]!r}; those of a control vector are called direction.1 …"
            )
        if len(tensor.shape) != 1 or tensor.kind.name not in _PLAIN:
            raise ValueError(
                f"tensor {tensor.name} is of kind {tensor.kind.name} with {len(tensor.shape)} axes; one axis of numbers "
                f"({', '.join(_PLAIN)}) is read"
            )
        if (
            tensor.offset + 2 * tensor.shape[0] > size
        ):  # two bytes each at least: nothing larger than the file is asked for
            raise ValueError(f"it ends within tensor {tensor.name}")
        found[int(match.group(1))] = torch.from_numpy(tensor.rows(file, 0, tensor.shape[0]).copy()).float()
    return found
