"""SHA-256 of large files, computed once."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import cache_dir, file_sha256, hash_json, write_json

__all__ = ["remember_sha256", "remembered_sha256"]


def remembered_sha256(file: Path) -> str:
    """A file's SHA-256, remembered by its place, size and time of change, so that a large file is read once."""
    try:
        return str(json.loads(_note(file).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        found = file_sha256(file)
        remember_sha256(file, found)
        return found


def remember_sha256(file: Path, total: str) -> None:
    """Note a sum that is known from writing the file."""
    with suppress(EmotionCircuitsError):  # a cache that cannot be written costs time, nothing else
        write_json(_note(file), {"sha256": total, "file": str(file)})


def _note(file: Path) -> Path:
    stat = file.stat()
    key = hash_json([str(file.resolve()), stat.st_size, stat.st_mtime_ns])
    return cache_dir() / "sha256" / f"{key[:32]}.json"
