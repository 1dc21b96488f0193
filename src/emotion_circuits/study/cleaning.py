"""What a run's folder no longer needs: listed first, removed only when that is asked for, and nothing beside the list."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import LOCK, locked
from emotion_circuits.record.notes import NOTE, files_of, read_note
from emotion_circuits.record.parts import PARTS
from emotion_circuits.record.reading import is_run, stations_of
from emotion_circuits.record.running import BUSY, SUPERSEDED, forget_files
from emotion_circuits.record.station import Remade
from emotion_circuits.stations.registry import stations
from emotion_circuits.temporaries import abandoned, is_temporary

__all__ = ["Spare", "clean_run", "spare_files"]


@dataclass(frozen=True)
class Spare:
    """Something that can go.

    Attributes:
        path: a file, or a folder with all that is in it.
        bytes: how much it holds.
        reason: why it is not needed.
        removed: whether it is gone.
    """

    path: Path
    bytes: int
    reason: str
    removed: bool = False


def spare_files(folder: Path, *, captures: bool = False) -> list[Spare]:
    """What can go.

    Args:
        folder: of a run.
        captures: also what a finished station can be without (the shards of a capture, the largest part of a run): reading,
            steering, tracing and the report go on without them; a station that is to be computed again makes them anew, and
            ``align`` needs them.

    What a person put there is no part of it, in a folder that was moved aside neither.

    Raises:
        EmotionCircuitsError: not the folder of a run.
    """
    _check(folder)
    found: list[Spare] = []
    old = folder / SUPERSEDED
    if old.is_dir() and not old.is_symlink():
        for entry in sorted(old.iterdir()):
            found += _spared(entry, _written(entry), "superseded: made from other inputs")
    for path in sorted(folder.rglob(".*.tmp")):
        if is_temporary(path) and abandoned(path) and old not in path.parents:
            found.append(Spare(path, _size(path), "half written by a process that was stopped"))
    for name in stations_of(folder):
        note = read_note(folder / name)
        if note is None or note.get("status") != "complete":
            continue
        kept = set(note.get("files", {}))
        for parts in sorted((folder / name).rglob("parts")):
            if parts.is_dir() and not any(
                file.startswith(f"{parts.relative_to(folder / name).as_posix()}/") for file in kept
            ):
                found += _spared(parts, _is_part, "parts of a table that is whole")
        for remade in _remade(name):
            for path in sorted((folder / name).glob(remade.pattern)):
                if path.name not in kept:
                    found.append(Spare(path, _size(path), "left by another run of the station"))
                elif captures:
                    found.append(Spare(path, _size(path), f"{remade.what}, made again when a station needs them"))
    return found


def clean_run(folder: Path, *, captures: bool = False) -> list[Spare]:
    """Remove what :func:`spare_files` lists, under the run's lock.

    Returns:
        What was listed, with ``removed`` true where it is gone.

    Raises:
        EmotionCircuitsError: not the folder of a run, a living run works in it, or a file cannot be removed.
    """
    _check(folder)
    with locked(folder, BUSY):
        listed = spare_files(folder, captures=captures)
        for name in stations_of(folder):
            # What is listed beside the station's own files was never in its note.
            known = (read_note(folder / name) or {}).get("files", {})
            gone = [s.path.name for s in listed if s.path.parent == folder / name and s.path.name in known]
            if gone:
                forget_files(folder / name, gone)
        done: list[Spare] = []
        for spare in listed:
            try:
                if spare.path.is_dir() and not spare.path.is_symlink():
                    shutil.rmtree(spare.path)
                else:
                    spare.path.unlink()
            except OSError as error:
                raise EmotionCircuitsError(
                    f"{spare.path}: cannot be removed: {error.strerror} ({_freed(done)} bytes were freed before)"
                ) from error
            done.append(Spare(spare.path, spare.bytes, spare.reason, removed=True))
        old = folder / SUPERSEDED
        if old.is_dir() and not any(old.iterdir()):
            old.rmdir()
    return done


_SUFFIXES = (".json", ".parquet", ".safetensors")


def _is_part(path: Path) -> bool:
    return path.suffix in _SUFFIXES


def _spared(entry: Path, ours: Callable[[Path], bool], reason: str) -> list[Spare]:
    """A folder as a whole where everything in it is ours; else our files alone, so that a person's own stay."""
    if entry.is_symlink():
        return [Spare(entry, _size(entry), reason)]
    if not entry.is_dir():
        return []
    files = [p for p in sorted(entry.rglob("*")) if p.is_symlink() or not p.is_dir()]
    own = [p for p in files if p.name == LOCK or is_temporary(p) or ours(p)]
    if len(own) == len(files):
        return [Spare(entry, _size(entry), reason)]
    return [Spare(p, _size(p), reason) for p in own]


def _written(entry: Path) -> Callable[[Path], bool]:
    """Whether a file of a station that was moved aside is one that the station wrote."""
    try:
        note = read_note(entry, entry.name.rpartition("-")[0])
    except EmotionCircuitsError:
        note = {}
    if note is None:
        return lambda _: False
    files = files_of(note)
    if files is None:
        # One that was interrupted has noted no names; a station writes nothing but such files.
        return lambda path: path.suffix in _SUFFIXES
    names = {NOTE, *files}
    return lambda path: path.relative_to(entry).as_posix() in names or path.parent.name == PARTS


def _remade(name: str) -> tuple[Remade, ...]:
    return next((station.remade for station in stations() if station.name == name), ())


def _check(folder: Path) -> None:
    if not folder.is_dir() or not is_run(folder):
        raise EmotionCircuitsError(f"{folder}: is not the folder of a run; nothing was removed")


def _freed(done: Sequence[Spare]) -> int:
    return sum(spare.bytes for spare in done)


def _size(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() or p.is_symlink())
