"""What a part needs of the machine that computes it, and the options that say so."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.record.engines import Compute

__all__ = ["GIB", "RayOptions", "Resources", "SlurmOptions", "memory_of", "options_of"]

GIB = 1 << 30

_PROGRAM = GIB
"""Of memory, that a worker takes with its libraries before it has a model."""

_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}


def memory_of(model: LanguageModel) -> int:
    """Bytes of memory that a worker with a model takes: twice its weights, which are read and placed, and the program.

    Args:
        model: loaded, or its blueprint.
    """
    weights = {id(tensor): tensor for tensor in (*model.hf.parameters(), *model.hf.buffers())}
    size: int = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    return 2 * size + _PROGRAM


@dataclass(frozen=True)
class Resources:
    """What a worker holds while it is there.

    Attributes:
        cpus: cores.
        gpus: cards, or a part of one.
        memory: bytes; ``None``: not known.
    """

    cpus: float
    gpus: float
    memory: int | None

    @classmethod
    def needed(
        cls, compute: Compute[Any], *, cpus: float | None = None, gpus: float | None = None, memory: int | None = None
    ) -> Resources:
        """What any part of a piece of work needs.

        Args:
            compute: the work, settled: as many cores as its parts have threads; one card where the model is on one, all that
                it is spread over where it is on several; memory by the model's size.
            cpus: what was asked for instead.
            gpus: what was asked for instead.
            memory: what was asked for instead.
        """
        model = compute.model
        if gpus is None:
            spread = (
                set(getattr(model.hf, "hf_device_map", {}).values()) - {"cpu", "disk"} if model is not None else set()
            )
            gpus = len(spread) if len(spread) > 1 else int(model is not None and model.device.type == "cuda")
        if memory is None:
            memory = compute.memory if model is None else memory_of(model)
        return cls(compute.threads or 1 if cpus is None else cpus, gpus, memory)

    def __str__(self) -> str:
        words = [f"{self.cpus:g} CPUs", f"{self.gpus:g} GPUs"]
        if self.memory is not None:
            words.append(f"{self.memory / GIB:.1f} GiB of memory")
        return ", ".join(words)


def _size(value: Any) -> Any:
    """Bytes of ``8G``, ``500M``; binary units, as Slurm has them."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f"{value!r} is no size; write it like 8G or 500M")
    return math.ceil(float(found[1]) * _SIZES[found[2].upper()])


def _minutes(value: Any) -> Any:
    """Minutes of ``90``, ``HH:MM:SS``, ``D-HH:MM:SS``, ``D-HH`` as Slurm has them, rounded up."""
    if not isinstance(value, str) or value.strip().isdecimal():
        return value
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?", value.strip())
    if found is None:
        raise ValueError(f"{value!r} is no time; write minutes, HH:MM:SS or D-HH:MM:SS")
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    # Slurm: with days the first is hours; without, two numbers are minutes and seconds.
    if days is None and third is None:
        return first + math.ceil((second or 0) / 60) or 1  # type: ignore[operator]
    return (days or 0) * 1440 + first * 60 + (second or 0) + math.ceil((third or 0) / 60) or 1  # type: ignore[operator]


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Minutes = Annotated[int, BeforeValidator(_minutes), Field(gt=0)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RayOptions(_Options):
    """Options of the engine ``ray``.

    Attributes:
        address: of a Ray cluster: ``auto``, ``HOST:PORT``, ``ray://HOST:10001``; without it this machine.
        folder: on a file system that this machine and the nodes share, where runs and models lie; by default that of the
            process. Whether a node sees it is checked before it is given a part.
        cpus: cores of a worker; by default as many as a part has threads.
        gpus: cards of a worker, or a part of one; by default one where the model is on one.
        memory: of a worker, ``8G``; by default from the model's size.
    """

    address: str | None = Field(None, min_length=1)
    folder: Path = Path()
    cpus: float | None = Field(None, gt=0, allow_inf_nan=False)
    gpus: float | None = Field(None, ge=0, allow_inf_nan=False)
    memory: Size | None = None


class SlurmOptions(_Options):
    """Options of the engine ``slurm``.

    Attributes:
        cluster: ``slurm``, or ``local``: jobs are processes of this machine, to try things out.
        folder: on a file system that this machine and the nodes share; orders, results and logs of jobs lie there.
        partition: of jobs.
        account: jobs are charged to.
        qos: quality of service of jobs.
        time: a job may take: minutes, ``HH:MM:SS`` or ``D-HH:MM:SS``.
        cpus: cores of a job; by default as many as a part has threads.
        gpus: cards of a job; by default one where the model is on one.
        memory: of a job, ``8G``; by default from the model's size.
        parts_per_job: how many parts a job computes one after the other with the model it has loaded; by default one where
            parts bring their own models, otherwise all parts over the number of jobs at once.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    folder: Path = Path("slurm-jobs")
    partition: str | None = Field(None, min_length=1)
    account: str | None = Field(None, min_length=1)
    qos: str | None = Field(None, min_length=1)
    time: Minutes = 240
    cpus: int | None = Field(None, gt=0)
    gpus: int | None = Field(None, ge=0)
    memory: Size | None = None
    parts_per_job: int | None = Field(None, gt=0)


Options = TypeVar("Options", bound=_Options)


def options_of(kind: type[Options], engine: str, given: Mapping[str, Any]) -> Options:
    """The options of an engine, from what was given.

    Raises:
        EmotionCircuitsError: an unknown option, or a value that is none; the first one.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise EmotionCircuitsError(
                f"the engine {engine!r} has no option {name!r}; it has {', '.join(sorted(kind.model_fields))}"
            ) from None
        why = first["msg"].removeprefix("Value error, ")
        raise EmotionCircuitsError(f"option {name}={given.get(name)} of the engine {engine!r}: {why}") from None
