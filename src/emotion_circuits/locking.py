"""One process at a time in a folder. The lock goes with its process: one that was killed leaves nothing to clean up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import cannot_write

__all__ = ["LOCK", "locked"]

LOCK = ".lock"


@contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a folder that exists.

    Args:
        folder: whose.
        busy: what to say where another process holds it.

    Raises:
        EmotionCircuitsError: another process holds it, or the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    # Only taking the lock is guarded: an OSError of the work inside is another matter.
    try:
        lock.acquire()
    except Timeout:
        raise EmotionCircuitsError(f"{folder}: {busy}") from None
    except (OSError, NotImplementedError) as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()
