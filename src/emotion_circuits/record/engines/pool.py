"""Parts handed to workers one by one: each has one part at a time, and one that is lost costs that part alone."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Generic, Protocol, Self, TypeVar

from emotion_circuits.record.engines import Compute, Part
from emotion_circuits.record.engines.working import ATTEMPTS, Order, given_up, unpacked

__all__ = ["LostError", "Pool", "Worker"]

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class LostError(Exception):
    """A worker is gone; how, in words, a predicate: ``was killed by signal 9``."""


class Worker(Protocol):
    """What computes one part at a time."""

    def send(self, order: Order, part: Part) -> Future[bytes]:
        """Begin a part.

        Raises:
            LostError: the worker is gone.
        """

    def answer(self, done: Future[bytes]) -> bytes:
        """What came of a part that is done.

        Raises:
            LostError: the worker is gone.
        """

    def end(self) -> None:
        """End it at once, whatever it is doing."""


Kind = TypeVar("Kind", bound=Worker)


class Pool(Generic[Kind]):
    """The workers of an engine, hired when they are first needed; they stay between pieces of work.

    Attributes:
        workers: how many there are at most.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._idle: list[Kind] = []
        self._were_up = False

    def _hire(self, wanted: int, *, patiently: bool) -> Kind | None:
        """Another worker.

        Args:
            wanted: how many more would have something to do.
            patiently: wait until there is one. Otherwise ``None``, where none is up yet.
        """
        raise NotImplementedError

    def _order(self, compute: Compute[Result]) -> Order:
        """What workers need for a piece of work."""
        return Order.of(compute)

    def _remedy(self) -> str:
        """What else may help a part whose worker is lost again and again; begins with its punctuation."""
        return ""

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """As :meth:`emotion_circuits.record.engines.Engine.run`.

        Raises:
            EmotionCircuitsError: besides, the model cannot be loaded by another process, or the worker of one part was lost
                again and again.
        """
        if not parts:
            return
        order = self._order(compute)
        waiting, lost = deque(parts), Counter[int]()
        running: dict[Future[bytes], tuple[Kind, Part]] = {}

        def employ(worker: Kind) -> None:
            part = waiting.popleft()
            try:
                running[worker.send(order, part)] = worker, part
            except LostError:  # while it had nothing to do: no part's fault
                worker.end()
                waiting.appendleft(part)

        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    wanted = min(len(waiting), self.workers - len(running))
                    worker = self._idle.pop() if self._idle else self._hire(wanted, patiently=not running)
                    if worker is None:
                        break
                    employ(worker)
                short = bool(waiting) and len(running) < self.workers
                for done in wait(running, timeout=1 if short else None, return_when=FIRST_COMPLETED).done:
                    worker, part = running.pop(done)
                    try:
                        result: Result = unpacked(worker.answer(done))
                    except LostError as error:
                        worker.end()
                        lost[part.index] += 1
                        if lost[part.index] >= ATTEMPTS:
                            raise given_up(part, lost[part.index], str(error), self._remedy()) from error
                        _log.warning("the worker of part %d %s; the part is computed again", part.index, error)
                        waiting.appendleft(part)
                        continue
                    except BaseException:
                        worker.end()
                        raise
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
