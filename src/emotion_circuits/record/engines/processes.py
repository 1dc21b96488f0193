"""Parts computed by worker processes of this machine.

Every worker is an executor of its own with one process, so that one that is killed costs the part it was computing and
no other. Workers stay between pieces of work with the model they have loaded. They write no file: what they computed is
handed to this process, which keeps it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread
from typing import Any

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.engines import Part
from emotion_circuits.record.engines.pool import LostError, Pool
from emotion_circuits.record.engines.working import Bench, Order

__all__ = ["Processes"]

_log = logging.getLogger(__name__)


class _Spawning(SpawnContext):
    """Begins processes, and knows the one it began."""

    begun: SpawnProcess

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        self.begun = SpawnProcess(*arguments, **options)
        return self.begun


class _Worker:
    """An executor of one process, which is begun with the first part sent."""

    def __init__(self) -> None:
        self._context = _Spawning()
        self._executor = ProcessPoolExecutor(1, self._context, initializer=_end_with_parent)
        self._order = ""

    def send(self, order: Order, part: Part) -> Future[bytes]:
        """As :meth:`emotion_circuits.record.engines.pool.Worker.send`."""
        written = None if self._order == order.name else order.written
        try:
            with _deaf_to_interrupts():
                future = self._executor.submit(_work, order.name, written, part.task)
        except BrokenProcessPool as error:
            raise LostError(self._how_it_ended()) from error
        self._order = order.name
        return future

    def answer(self, done: Future[bytes]) -> bytes:
        """As :meth:`emotion_circuits.record.engines.pool.Worker.answer`."""
        try:
            return done.result()
        except BrokenProcessPool as error:
            raise LostError(self._how_it_ended()) from error

    def end(self) -> None:
        """End the process at once, whatever it is doing."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._context.begun.kill()

    def _how_it_ended(self) -> str:
        """In words, of a process that is gone."""
        process, until = self._context.begun, time.monotonic() + 5
        # The executor reaps it, which may be a moment later.
        while process.exitcode is None and time.monotonic() < until:
            time.sleep(0.01)
        code = process.exitcode
        return f"ended with exit code {code}" if code is None or code >= 0 else f"was killed by signal {-code}"


class Processes(Pool[_Worker]):
    """Worker processes, started when they are first needed.

    Args:
        workers: how many; by default as many as the cores hold, each with the threads of this process. A part is computed
            with the threads it would have in this process, because its bytes may depend on them: on a processor set
            ``OMP_NUM_THREADS`` to the number of cores over the number of workers.

    Raises:
        EmotionCircuitsError: fewer than one worker.
    """

    def __init__(self, workers: int | None = None) -> None:
        cores, threads = os.cpu_count() or 1, torch.get_num_threads()
        super().__init__(max(1, cores // threads) if workers is None else workers)
        if self.workers < 1:
            raise EmotionCircuitsError(f"workers must be 1 or more, got {workers}")
        if self.workers * threads > max(cores, threads):
            _log.warning(
                "%d workers of %d threads each share %d cores; OMP_NUM_THREADS=%d would be faster",
                self.workers, threads, cores, max(1, cores // self.workers),
            )  # fmt: skip

    def _hire(self, wanted: int, *, patiently: bool) -> _Worker:
        return _Worker()

    def _remedy(self) -> str:
        if self._were_up:
            return ""
        return (
            ". None has computed anything yet: a script that starts worker processes must do so under "
            "'if __name__ == \"__main__\":'"
        )


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes begun inside never see Ctrl-C, which a terminal sends to them too: this one hears it and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in a worker -------------------------------------------------------------------------------------------------------


_bench = Bench()


def _end_with_parent() -> None:
    """Nobody takes the results of a worker whose parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _work(name: str, written: bytes | None, task: Any) -> bytes:
    return _bench.work(name, written, task)
