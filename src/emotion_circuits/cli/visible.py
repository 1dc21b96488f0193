"""Text of a file, a folder's name or a model as a terminal may show it."""

from __future__ import annotations

import re

__all__ = ["visible"]

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, colours, renames the window or turns the direction of writing; line ends and tabs may stay."""


def visible(text: str) -> str:
    r"""The text with what would steer a terminal written out.

    Example:
        >>> visible("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)
