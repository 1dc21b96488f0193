"""Who reads what, in which order and on which side: a Latin square that knows slots by number alone.

Opening ``j`` in pass ``k`` over all openings is shown in slot ``(j + k) mod S``: in ``S`` passes every text is shown once, and a
rater, who reads consecutive openings, reads each at most once and every slot about equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Shown", "ShownPair", "pairs_for", "singles_for"]


class Shown(NamedTuple):
    """A text by the places of its opening and of its slot."""

    opening: int
    slot: int


class ShownPair(NamedTuple):
    """A pair of an opening, and whether its two texts change sides."""

    opening: int
    pair: int
    swapped: bool


def singles_for(raters: int, each: int, openings: int, slots: int, rng: np.random.Generator) -> list[list[Shown]]:
    """Single texts per rater, in the order of reading.

    Args:
        raters: how many.
        each: texts per rater, at most ``openings``.
        openings: how many.
        slots: how many.
        rng: of the orders.

    Example:
        >>> found = singles_for(4, 3, 3, 4, np.random.default_rng(0))
        >>> sorted(shown for rater in found for shown in rater) == [(o, s) for o in range(3) for s in range(4)]
        True
    """
    order = rng.permutation(openings)
    found = []
    for rater in range(raters):
        rows = []
        for t in range(rater * each, (rater + 1) * each):
            turn, place = divmod(t, openings)
            rows.append(Shown(int(order[place]), (place + turn) % slots))
        found.append([rows[int(i)] for i in rng.permutation(each)])
    return found


def pairs_for(raters: int, each: int, openings: int, pairs: int, rng: np.random.Generator) -> list[list[ShownPair]]:
    """Pairs per rater, in the order of reading; each pair comes as often on one side as on the other.

    Args:
        raters: how many.
        each: pairs per rater, at most ``openings``.
        openings: how many.
        pairs: kinds of pairs.
        rng: of the orders.
    """
    order = rng.permutation(openings)
    sides: dict[tuple[int, int], bool] = {}
    found = []
    for rater in range(raters):
        rows: list[ShownPair] = []
        turned = [0, 0]
        for t in range(rater * each, (rater + 1) * each):
            turn, place = divmod(t, openings)
            opening, pair = int(order[place]), (place + turn) % pairs
            seen = sides.get((opening, pair))
            # A pair that was shown comes the other way round; a new one evens the rater's own sides out.
            swapped = (
                (turned[1] < turned[0]) or (turned[0] == turned[1] and bool(rng.integers(2)))
                if seen is None
                else not seen
            )
            sides[opening, pair] = swapped
            turned[swapped] += 1
            rows.append(ShownPair(opening, pair, swapped))
        found.append([rows[int(i)] for i in rng.permutation(each)])
    return found


def spread(rows: Sequence[str], extra: Sequence[str], rng: np.random.Generator, *, after: int = 2) -> list[str]:
    """Rows with others put among them at random places, none of them before place ``after``."""
    found = list(rows)
    for one in extra:
        found.insert(int(rng.integers(min(after, len(found)), len(found) + 1)), one)
    return found
