"""A vector as one safetensors file: this program's own, whole; and what the package steering-vectors is made from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from emotion_circuits.documents import UnreadableError, loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.card import Card
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.paths import replacing
from emotion_circuits.record.notes import checked

__all__ = ["read_tensors", "write_tensors"]

_SAID = "emotion_circuits"
"""Entry of the metadata: JSON. One entry, since safetensors writes several in no order."""
_TENSOR = re.compile(r"(layer|first)\.(0|[1-9][0-9]{0,4})")


def write_tensors(file: Path, vector: PortableVector) -> None:
    """Write ``layer.N`` and ``first.N``, ``[d_model]`` in float32, with the card in the metadata.

    Raises:
        EmotionCircuitsError: it cannot be written.
    """
    said = {
        "spares_first": vector.spares_first,
        "hint": vector.hint,
        "card": None if vector.card is None else vector.card.model_dump(mode="json"),
    }
    tensors = {f"layer.{layer}": row for layer, row in vector.rows.items()}
    tensors |= {f"first.{layer}": row for layer, row in vector.first.items()}
    with replacing(file) as temporary:
        save_file(
            {name: row.detach().cpu().float().contiguous() for name, row in tensors.items()},
            temporary,
            metadata={_SAID: json.dumps(said, ensure_ascii=False, allow_nan=False)},
        )


def read_tensors(file: Path) -> PortableVector:
    """Read :func:`write_tensors` back, or a file of others with tensors ``layer.N``.

    Raises:
        EmotionCircuitsError: damaged, no such file, or another safetensors file (a model's weights, say).
    """
    try:
        with safe_open(checked(file), framework="pt") as opened:
            named = {name: _TENSOR.fullmatch(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
            other = next((name for name, match in named.items() if match is None), None)
            if other is not None:
                raise EmotionCircuitsError(
                    f"{file}: is no steering vector: it holds a tensor {other[:60]!r}; those of a vector are called layer.7 …"
                )
            parts: dict[str, dict[int, torch.Tensor]] = {"layer": {}, "first": {}}
            for name, match in named.items():
                assert match is not None
                tensor = opened.get_tensor(name)
                if tensor.dim() != 1 or not tensor.is_floating_point():
                    raise EmotionCircuitsError(
                        f"{file}: tensor {name} has shape {list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}; "
                        "one axis of real numbers is needed"
                    )
                parts[match.group(1)][int(match.group(2))] = tensor.float()
            noted = (opened.metadata() or {}).get(_SAID)
        said = {} if noted is None else loads(noted)
    except UnreadableError as error:
        raise EmotionCircuitsError(f"{file}: its metadata {error.message}") from error
    except (OSError, SafetensorError) as error:
        raise EmotionCircuitsError(
            f"{file}: no steering vector can be read here: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(said, dict) or not isinstance(said.get("hint", ""), str):
        raise EmotionCircuitsError(f"{file}: its metadata are not those of a steering vector")
    spares = said.get("spares_first", bool(parts["first"]))
    if not isinstance(spares, bool):
        raise EmotionCircuitsError(
            f"{file}: its metadata say spares_first: {spares!r}, which is neither true nor false"
        )
    card = None if said.get("card") is None else Card.noted(said["card"], str(file))
    try:
        return PortableVector(parts["layer"], parts["first"], spares, card, said.get("hint", ""))
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{file}: {error}") from error
