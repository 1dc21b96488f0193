"""Files and folders that are half written: held by the process that writes them, swept once no process does.

A process that is killed leaves what it was writing. Its hold (a lock on the file itself) goes with it, so that whoever comes
next can tell what is left over from what is being written, in any folder and without a lock on the folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # where files cannot be held, nothing is told apart, and nothing is swept
    fcntl = None  # type: ignore[assignment]

__all__ = ["abandoned", "held_file", "is_temporary", "scratch_folder", "sweep"]

_MARK = ".held"
_RANDOM = r"[a-z0-9_]{8}"
"""What makes a name that nobody else has, :mod:`tempfile`'s own among them."""


def is_temporary(path: Path) -> bool:
    """Whether a file is named as :func:`held_file` names those that are half written."""
    return re.fullmatch(rf"\..+\.{_RANDOM}\.tmp", path.name) is not None


def _try_to_hold(handle: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def held_file(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, held until the block ends and then removed, unless it was moved.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:  # readable by whom the user's umask allows, as any file that is written here
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:
            continue
        _try_to_hold(handle)
        # It may have been swept between the two.
        if _same(handle, temporary):
            break
        os.close(handle)
    if fcntl is None:
        os.close(handle)  # a file that is open cannot be moved there
    try:
        yield temporary
    finally:
        if fcntl is not None:
            os.close(handle)
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """An empty folder in another one, held until the block ends and then removed; what dead processes left there goes first.

    Args:
        parent: where.
        prefix: of its name, after a dot: ``.gguf-k3l2x9_q``.

    Raises:
        OSError: it cannot be made.
    """
    for left in parent.glob(f".{prefix}-*"):
        if re.fullmatch(rf"\.{re.escape(prefix)}-{_RANDOM}", left.name) and abandoned(left / _MARK):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{prefix}-", dir=parent) as name, (Path(name) / _MARK).open("wb") as mark:
        _try_to_hold(mark.fileno())
        inside = Path(name) / "new"
        inside.mkdir()
        yield inside


def sweep(folder: Path, *, deep: bool = False) -> list[Path]:
    """Remove the half-written files in a folder that no process holds any more; returns which.

    Args:
        folder: where.
        deep: in the folders in it too.
    """
    found = [
        path
        for path in sorted(folder.rglob(".*.tmp") if deep else folder.glob(".*.tmp"))
        if is_temporary(path) and abandoned(path)
    ]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def abandoned(path: Path) -> bool:
    """Whether a file is one of ours (no link, no folder) that no process holds."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and _try_to_hold(handle)
    finally:
        with suppress(OSError):
            os.close(handle)
