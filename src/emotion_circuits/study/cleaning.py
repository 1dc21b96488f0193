"""What a run's folder no longer needs: listed first, removed only when that is asked for, and nothing beside the list."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.locking import locked
from emotion_circuits.paths import is_temporary
from emotion_circuits.study.reading import STAGE_NAMES, is_run
from emotion_circuits.study.running import BUSY, SUPERSEDED, forget_files, read_stage

__all__ = ["Spare", "clean_run", "spare_files"]

_STATES = "captured states, made again when a stage needs them"


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
        captures: also the shards of the finished capture, the largest part of a run. Reading, steering, tracing and the report
            go on without them; a stage that is to be computed again captures them anew, and ``align`` needs them.

    Raises:
        EmotionCircuitsError: not the folder of a run.
    """
    _check(folder)
    found: list[Spare] = []
    old = folder / SUPERSEDED
    if old.is_dir() and not old.is_symlink():
        found += [Spare(p, _size(p), "superseded: made from other inputs") for p in sorted(old.iterdir())]
    for path in sorted(folder.rglob(".*.tmp")):
        if is_temporary(path) and path.is_file() and old not in path.parents:
            found.append(Spare(path, _size(path), "half written by a process that was stopped"))
    for stage in STAGE_NAMES:
        note = read_stage(folder / stage)
        if note is None or note.get("status") != "complete":
            continue
        kept = set(note.get("files", {}))
        for parts in sorted((folder / stage).rglob("parts")):
            if parts.is_dir() and not any(
                name.startswith(f"{parts.relative_to(folder / stage).as_posix()}/") for name in kept
            ):
                found.append(Spare(parts, _size(parts), "parts of a table that is whole"))
        if stage == "capture":
            for path in sorted((folder / stage).glob("shard-*.safetensors")):
                if path.name not in kept:
                    found.append(Spare(path, _size(path), "shard of another capture"))
                elif captures:
                    found.append(Spare(path, _size(path), _STATES))
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
        states = [s.path.name for s in listed if s.reason == _STATES]
        if states:
            forget_files(folder / "capture", states)
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


def _check(folder: Path) -> None:
    if not folder.is_dir() or not is_run(folder):
        raise EmotionCircuitsError(f"{folder}: is not the folder of a run; nothing was removed")


def _freed(done: Sequence[Spare]) -> int:
    return sum(spare.bytes for spare in done)


def _size(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() or p.is_symlink())
