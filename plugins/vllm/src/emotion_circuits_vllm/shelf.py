"""The vectors that a server has, by name: safetensors files that lay in its folder, never anything that a request brings."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from emotion_circuits_vllm.asking import Asked, AskedWrongError, Edit

__all__ = ["FOLDER", "Shelf", "Vectors"]

FOLDER = "EMOTION_CIRCUITS_VECTORS"
"""Environment variable: a safetensors file, or a folder of them."""

_EXPORTED = re.compile(r"(layer|first)\.(0|[1-9][0-9]{0,4})")
_KEPT = 32


@dataclass(frozen=True, eq=False)
class Vectors:
    """The directions of a file.

    Attributes:
        rows: name → ``[layer, d_model]``, or ``[1, d_model]`` where it is the same in every layer; of unit length.
        norms: ``[layer]`` residual norms, in which strengths are given.
        doses: by value what dose 1 is.
    """

    rows: Mapping[str, torch.Tensor]
    norms: torch.Tensor
    doses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def row(self, name: str, layer: int) -> torch.Tensor:
        """``[d_model]``: the direction in a layer.

        Raises:
            AskedWrongError: there is none.
        """
        if name not in self.rows:
            raise AskedWrongError(f"no direction {name[:60]!r}; there are: {', '.join(sorted(self.rows)[:20])}")
        if not 0 <= layer < len(self.norms):
            raise AskedWrongError(f"no layer {layer}; the vectors have layers 0 to {len(self.norms) - 1}")
        rows = self.rows[name]
        return rows[layer if len(rows) > 1 else 0]

    def check(self, asked: Asked, layers: int, width: int) -> None:
        """Refuse what a model cannot be done.

        Raises:
            AskedWrongError: a direction or a layer that there is not, or another width than the model's.
        """
        for edit in asked.edits:
            for name in (edit.vector, edit.gate) if edit.gate else (edit.vector,):
                if len(self.row(name, edit.layer)) != width:
                    raise AskedWrongError(
                        f"{name[:60]!r}: has width {len(self.row(name, edit.layer))}, the model has {width}"
                    )
            if edit.layer >= layers:
                raise AskedWrongError(f"no layer {edit.layer}; the model has layers 0 to {layers - 1}")

    def mark(self, asked: Asked) -> str:
        """Hash of the numbers that a request uses, whatever file they lie in."""
        digest = hashlib.sha256()
        for edit in asked.edits:
            for name in (edit.vector, edit.gate) if edit.gate else (edit.vector,):
                digest.update(self.row(name, edit.layer).numpy().tobytes())
            digest.update(self.norms[edit.layer].numpy().tobytes())
        return digest.hexdigest()

    def delta(self, edit: Edit) -> torch.Tensor:
        """``[d_model]``: what an addition adds, in the units of the activations."""
        return self.row(edit.vector, edit.layer) * (edit.alpha * float(self.norms[edit.layer]))


class Shelf:
    """Files by name, read when they are first asked for.

    Args:
        place: a file, or a folder; names are those of files, without ``.safetensors``.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = Path(place)
        self._read: OrderedDict[tuple[str, int, int], Vectors] = OrderedDict()
        if not self.place.exists():
            raise AskedWrongError(f"{FOLDER}: {place}: there is no such file or folder")

    @classmethod
    def of_environment(cls) -> Shelf | None:
        """Where :data:`FOLDER` says; ``None`` where it says nothing."""
        place = os.environ.get(FOLDER)
        return cls(place) if place else None

    def files(self) -> dict[str, Path]:
        """All of them."""
        if self.place.is_file():
            return {self.place.stem: self.place}
        return {f.stem: f for f in sorted(self.place.iterdir()) if f.suffix == ".safetensors" and f.is_file()}

    def names(self) -> tuple[str, ...]:
        """Of all files."""
        return tuple(self.files())

    def doses(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """Of a file, by value, what dose 1 is."""
        return self.get(name).doses

    def get(self, name: str) -> Vectors:
        """The vectors of a file.

        Raises:
            AskedWrongError: no such file, or one that holds something else.
        """
        file = self.files().get(name)
        if file is None:
            raise AskedWrongError(
                f"vectors: {name[:130]!r} is not registered; there are: {', '.join(self.names()[:20]) or 'none'}"
            )
        state = file.stat()
        key = (name, state.st_mtime_ns, state.st_size)
        if key not in self._read:
            self._read[key] = _read(file)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(key)
        return self._read[key]


def _read(file: Path) -> Vectors:
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118  # it is no mapping
            noted = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise AskedWrongError(f"{file.name}: no vectors can be read here: {error}") from error
    bad = next((key for key, one in tensors.items() if not bool(torch.isfinite(one).all())), None)
    if bad is not None:
        raise AskedWrongError(f"{file.name}: {bad} holds NaN or infinity")
    if tensors and all(_EXPORTED.fullmatch(key) for key in tensors):
        return _exported(file, tensors, noted.get("emotion_circuits"))
    norms = tensors.get("norms")
    rows = {
        key.removeprefix("unit/"): one if one.dim() == 2 else one[None]
        for key, one in tensors.items()
        if key.startswith("unit/")
    }
    if norms is None or norms.dim() != 1 or not rows:
        raise AskedWrongError(
            f"{file.name}: holds neither 'norms' and 'unit/NAME' (a run's vectors) nor 'layer.N' (an exported vector)"
        )
    if any(one.dim() != 2 or len(one) not in (1, len(norms)) for one in rows.values()):
        raise AskedWrongError(f"{file.name}: a direction has not one row for each of {len(norms)} layers")
    unit = {key: torch.nn.functional.normalize(one.double(), dim=-1).float() for key, one in rows.items()}
    return Vectors(unit, norms, _doses(noted.get("doses"), file))


def _exported(file: Path, tensors: Mapping[str, torch.Tensor], noted: str | None) -> Vectors:
    """An exported vector: its strength is folded in, so that it is one value, ``vector``, whose dose 1 is as it stands.

    A row is what is added to a layer; its length is taken as that layer's unit, so that its strength is 1.
    """
    parts: dict[str, dict[int, torch.Tensor]] = {"layer": {}, "first": {}}
    for key, one in tensors.items():
        kind, layer = key.split(".")
        parts[kind][int(layer)] = one
    rows, first = parts["layer"], parts["first"]
    if set(first) - set(rows) or not all(bool(row.any()) for row in rows.values()):
        raise AskedWrongError(
            f"{file.name}: pushes the first token of a layer alone; register the run's vectors instead"
        )
    ratios = {float(first[n] @ row) / float(row @ row) if n in first else 0.0 for n, row in rows.items()}
    alike = all(
        torch.allclose(row, rows[n] * (float(row @ rows[n]) / float(rows[n] @ rows[n])), rtol=1e-3)
        for n, row in first.items()
    )
    if max(ratios) - min(ratios) > 1e-3 * max(1.0, max(map(abs, ratios))) or not alike:
        raise AskedWrongError(
            f"{file.name}: pushes the first token differently in each layer; register the run's vectors instead"
        )
    last = max(rows)
    norms, unit = torch.ones(last + 1), torch.zeros(last + 1, len(rows[last]))
    for n, row in rows.items():
        norms[n], unit[n] = row.norm(), row / row.norm()
    spares = bool(first) or (noted is not None and bool(json.loads(noted).get("spares_first")))
    dose = {
        "alpha": 1.0,
        "layers": sorted(rows),
        "positions": "rest" if spares else "all",
        "first": max(ratios),
        "when": "all",
    }
    return Vectors({"vector": unit}, norms, {"vector": dose})


def _doses(text: str | None, file: Path) -> Mapping[str, Mapping[str, Any]]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
        return {
            str(k): {
                "alpha": float(v["alpha"]),
                "first": float(v.get("first", 0)),
                "layers": [int(n) for n in v["layers"]],
                "positions": str(v.get("positions", "rest")),
                "when": str(v.get("when", "all")),
            }
            for k, v in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AskedWrongError(f"{file.name}: its doses cannot be read: {error}") from error
