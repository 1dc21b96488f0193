"""A server that another program started ends when that program does, however it ends.

A killed program tells nobody. Its end of a pipe is closed by the kernel, and its children are given another parent: either is
seen here, and the whole process group, which is the server's own, is killed. So go the processes that vLLM started, too.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
import time

__all__ = ["WATCHED", "watch"]

WATCHED = "EMOTION_CIRCUITS_WATCHED_PIPE"
"""Environment variable: inode of the pipe that is the standard input of the process to end; whoever holds its other end lives."""

_LOOK = 1.0  # seconds after which it is looked who the parent is


def watch() -> bool:
    """Begin to watch, where this process was asked to; a process that merely inherited the variable was not.

    Returns:
        Whether it watches.
    """
    # Taken out, so that processes started from here on, whose standard input is another, never look at theirs.
    asked = os.environ.pop(WATCHED, None)
    if asked is None or not _is_it(asked):
        return False
    threading.Thread(target=_wait, args=(os.getppid(),), name="emotion-circuits watch", daemon=True).start()
    return True


def _is_it(asked: str) -> bool:
    try:
        found = os.fstat(0)
    except OSError:
        return False
    return stat.S_ISFIFO(found.st_mode) and str(found.st_ino) == asked


def _wait(parent: int) -> None:
    while True:
        try:
            ready, _, _ = select.select([0], [], [], _LOOK)
        except OSError:  # its end was closed here: the parent alone can be seen then
            ready = []
            time.sleep(_LOOK)
        # Nothing is ever written into it: that it can be read means that it was closed. A process forked by the parent may hold
        # the other end beyond its death, which is why the parent is looked at as well.
        if (ready and not os.read(0, 4096)) or os.getppid() != parent:
            os.killpg(os.getpgrp(), signal.SIGKILL)
