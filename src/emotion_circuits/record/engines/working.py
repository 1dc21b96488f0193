"""What every engine that computes elsewhere shares: the order it sends, what a worker has at hand, what comes back."""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.source import ModelSource
from emotion_circuits.record.engines import Compute, Part

__all__ = [
    "ATTEMPTS",
    "SEEN",
    "Bench",
    "Order",
    "given_up",
    "refuse_other_versions",
    "unpacked",
    "unshared",
    "versions",
]

ATTEMPTS = 3
"""How often a part is begun before it is given up: a worker may be killed by chance, hardly thrice on the same part."""


SEEN = 90.0
"""Seconds that a file may take to be seen on another machine; NFS keeps what it knows of a folder for up to 60."""


@dataclass(frozen=True)
class Order:
    """What workers need for one piece of work.

    Attributes:
        name: hash of ``written``.
        written: where modules are looked for, the compute without its model, and the model's address; pickled.
    """

    name: str
    written: bytes

    @classmethod
    def of(cls, compute: Compute[Any], *, own_card: bool = False) -> Order:
        """The order for a piece of work.

        Args:
            compute: the work.
            own_card: whether a worker sees only the card it was given, which is the first one there.

        Raises:
            EmotionCircuitsError: another process cannot load the model.
        """
        source = None if compute.model is None else ModelSource.of(compute.model)
        if own_card and source is not None and source.device.startswith("cuda"):
            source = replace(source, device="cuda:0")
        # Functions are found by the names of their modules, which may lie where only this process looks; files by paths that
        # may begin where it stands.
        where = (sys.path, str(Path.cwd()))
        written = pickle.dumps((where, pickle.dumps((replace(compute, model=None), source))))
        return cls(hashlib.sha256(written).hexdigest(), written)


@dataclass(eq=False)
class Bench:
    """What a worker has at hand: the last model it loaded, the last order with its ground."""

    source: ModelSource | None = None
    model: LanguageModel | None = None
    order: str = ""
    compute: Compute[Any] | None = None
    ground: Any = None

    def work(self, name: str, written: bytes | None, task: Any) -> bytes:
        """What comes of one part.

        Args:
            name: of the order.
            written: the order, where the worker may not have it yet.
            task: of the part.
        """
        if self.order != name:
            assert written is not None
            (path, folder), pickled = pickle.loads(written)
            sys.path.extend(entry for entry in path if entry not in sys.path)
            with suppress(OSError):
                os.chdir(folder)
            compute, source = pickle.loads(pickled)
            self.order, self.compute, self.ground = "", None, None
            if source is not None and source != self.source:
                self.source = self.model = None  # before the next one is loaded: memory may hold but one
                self.model = source.load()
                self.source = source
            model = None if source is None else self.model
            self.compute, self.ground = replace(compute, model=model), compute.ground(model)
            self.order = name
        assert self.compute is not None
        return _packed(self.compute.part(self.compute.model, self.ground, task))

    def answer(self, name: str, written: bytes | None, task: Any, unless: tuple[type[Exception], ...] = ()) -> bytes:
        """As :meth:`work`; an error is packed too, so that it is the same one where the part was ordered.

        Args:
            name: of the order.
            written: the order, where the worker may not have it yet.
            task: of the part.
            unless: errors that are none of the part's, and are raised.
        """
        try:
            return self.work(name, written, task)
        except unless:
            raise
        except Exception as error:
            if not isinstance(error, EmotionCircuitsError):
                error.add_note(f"where the part was computed:\n{traceback.format_exc()}")
            try:
                pickled = pickle.dumps(error)
                pickle.loads(pickled)
            except Exception:
                pickled = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
            return b"E" + pickled

    def greet(self, mark: str | None, patience: float) -> tuple[str, dict[str, str], bool]:
        """The name of this machine, its versions, and whether it sees a file within so many seconds; ``None``: no file."""
        until = time.monotonic() + patience
        while not (seen := mark is None or Path(mark).exists()) and time.monotonic() < until:
            time.sleep(1)
        return socket.gethostname(), versions(), seen


def versions() -> dict[str, str]:
    """Versions of what bytes, and the way orders are written, depend on."""
    import transformers

    import emotion_circuits

    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "emotion-circuits": emotion_circuits.__version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }


def refuse_other_versions(theirs: dict[str, str], where: str) -> None:
    """Refuse a worker whose versions are others than this process's.

    Raises:
        EmotionCircuitsError: naming each.
    """
    other = [
        f"{name} {theirs.get(name)} instead of {mine}" for name, mine in versions().items() if theirs.get(name) != mine
    ]
    if other:
        raise EmotionCircuitsError(
            f"{where} has {', '.join(other)}: parts would not be the same bytes; install the same versions there"
        )


def unshared(folder: Path) -> str:
    """What is to be done about a folder that another machine does not see."""
    return (
        f"The engine's folder {folder} must lie on a file system that this machine and the nodes share (option folder)"
    )


def given_up(part: Part, times: int, how: str, remedy: str = "") -> EmotionCircuitsError:
    """What is said of a part whose worker was lost again and again.

    Args:
        part: the part.
        times: how often it was begun.
        how: what became of its last worker, a predicate: ``was killed by signal 9``.
        remedy: what else may help; begins with its punctuation.
    """
    return EmotionCircuitsError(
        f"part {part.index} ({str(part.task)[:80]}) was begun {times} times, and each time its worker {how}; "
        f"use fewer workers or a smaller batch if memory was short{remedy}. Parts that were finished are kept"
    )


def _packed(result: Any) -> bytes:
    """Tensors go as bytes: handed over as tensors they would lie in shared memory that goes with the worker."""
    if isinstance(result, dict) and all(isinstance(value, torch.Tensor) for value in result.values()):
        tensors: bytes = save({name: tensor.contiguous().cpu() for name, tensor in result.items()})
        return b"T" + tensors
    return b"P" + pickle.dumps(result)


def unpacked(packed: bytes) -> Any:
    """The result that was packed; an error is raised."""
    if packed[:1] == b"T":
        return load(packed[1:])
    found = pickle.loads(packed[1:])
    if packed[:1] == b"E":
        raise found
    return found
