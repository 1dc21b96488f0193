"""SHA-256 of large files, and whether bytes changed that nothing wrote to."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import cache_dir, file_sha256, hash_json, write_json

__all__ = ["fresh_sha256", "remember_sha256", "remembered_sha256"]

_SETTLED = (
    2.0  # seconds; the coarsest clock of a file system: a later write within them could leave all times as they are
)


def fresh_sha256(file: Path) -> str:
    """A file's SHA-256, from its bytes.

    Raises:
        EmotionCircuitsError: it holds other bytes than before, and neither its size, its times nor its place changed.
    """
    found, before = file_sha256(file), _noted(file)
    if before not in (None, found):
        raise EmotionCircuitsError(
            f"{file}: holds other bytes than when it was read before, and nothing has written to it since: the disk or its "
            "copy is damaged. Restore the file (writing it again is enough)"
        )
    if before is None and time.time() - file.stat().st_ctime > _SETTLED:
        remember_sha256(file, found)
    return found


def remembered_sha256(file: Path) -> str:
    """A file's SHA-256, known by its place, size and times where it was read before; for looks that load nothing."""
    return _noted(file) or fresh_sha256(file)


def remember_sha256(file: Path, total: str) -> None:
    """Note a sum that is known from writing the file."""
    with suppress(EmotionCircuitsError):  # a cache that cannot be written costs time, nothing else
        write_json(_note(file), {"sha256": total, "file": str(file), "seal": _seal(total)})


def _noted(file: Path) -> str | None:
    try:
        note = json.loads(_note(file).read_text(encoding="utf-8"))
        return str(note["sha256"]) if note["seal"] == _seal(note["sha256"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _seal(total: str) -> str:
    """Tells a damaged note, which would blame a healthy file."""
    return hash_json(["sha256", total])[:16]


def _note(file: Path) -> Path:
    # The time of the last change of status and the inode: the time of change alone can be set to anything.
    stat = file.stat()
    key = hash_json([str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return cache_dir() / "sha256" / f"{key[:32]}.json"
