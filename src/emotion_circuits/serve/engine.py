"""The engine of a server: one thread writes a running batch, requests wait in a queue of a stated length."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.stepping import Row, Stepper, Task, Token

__all__ = ["Engine", "FullError", "Limits", "News", "Ticket", "Writes"]

News = Callable[[int, Token | None, Row], None]
"""``(which task, token, row)`` for every token, and with ``None`` when the row has ended; called by the engine's thread."""


@dataclass(frozen=True)
class Limits:
    """What is worked on at once and what may wait.

    Attributes:
        rows: texts written at once.
        tokens: of their prompts and lengths together (what their cache may grow to).
        queue: texts that may wait.
        seconds: that a request may take, waiting included.
    """

    rows: int = 32
    tokens: int = 16_384
    queue: int = 64
    seconds: float = 120.0


class FullError(Exception):
    """Too much is waiting.

    Attributes:
        seconds: after which it is worth asking again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many texts are waiting; ask again in {seconds} s")
        self.seconds = seconds


@dataclass(eq=False)
class Ticket:
    """A request: its tasks are written together.

    Attributes:
        tasks: what is to be written.
        late: it took longer than allowed.
    """

    tasks: Sequence[Task]
    news: News
    deadline: float
    late: bool = False
    gone: bool = False
    rows: list[Row] = field(default_factory=list)
    told: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Tokens it may come to."""
        return sum(len(t.ids) + t.sampling.max_new_tokens for t in self.tasks)

    def cancel(self) -> None:
        """It is not wanted any more; its rows leave before the next step."""
        self.gone = True


def refuse_too_much(tasks: Sequence[Task], size: int, limits: Limits) -> None:
    """Refuse a request that no engine of these limits ever writes.

    Args:
        tasks: of the request.
        size: their tokens together.
        limits: of the engine.

    Raises:
        EmotionCircuitsError: more texts or tokens than are written at once.
    """
    if len(tasks) > limits.rows or size > limits.tokens:
        raise EmotionCircuitsError(
            f"{len(tasks)} texts of {size} tokens together; {limits.rows} texts and {limits.tokens} tokens are written at once"
        )


def full(pace: float, waiting: int, limits: Limits) -> FullError:
    """Too much waits.

    Args:
        pace: seconds that a text took lately.
        waiting: texts that wait.
        limits: of the engine.
    """
    return FullError(max(1, round(pace * (1 + waiting / limits.rows))))


class Writes(Protocol):
    """The seam between a server and what writes its texts.

    Attributes:
        limits: of rows, tokens, queue and time.
        tokens_written: since it began.
    """

    limits: Limits
    tokens_written: int

    @property
    def running(self) -> int:
        """Texts being written."""

    @property
    def waiting(self) -> int:
        """Texts that wait."""

    @property
    def alive(self) -> bool:
        """Whether it still works."""

    def submit(self, tasks: Sequence[Task], news: News) -> Ticket:
        """Have the tasks of one request written; ``news`` is told of every token and of every end.

        Raises:
            EmotionCircuitsError: a task that no row can carry, or more than are ever written at once.
            FullError: too much is waiting.
        """


