"""The note in a station's folder, and the only way to its files: what a finished station wrote is read as it was written, or not.

``stage.json`` says ``running`` while a station works and ``complete`` with the SHA-256 of every file when it is done.
:func:`checked` stands before every reading of a file that may be a station's, wherever it is read from; :func:`is_there` before
every question whether there is one, since a file that was deleted is not one that was never written.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import file_sha256
from emotion_circuits.sealing import SEAL, broken, unsealed, write_sealed

__all__ = [
    "FORMAT",
    "NOTE",
    "READS",
    "checked",
    "files_of",
    "going_on",
    "is_there",
    "read_note",
    "remedy",
    "write_note",
]

NOTE = "stage.json"
FORMAT = 3
"""Version of ``stage.json``: from 3 on it carries a seal."""
READS = (2, FORMAT)
_DEPTH = 3
"""A station keeps files in its folder, and in folders there (``steering/test/sweep.parquet``)."""
_SETTLED = 2_000_000_000
"""Nanoseconds: two changes within a tick of the file system's clock leave one time of change."""
_seen: dict[tuple[str, int, int, int, int], str] = {}


def write_note(folder: Path, note: dict[str, Any]) -> None:
    """Write a station's note: ``status``, ``key`` and what else it holds."""
    write_sealed(folder / NOTE, {"format": FORMAT, "station": folder.name, **note})


def remedy(folder: Path) -> str:
    """What makes a station's files again."""
    return f"delete {folder} and run '{going_on(folder.parent)}' to compute it again"


def going_on(run: Path) -> str:
    """The command that goes on with a run, with its own settings."""
    return shlex.join(["emotion-circuits", "run", "--out", str(run)])


def read_note(folder: Path, station: str | None = None) -> dict[str, Any] | None:
    """What ``stage.json`` of a station's folder says: ``status``, ``key``, and where it is complete ``files`` and ``timing``.

    ``timing`` holds ``seconds``, ``threads`` and ``whole`` (false where the station went on with interrupted work, whose time
    is not counted); runs of earlier versions have none.

    Args:
        folder: of the station.
        station: its name, where the folder has another one.

    Returns:
        ``None`` where there is no such file.

    Raises:
        EmotionCircuitsError: it is damaged or was changed, or another version wrote it.
    """
    note = folder / NOTE
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise EmotionCircuitsError(f"{note}: is damaged ({error}); {remedy(folder)}") from error
    except OSError as error:
        raise EmotionCircuitsError(f"{note}: cannot be read: {error.strerror}") from error
    if not isinstance(found, dict) or "status" not in found:
        raise EmotionCircuitsError(f"{note}: is damaged (it is not the note of a station); {remedy(folder)}")
    if found.get("format", 2) not in READS:
        raise EmotionCircuitsError(
            f"{note}: has format {found['format']}, this version reads {FORMAT}: another version of emotion-circuits made this "
            "run; use that version, or another folder"
        )
    if broken(found) or (found.get("format") == FORMAT and SEAL not in found):
        raise EmotionCircuitsError(
            f"{note}: was changed after it was written (it differs from its own seal); {remedy(folder)}"
        )
    plain: dict[str, Any] = unsealed(found)
    own = station or folder.name
    if plain.get("station", own) != own:
        raise EmotionCircuitsError(f"{note}: is the note of station '{plain['station']}'; {remedy(folder)}")
    return plain


def files_of(note: dict[str, Any] | None) -> dict[str, str] | None:
    """The sums in the note of a complete station by the files' names; ``None`` where it is not complete."""
    if note is None or note.get("status") != "complete" or not isinstance(note.get("files"), dict):
        return None
    return dict(note["files"])


def checked(path: Path) -> Path:
    """A file, after its sum was compared with the one in the note of the finished station that wrote it.

    Each is read once for its sum, as long as it stays as it is. Files of no station, or of one that has not finished, pass.

    Args:
        path: of any file.

    Returns:
        The same path.

    Raises:
        EmotionCircuitsError: it is gone or was changed, or the note is damaged.
    """
    found = _noted(path)
    if found is None:
        return path
    folder, digest = found
    if not path.is_file():
        raise EmotionCircuitsError(f"{path}: is missing, though station '{folder.name}' was complete; {remedy(folder)}")
    try:
        same = _sum(path) == digest
    except OSError as error:
        raise EmotionCircuitsError(f"{path}: cannot be read: {error.strerror}") from error
    if not same:
        raise EmotionCircuitsError(
            f"{path}: was changed after it was written by station '{folder.name}' (SHA-256 differs); {remedy(folder)}"
        )
    return path


def is_there(path: Path) -> bool:
    """Whether there is such a file; one that a finished station wrote is not merely absent.

    Raises:
        EmotionCircuitsError: a finished station wrote it, and it is gone; or the note is damaged.
    """
    if path.is_file():
        return True
    checked(path)
    return False


def _noted(path: Path) -> tuple[Path, str] | None:
    """The folder of the station that a file belongs to and the sum noted there."""
    for folder in path.parents[:_DEPTH]:
        if (folder / NOTE).is_file():
            digest = (files_of(read_note(folder)) or {}).get(path.relative_to(folder).as_posix())
            return None if digest is None else (folder, digest)
    return None


def _sum(path: Path) -> str:
    """A file's SHA-256, computed once per process while the file stays as it is.

    The time of change of the inode counts too: the other one can be set back. What changed just now is not remembered.
    """
    stat = path.stat()
    key = (str(path.resolve()), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _seen:
        found = file_sha256(path)
        if time.time_ns() - stat.st_ctime_ns <= _SETTLED:
            return found
        _seen[key] = found
    return _seen[key]
