"""Some rows of a corpus, evenly over it: its rows stand by kind, so that the first ones would all be of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from emotion_circuits.prompts.schema import Prompt

__all__ = ["evenly", "evenly_by_group"]

T = TypeVar("T")
Row = TypeVar("Row", bound=Prompt)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items in order, evenly spaced, the first one among them.

    Example:
        >>> evenly("abcdefg", 3)
        ['a', 'c', 'e']
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def evenly_by_group(rows: Sequence[Row], count: int) -> list[Row]:
    """The rows of at most ``count`` groups, evenly spaced in order of appearance; every group whole."""
    kept = set(evenly(list(dict.fromkeys(row.group for row in rows)), count))
    return [row for row in rows if row.group in kept]
