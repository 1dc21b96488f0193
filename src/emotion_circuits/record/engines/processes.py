"""Parts computed by worker processes of this machine.

Every worker is an executor of its own with one process, so that one that is killed costs the part it was computing and
no other. Workers stay between pieces of work with the model they have loaded. They write no file: what they computed is
handed to this process, which keeps it.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread
from typing import Any, TypeVar

import torch
from safetensors.torch import load, save

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.source import ModelSource
from emotion_circuits.record.engines import Compute, Part

__all__ = ["ATTEMPTS", "Processes"]

ATTEMPTS = 3
"""How often a part is begun before it is given up: a worker may be killed by chance, hardly thrice on the same part."""

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Order:
    """What workers need for one piece of work.

    Attributes:
        name: hash of ``written``.
        written: the compute without its model, and the model's address; pickled.
    """

    name: str
    written: bytes

    @classmethod
    def of(cls, compute: Compute[Any]) -> _Order:
        source = None if compute.model is None else ModelSource.of(compute.model)
        written = pickle.dumps((replace(compute, model=None), source))
        return cls(hashlib.sha256(written).hexdigest(), written)


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

    def send(self, order: _Order, part: Part) -> Future[bytes]:
        """Begin a part.

        Raises:
            BrokenProcessPool: the process is gone.
        """
        written = None if self._order == order.name else order.written
        with _deaf_to_interrupts():
            future = self._executor.submit(_work, order.name, written, part.task)
        self._order = order.name
        return future

    def end(self) -> None:
        """End the process at once, whatever it is doing."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._context.begun.kill()

    def how_it_ended(self) -> str:
        """In words, of a process that is gone."""
        process, until = self._context.begun, time.monotonic() + 5
        # The executor reaps it, which may be a moment later.
        while process.exitcode is None and time.monotonic() < until:
            time.sleep(0.01)
        code = process.exitcode
        return f"ended with exit code {code}" if code is None or code >= 0 else f"was killed by signal {-code}"


class Processes:
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
        self.workers = max(1, cores // threads) if workers is None else workers
        if self.workers < 1:
            raise EmotionCircuitsError(f"workers must be 1 or more, got {workers}")
        if self.workers * threads > max(cores, threads):
            _log.warning(
                "%d workers of %d threads each share %d cores; OMP_NUM_THREADS=%d would be faster",
                self.workers, threads, cores, max(1, cores // self.workers),
            )  # fmt: skip
        self._idle: list[_Worker] = []
        self._were_up = False

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """As :meth:`emotion_circuits.record.engines.Engine.run`.

        Raises:
            EmotionCircuitsError: besides, the model cannot be loaded by another process, or the worker of one part was killed
                again and again.
        """
        if not parts:
            return
        order = _Order.of(compute)
        waiting, lost = deque(parts), Counter[int]()
        running: dict[Future[bytes], tuple[_Worker, Part]] = {}

        def employ(worker: _Worker) -> None:
            part = waiting.popleft()
            try:
                running[worker.send(order, part)] = worker, part
            except BrokenProcessPool:  # killed while it had nothing to do
                worker.end()
                successor = _Worker()
                running[successor.send(order, part)] = successor, part

        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    employ(self._idle.pop() if self._idle else _Worker())
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, part = running[done]
                    try:
                        result: Result = _unpacked(done.result())
                    except BrokenProcessPool:
                        del running[done]
                        lost[part.index] += 1
                        self._lost(part, lost[part.index], worker)
                        waiting.appendleft(part)
                        continue
                    del running[done]
                    self._were_up = True
                    # The next part is computed while the caller keeps this one.
                    if waiting:
                        employ(worker)
                    else:
                        self._idle.append(worker)
                    yield part, result
        finally:
            for worker, _ in running.values():
                worker.end()

    def close(self) -> None:
        """End the workers; a later run starts others."""
        while self._idle:
            self._idle.pop().end()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lost(self, part: Part, times: int, worker: _Worker) -> None:
        how = worker.how_it_ended()
        worker.end()
        if times < ATTEMPTS:
            _log.warning("the worker process of part %d %s; the part is computed again", part.index, how)
            return
        what = "; use fewer workers or a smaller batch if memory was short"
        if not self._were_up:
            what += (
                ". None has computed anything yet: a script that starts worker processes must do so under "
                "'if __name__ == \"__main__\":'"
            )
        raise EmotionCircuitsError(
            f"part {part.index} ({str(part.task)[:80]}) was begun {times} times, and each time its worker process {how}{what}. "
            "Parts that were finished are kept"
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


@dataclass(eq=False)
class _Bench:
    """What a worker has at hand: the last model it loaded, the last order with its ground."""

    source: ModelSource | None = None
    model: LanguageModel | None = None
    order: str = ""
    compute: Compute[Any] | None = None
    ground: Any = None


_bench = _Bench()


def _end_with_parent() -> None:
    """Nobody takes the results of a worker whose parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _work(name: str, written: bytes | None, task: Any) -> bytes:
    if _bench.order != name:
        assert written is not None
        compute, source = pickle.loads(written)
        _bench.order, _bench.compute, _bench.ground = "", None, None
        if source is not None and source != _bench.source:
            _bench.source = _bench.model = None  # before the next one is loaded: memory may hold but one
            _bench.model = source.load()
            _bench.source = source
        model = None if source is None else _bench.model
        _bench.compute, _bench.ground = replace(compute, model=model), compute.ground(model)
        _bench.order = name
    assert _bench.compute is not None
    return _packed(_bench.compute.part(_bench.compute.model, _bench.ground, task))


def _packed(result: Any) -> bytes:
    """Tensors go as bytes: handed over as tensors they would lie in shared memory that goes with the worker."""
    if isinstance(result, dict):
        tensors: bytes = save({name: tensor.contiguous().cpu() for name, tensor in result.items()})
        return b"T" + tensors
    return b"P" + pickle.dumps(result)


def _unpacked(packed: bytes) -> Any:
    return load(packed[1:]) if packed[:1] == b"T" else pickle.loads(packed[1:])
