"""The engine of a server whose texts vLLM writes: the same door as :class:`.engine.Engine`, another room behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.replicas import replica
from emotion_circuits.model.stepping import Row, Task, Token
from emotion_circuits.model.vllm import Asking, Client
from emotion_circuits.serve.engine import FullError, Limits, News, Ticket, full, refuse_too_much

__all__ = ["VllmEngine"]


@dataclass(eq=False)
class _Asked(Ticket):
    """A request that vLLM works on.

    Attributes:
        askings: one for each text, so that one that ends early is given up by itself.
        ends: when it ends for want of time.
    """

    askings: tuple[Asking, ...] = ()
    ends: threading.Timer | None = None

    def cancel(self) -> None:
        """It is not wanted any more; vLLM gives its texts up."""
        self.gone = True
        for asking in self.askings:
            asking.cancel()


class VllmEngine:
    """Hands what is submitted on to vLLM; to be used in a ``with`` block.

    Args:
        model: whose texts they are. Nothing is computed with it; its tokenizer makes texts of tokens.
        client: of the service.
        limits: of rows, tokens, queue and time; how many rows are written at once is vLLM's own, and what is beyond waits there.
    """

    def __init__(self, model: LanguageModel, client: Client, limits: Limits | None = None) -> None:
        self.model, self.client, self.limits = model, client, limits or Limits()
        self.tokens_written = 0
        self._open: dict[_Asked, int] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._pace = 1.0
        self._spare: list[LanguageModel] = []  # replicas: a tokenizer refuses two threads

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._closed = True
            left = list(self._open)
        for ticket in left:
            ticket.cancel()

    @property
    def _texts(self) -> int:
        return sum(self._open.values())

    @property
    def running(self) -> int:
        """Texts that are being written."""
        return min(self._texts, self.limits.rows)

    @property
    def waiting(self) -> int:
        """Texts beyond those."""
        return max(self._texts - self.limits.rows, 0)

    @property
    def alive(self) -> bool:
        """Whether vLLM answers."""
        try:
            return bool(self.client.about())
        except (OSError, EmotionCircuitsError):
            return False

    def submit(self, tasks: Sequence[Task], news: News) -> Ticket:
        """Have tasks written.

        Args:
            tasks: of one request.
            news: told of every token, by threads of the engine, one text's in order.

        Raises:
            EmotionCircuitsError: a task that vLLM cannot carry, or more than are ever written at once.
            FullError: too much is waiting.
        """
        for task in tasks:
            task.check(self.model)
        ticket = _Asked(list(tasks), news, time.monotonic() + self.limits.seconds)
        refuse_too_much(tasks, ticket.size, self.limits)
        ticket.askings = tuple(Asking(self.client, self.model, [task]) for task in tasks)
        ticket.rows = [asking.rows[0] for asking in ticket.askings]
        with self._lock:
            if self._closed:
                raise FullError(60)
            if self._texts and self._texts + len(tasks) > self.limits.rows + self.limits.queue:
                raise full(self._pace, self.waiting, self.limits)
            self._open[ticket] = len(tasks)
        ticket.ends = threading.Timer(self.limits.seconds, self._late, (ticket,))
        ticket.ends.daemon = True
        ticket.ends.start()
        for place, asking in enumerate(ticket.askings):
            threading.Thread(
                target=self._write, args=(ticket, place, asking), name="emotion-circuits vllm", daemon=True
            ).start()
        return ticket

    def _late(self, ticket: _Asked) -> None:
        ticket.late = True
        ticket.cancel()

    def _write(self, ticket: _Asked, place: int, asking: Asking) -> None:
        start, ended = time.monotonic(), False

        def told(_task: int, token: Token | None, row: Row) -> None:
            nonlocal ended
            if token is None:
                ended = True
                self._done(ticket, time.monotonic() - start)
            else:
                self.tokens_written += 1
            ticket.news(place, token, row)

        with self._lock:
            asking.model = self._spare.pop() if self._spare else replica(self.model)
        try:
            asking.run(told)
        except Exception as error:
            # Whoever waits for it gets an answer.
            if not ended:
                row = asking.rows[0]
                row.reason, row.error = ("cancelled", "") if asking.gone else ("error", str(error))
                told(0, None, row)
        finally:
            with self._lock:
                self._spare.append(asking.model)

    def _done(self, ticket: _Asked, seconds: float) -> None:
        """Before its last news: whoever has an answer is no longer counted."""
        with self._lock:
            self._pace = 0.8 * self._pace + 0.2 * seconds
            left = self._open.get(ticket, 0) - 1
            if left > 0:
                self._open[ticket] = left
                return
            self._open.pop(ticket, None)
        if ticket.ends is not None:
            ticket.ends.cancel()
