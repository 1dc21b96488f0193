"""From character spans to token positions: never by comparing token strings."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["tokens_of_span"]


def tokens_of_span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, ...]:
    """Indices of the tokens that overlap the characters ``[start, end)``.

    Args:
        offsets: character span of each token of the text (specials are ``(0, 0)``). A leading space may belong to
            the token, as in byte-level BPE.
        start: first character.
        end: one past the last character.

    Returns:
        Token indices in order; empty where no token overlaps.
    """
    return tuple(i for i, (a, b) in enumerate(offsets) if a < b and a < end and b > start)
