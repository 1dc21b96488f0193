"""EasySteer: a folder with GGUF files of vectors and ``steering.json``, which says where each of them acts.

Its ``SteeringSpec`` selects tokens by position, so that a push at the first token travels as a vector of its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from emotion_circuits.documents import read_json_file
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange.control_gguf import read_control_gguf, write_control_gguf
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.paths import write_json
from emotion_circuits.prompts.loading import validation_messages

__all__ = ["PLACES", "SPEC", "SteeringSpec", "SteeringVector", "read_easysteer", "write_easysteer"]

SPEC = "steering.json"
PLACES: dict[str, dict[str, Any]] = {
    "all": {"prompt": "all", "generation": "all"},
    "rest": {"prompt": "all", "generation": "all", "exclude_prompt_positions": [0]},
    "first": {"prompt_positions": [0]},
}
"""Which tokens a vector is added at, as EasySteer says it."""


def write_easysteer(folder: Path, vector: PortableVector, hint: str) -> None:
    """Write ``rest.gguf``, ``first.gguf`` where there is one, and ``steering.json`` for ``--steering-config``.

    Args:
        folder: made where it is missing.
        vector: whole.
        hint: name of the model's architecture.

    Raises:
        EmotionCircuitsError: it cannot be written.
    """
    parts = [
        ("rest.gguf", vector.rows, "rest" if vector.spares_first else "all"),
        ("first.gguf", vector.first, "first"),
    ]
    vectors = []
    for name, rows, where in parts:
        if rows:
            write_control_gguf(folder / name, replace(vector, rows=rows, first={}), hint)
            vectors.append(
                {
                    "source": name,
                    "algorithm": "direct",
                    "scale": 1.0,
                    "layers": sorted(rows),
                    "normalize": False,
                    "apply": PLACES[where],
                }
            )
    write_json(folder / SPEC, {"vectors": vectors, "conflict": "sequential"})


class SteeringVector(BaseModel):
    """An entry of ``vectors``, as far as it is read; what else EasySteer knows there is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    source: str
    algorithm: Literal["direct"] = "direct"
    scale: float = 1.0
    layers: list[int] | None = None
    normalize: Literal[False] = False
    apply: dict[str, Any]
    params: dict[str, Any] | None = None
    name: str | None = None


class SteeringSpec(BaseModel):
    """What :data:`SPEC` holds, and what EasySteer takes in a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    vectors: list[SteeringVector] = Field(min_length=1)
    conflict: Literal["sequential", "priority", "error"] = "priority"
    debug: bool = False


def read_easysteer(folder: Path) -> PortableVector:
    """Read a folder with ``steering.json``: vectors that are added at every token, at the first, or at all others.

    Raises:
        EmotionCircuitsError: a damaged file, a source outside the folder, or steering that is no such addition.
    """
    file = folder / SPEC
    try:
        spec = SteeringSpec.model_validate(read_json_file(file))
    except ValidationError as error:
        raise EmotionCircuitsError(f"{file}: {'; '.join(validation_messages(error)[:3])}") from error
    parts: dict[str, dict[int, Tensor]] = {}
    last = None
    for number, one in enumerate(spec.vectors):
        place = f"{file}: vectors[{number}]"
        which = _where(place, one)
        if which in parts or (which != "first" and parts.keys() - {"first"}):
            raise EmotionCircuitsError(f"{place}: a second vector for the same tokens; add them up in one")
        last = read_control_gguf(_source(folder, place, one))
        parts[which] = {
            layer: row * one.scale for layer, row in last.rows.items() if one.layers is None or layer in one.layers
        }
    if {"all", "first"} <= parts.keys():
        raise EmotionCircuitsError(
            f"{file}: one vector acts at every token and one at the first too; exclude position 0 there"
        )
    assert last is not None
    try:
        rows = parts.get("all") or parts.get("rest") or {}
        return PortableVector(rows, parts.get("first", {}), "all" not in parts, last.card, last.hint)
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{folder}: {error}") from error


def _where(place: str, one: SteeringVector) -> str:
    said = {key: value for key, value in one.apply.items() if value is not None}
    for which, known in PLACES.items():
        if said == known:
            return which
    raise EmotionCircuitsError(f"{place}: apply {said}; read are {', '.join(map(str, PLACES.values()))}")


def _source(folder: Path, place: str, one: SteeringVector) -> Path:
    if not one.source or Path(one.source).name != one.source:
        raise EmotionCircuitsError(
            f"{place}: source {one.source!r} is not the name of a file in this folder; only those are read"
        )
    return folder / one.source