class Engine:
    """Writes what is submitted; to be used in a ``with`` block.

    Args:
        model: nobody else may run it meanwhile.
        limits: of rows, tokens, queue and time.
    """

    def __init__(self, model: LanguageModel, limits: Limits | None = None) -> None:
        self.model, self.limits = model, limits or Limits()
        self.tokens_written = 0
        self._waiting: deque[Ticket] = deque()
        self._active: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._pace = 1.0  # seconds that a text took lately
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="emotion-circuits engine", daemon=True)

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def running(self) -> int:
        """Texts being written."""
        return sum(len(t.tasks) for t in self._active)

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return sum(len(t.tasks) for t in list(self._waiting))

    @property
    def alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def submit(self, tasks: Sequence[Task], news: News) -> Ticket:
        """Have tasks written.

        Args:
            tasks: of one request.
            news: told of every token.

        Raises:
            EmotionCircuitsError: a task that no row can carry, or more than are ever written at once.
            FullError: too much is waiting.
        """
        for task in tasks:
            task.check(self.model)
        ticket = Ticket(list(tasks), news, time.monotonic() + self.limits.seconds, told=[0] * len(tasks))
        refuse_too_much(tasks, ticket.size, self.limits)
        with self._changed:
            if self._closed:
                raise FullError(60)
            if self._waiting and self.waiting + len(tasks) > self.limits.queue:
                raise full(self._pace, self.waiting, self.limits)
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # torch counts threads per thread
        while not self._closed:
            try:
                with Stepper(self.model) as batch:
                    while self._turn(batch):
                        pass
            except Exception as error:
                # Whoever was being written gets an answer, and the others go on with a new batch.
                self._end_all(f"the engine failed: {type(error).__name__}: {error}")
        self._end_all("the server is going down")

    def _turn(self, batch: Stepper) -> bool:
        with self._changed:
            while not (self._closed or self._waiting or self._active):
                self._changed.wait()
            if self._closed:
                return False
            new = self._admitted()
            self._active += new
        self._drop(batch)
        wanted = [t for t in new if t in self._active]
        rows = iter(batch.join([task for t in wanted for task in t.tasks]))
        for ticket in wanted:
            ticket.rows = [next(rows) for _ in ticket.tasks]
        self._tell()
        batch.step()
        self._tell()
        return True

    def _admitted(self) -> list[Ticket]:
        new: list[Ticket] = []
        rows, tokens = self.running, sum(t.size for t in self._active)
        while self._waiting:
            first = self._waiting[0]
            rows, tokens = rows + len(first.tasks), tokens + first.size
            if rows > self.limits.rows or tokens > self.limits.tokens:
                break
            new.append(self._waiting.popleft())
        return new

    def _drop(self, batch: Stepper) -> None:
        """Let those go that nobody waits for any more, or that took too long; waiting ones too."""
        now = time.monotonic()
        for ticket in [*self._active, *self._waiting]:
            ticket.late = ticket.late or now > ticket.deadline
            if not (ticket.gone or ticket.late):
                continue
            for row in ticket.rows:
                batch.cancel(row)
            with self._changed:
                if ticket in self._waiting:
                    self._waiting.remove(ticket)
            if not ticket.rows:
                self._say_gone(ticket, "it was cancelled" if ticket.gone else "it took too long")

    def _say_gone(self, ticket: Ticket, why: str) -> None:
        for place, task in enumerate(ticket.tasks):
            ticket.news(place, None, Row(task, reason="cancelled", error=why))
        if ticket in self._active:
            self._active.remove(ticket)

    def _tell(self) -> None:
        for ticket in list(self._active):
            news: list[tuple[int, Token | None, Row]] = []
            for place, row in enumerate(ticket.rows):
                if ticket.told[place] < 0:
                    continue
                news += [(place, token, row) for token in row.tokens[ticket.told[place] :]]
                ticket.told[place] = len(row.tokens)
                if row.reason:
                    ticket.told[place] = -1
                    news.append((place, None, row))
            if ticket.rows and all(n < 0 for n in ticket.told):
                # Before its last news: whoever has an answer is no longer counted.
                self._active.remove(ticket)
                spent = time.monotonic() - (ticket.deadline - self.limits.seconds)
                self._pace = 0.8 * self._pace + 0.2 * spent
            self.tokens_written += sum(token is not None for _, token, _ in news)
            for one in news:
                ticket.news(*one)

    def _end_all(self, why: str) -> None:
        with self._changed:
            left, self._waiting = (
                [*self._active, *(self._waiting if self._closed else ())],
                (deque() if self._closed else self._waiting),
            )
        for ticket in left:
            for place, task in enumerate(ticket.tasks):
                if ticket.told[place] >= 0:
                    ticket.news(place, None, Row(task, reason="error", error=why))
        self._active = []
