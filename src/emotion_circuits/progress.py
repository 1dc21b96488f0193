"""Progress bars for people, silence for programs: one place that decides."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Bar", "progress_bar", "progress_style"]


class Bar(Protocol):
    """What a long operation calls."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Move on by ``amount``; ``note`` is shown behind the bar."""


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        return None


class _Rich:
    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=note)  # type: ignore[arg-type]


_style: ContextVar[str] = ContextVar("progress_style", default="silent")
_live: ContextVar[Progress | None] = ContextVar("live_progress", default=None)


@contextmanager
def progress_style(style: str) -> Iterator[None]:
    """``rich`` shows bars on standard error; ``silent`` (the default from Python) shows nothing."""
    token = _style.set(style)
    try:
        yield
    finally:
        _style.reset(token)


@contextmanager
def progress_bar(title: str, total: float | None) -> Iterator[Bar]:
    """A bar that lives as long as the block. Bars opened inside one another share the screen."""
    if _style.get() != "rich":
        yield _Silent()
        return
    outer = _live.get()
    if outer is not None:
        task = outer.add_task(title, total=total, note="")
        try:
            yield _Rich(outer, task)
        finally:
            outer.remove_task(task)
        return
    # A log that is no terminal gets one line when the bar is done, not a thousand.
    console = Console(file=sys.stderr, markup=False, emoji=False)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        refresh_per_second=4,
    ) as progress:
        token = _live.set(progress)
        try:
            yield _Rich(progress, progress.add_task(title, total=total, note=""))
        finally:
            _live.reset(token)
