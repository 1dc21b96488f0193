"""Where files live, and how they are written: to a temporary name first, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from safetensors import SafetensorError

from emotion_circuits.documents import read_json_file
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.temporaries import held_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "cache_dir",
    "cannot_write",
    "file_sha256",
    "hash_json",
    "make_folder",
    "path_of",
    "read_json",
    "replacing",
    "write_json",
    "write_table",
]


def cache_dir() -> Path:
    """The user's cache for this program; ``EMOTION_CIRCUITS_CACHE`` overrides it."""
    override = os.environ.get("EMOTION_CIRCUITS_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("emotion-circuits"))


def path_of(name: str | os.PathLike[str]) -> Path:
    """The path a person wrote: ``~`` is their own folder; one of somebody who is not there is taken as it stands."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  (Path's own raises RuntimeError where there is no such person)


def file_sha256(path: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file, read in blocks; ``progress`` receives the size of each block in bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EFBIG: "lift the limit on file sizes (ulimit -f), or use another file system",
    errno.EROFS: "use a folder that can be written to",
    errno.EACCES: "use a folder that you may write to",
    errno.EPERM: "use a folder that you may write to",
}


def cannot_write(path: Path, error: Exception) -> EmotionCircuitsError:
    """What to tell a person whose file could not be written: which one, why, and what to do.

    Args:
        path: the file or folder meant.
        error: an ``OSError``, or a library's error whose text holds ``os error <number>``.
    """
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"os error (\d+)", str(error))):
        number = int(found.group(1))
    why = os.strerror(number) if number else str(error)
    remedy = _REMEDIES.get(number or 0, "see to it")
    return EmotionCircuitsError(
        f"{path}: cannot be written: {why}. What was finished before is kept: {remedy} and run the same command again"
    )


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents, where they are missing.

    Raises:
        EmotionCircuitsError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without an error.

    The block should do nothing but write.

    Raises:
        EmotionCircuitsError: it cannot be written (a full disk, a read-only folder …); what was at ``path`` is untouched.
    """
    make_folder(path.parent)
    try:
        with held_file(path) as temporary:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        EmotionCircuitsError: it cannot be read, or is damaged.
    """
    return read_json_file(path, damaged="is damaged: it")


def write_json(path: Path, value: Any) -> None:
    """Write JSON (UTF-8, indented, keys in the order given) atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, atomically."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)
