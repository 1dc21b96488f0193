"""A piece of work in parts: each is committed by itself, kept when the rest is interrupted, and never computed twice.

A folder holds the parts of one piece of work, which a note there describes: everything that the bytes of a part depend
on. A part is written to a temporary name, its sum is recorded, then it takes its name; so a process may be killed at any
moment and costs what it was computing. A part that is damaged is found by its sum and computed anew. Which process
computes a part is the engine's business (:mod:`emotion_circuits.record.engines`); this one alone writes.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.ledger import Ledger
from emotion_circuits.locking import locked
from emotion_circuits.paths import hash_json, make_folder, replacing, write_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.engines import Compute, Engine, Part
from emotion_circuits.record.engines.inline import Inline
from emotion_circuits.temporaries import sweep

__all__ = ["PARTS", "Form", "Kept", "Parts", "Tables", "Tensors", "cut", "results"]

PARTS = "parts"
"""Name of a folder of parts that goes when what they were joined into is written."""

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_SEALS = ("hash", "sha256")


class Form(Protocol[Result]):
    """How a part's result lies on disk."""

    @property
    def suffix(self) -> str:
        """Of the file's name."""

    def write(self, result: Result, path: Path) -> None:
        """Write a result."""

    def read(self, path: Path) -> Result:
        """Read it back."""

    def opens(self, path: Path) -> bool:
        """Whether a file is one of this form, from its header alone."""


@dataclass(frozen=True)
class Tensors:
    """Tensors by name, as safetensors.

    Attributes:
        metadata: kept with them; a file with other metadata is not taken for one of these.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ".safetensors"

    def write(self, result: dict[str, Tensor], path: Path) -> None:
        """Write them, from whatever device they are on."""
        tensors = {name: tensor.contiguous().cpu() for name, tensor in result.items()}
        save_file(tensors, path, metadata=dict(self.metadata) or None)

    def read(self, path: Path) -> dict[str, Tensor]:
        """Read them."""
        found: dict[str, Tensor] = load_file(path)
        return found

    def opens(self, path: Path) -> bool:
        """Whether the file's header is whole and holds the metadata."""
        try:
            with safe_open(path, framework="pt") as file:
                return {**(file.metadata() or {}), **self.metadata} == (file.metadata() or {})
        except (SafetensorError, OSError):
            return False


@dataclass(frozen=True)
class Tables:
    """A table, as Parquet."""

    suffix: str = ".parquet"

    def write(self, result: pd.DataFrame, path: Path) -> None:
        """Write it, without its index."""
        result.to_parquet(path, index=False)

    def read(self, path: Path) -> pd.DataFrame:
        """Read it."""
        return pd.read_parquet(path)

    def opens(self, path: Path) -> bool:
        """Whether the file's footer is whole."""
        try:
            pq.read_metadata(path)
        except (OSError, ValueError):
            return False
        return True


def _named_by_key(part: Part) -> str:
    return f"part-{part.index:05d}-{part.key[:12]}"


@dataclass(frozen=True)
class Kept(Generic[Result]):
    """How the parts of one kind of work are kept.

    Attributes:
        what: the work, in a word, for messages: ``sweep``.
        form: of a part on disk.
        note: name of the file that describes the work.
        inside: the folder within the work's own in which parts lie; empty: beside the note.
        name: a part's file name without suffix.
        anew: what is done about a damaged part, for the warning.
        check: refuses a note of another version, given its path and what it holds.
    """

    what: str
    form: Form[Result]
    note: str = "parts.json"
    inside: str = ""
    name: Callable[[Part], str] = _named_by_key
    anew: str = "it is computed anew"
    check: Callable[[Path, Any], None] | None = None


def cut(work: Mapping[str, Any], tasks: Sequence[Any]) -> list[Part]:
    """The parts of a piece of work.

    Args:
        work: what the bytes of every part depend on, in JSON.
        tasks: what each part is of it, in JSON.
    """
    whole = hash_json(work)
    return [Part(index, hash_json({"work": whole, "part": task}), task) for index, task in enumerate(tasks)]


class Parts(Generic[Result]):
    """The parts of one piece of work in a folder; inside a ``with`` block no other process can work on them.

    ::

        with Parts(folder, work, tasks, Kept("sweep", Tables())) as parts:
            for part, table in parts.compute(Compute(function, payload, model), engine):
                bar.advance(len(table))
            whole = pd.concat(parts.read())

    Args:
        folder: of the work; made where it is missing.
        work: what the bytes of every part depend on, in JSON; written to the note.
        tasks: what each part is of it, in JSON, in the order in which parts are read.
        kept: how they are kept.

    Raises:
        EmotionCircuitsError: (entering the block) another process is at work there, or the folder holds other work.
    """

    def __init__(self, folder: Path, work: Mapping[str, Any], tasks: Sequence[Any], kept: Kept[Result]) -> None:
        self.folder, self.kept = folder, kept
        self.work: dict[str, Any] = json.loads(json.dumps(work))
        self.all = cut(self.work, tasks)
        self.place = folder / kept.inside
        self._left: list[Part] = []
        self._exit = ExitStack()

    def __enter__(self) -> Parts[Result]:
        make_folder(self.folder)
        busy = f"another process is working on this {self.kept.what}; wait for it or use another folder"
        with self._exit:
            self._exit.enter_context(locked(self.folder, busy))
            self._claim()
            self._sweep()
            self._ledger = Ledger(self.place)
            self._left = [part for part in self.all if not self._trusted(part)]
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def path(self, part: Part) -> Path:
        """Where a part is, or will be."""
        return self.place / f"{self.kept.name(part)}{self.kept.form.suffix}"

    def missing(self) -> list[Part]:
        """The parts that are still to be computed."""
        return list(self._left)

    def compute(self, compute: Compute[Result], engine: Engine | None = None) -> Iterator[tuple[Part, Result]]:
        """Compute what is missing, and commit each part when it is done.

        Args:
            compute: how.
            engine: where; in this process by default.

        Yields:
            Every part with its result, after it was committed, in the order in which they are done.

        Raises:
            EmotionCircuitsError: as the engine, or a part cannot be written. What was committed is kept.
        """
        running = (engine or Inline()).run(compute.settled(len(self.all)), self.missing())
        # Whatever ends the block ends what is being computed: the engine need not wait to be forgotten.
        self._exit.callback(_stop, running)
        for part, result in running:
            path = self.path(part)
            with replacing(path) as temporary:
                self.kept.form.write(result, temporary)
                self._ledger.record(path.name, temporary)
            self._left.remove(part)
            yield part, result

    def read(self) -> Iterator[Result]:
        """What came of every part, in order.

        Raises:
            EmotionCircuitsError: some are still to be computed.
        """
        if self._left:
            raise EmotionCircuitsError(
                f"{self.folder}: {len(self._left)} of {len(self.all)} parts are not computed yet"
            )
        for part in self.all:
            yield self.kept.form.read(self.path(part))

    def remove(self) -> None:
        """Remove the folder within the work's own in which parts lie, once what they were joined into is written."""
        if self.kept.inside:
            shutil.rmtree(self.place, ignore_errors=True)

    def _claim(self) -> None:
        """Write the note, or see that what lies here is of this very work."""
        note = self.folder / self.kept.note
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            write_json(note, self.work)
            return
        except (OSError, ValueError) as error:
            raise EmotionCircuitsError(f"{note}: is damaged ({error}); delete {self.folder} to begin anew") from error
        if self.kept.check is not None:
            self.kept.check(note, found)
        there = found if isinstance(found, dict) else {}
        if there != self.work:
            keys = [k for k in {**self.work, **there} if there.get(k) != self.work.get(k) and k not in _SEALS]
            raise EmotionCircuitsError(
                f"{self.folder}: holds a {self.kept.what} of something else (it differs in "
                f"{', '.join(keys) or 'its format'}); choose another folder or delete this one"
            )

    def _sweep(self) -> None:
        """Remove what a process that was killed left half written."""
        for folder in {self.folder, self.place}:
            sweep(folder)

    def _trusted(self, part: Part) -> bool:
        path = self.path(part)
        if not path.is_file():
            return False
        whole = self._ledger.verdict(path) != "damaged" and self.kept.form.opens(path)
        if not whole:
            _log.warning("%s: is damaged; %s", path, self.kept.anew)
        return whole


def _stop(running: Iterator[Any]) -> None:
    if isinstance(running, Generator):
        running.close()


def results(
    folder: Path | None,
    work: Mapping[str, Any],
    tasks: Sequence[Any],
    compute: Compute[Result],
    kept: Kept[Result],
    *,
    engine: Engine | None = None,
    title: str = "",
) -> list[Result]:
    """What comes of every part, in order: of those that the folder holds, without computing them again.

    Args:
        folder: where parts are kept, in a folder that has its name from the work, until the caller has written what it makes
            of them and removes ``folder``. Parts of other work are left alone. ``None``: nothing is kept.
        work: as for :class:`Parts`.
        tasks: as for :class:`Parts`.
        compute: how a part is computed.
        kept: how they are kept.
        engine: where they are computed; in this process by default.
        title: of the progress bar, by default ``kept.what``.

    Raises:
        EmotionCircuitsError: as :class:`Parts` and the engine.
    """
    with progress_bar(title or kept.what, len(tasks)) as bar:
        if folder is None:
            found: dict[int, Result] = {}
            running = (engine or Inline()).run(compute.settled(len(tasks)), cut(work, tasks))
            try:
                for part, result in running:
                    found[part.index] = result
                    bar.advance()
            finally:
                _stop(running)
            return [found[index] for index in range(len(tasks))]
        with Parts(folder / hash_json(work)[:12], work, tasks, kept) as parts:
            bar.advance(len(tasks) - len(parts.missing()))
            for _ in parts.compute(compute, engine):
                bar.advance()
            return list(parts.read())
