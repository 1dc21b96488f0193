"""Numbers as the page shows them: three significant digits, a true minus sign, a dash for what is missing.

They look the same in every language, with a decimal point: figures draw them so, tables are sorted by what they show, and
``[0,05, 0,18]`` would be hard to read. Babel's formats for English and Japanese have neither this minus sign nor this per cent
sign; its significant digits write 30366 as 30400, not as 3.04e+04; and it rounds the decimal digits of a float, not its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.language import say

__all__ = ["estimate", "fixed", "interval", "number", "percent", "places", "probability", "signed"]


def number(value: Any) -> str:
    """Any cell's value.

    >>> number(-0.12345), number((0.1, 0.25)), number(None), number(1234567.0)
    ('−0.123', '[0.1, 0.25]', '–', '1.23e+06')
    """
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, float):
        if value != value:
            return "–"
        if value == 0:
            return "0"
        text = f"{value:.3g}" if abs(value) < 1e5 else f"{value:.2e}"
        return _minus(text)
    if isinstance(value, tuple | list):
        return interval(value[0], value[1]) if len(value) == 2 else "[" + ", ".join(number(v) for v in value) + "]"
    return _minus(str(value)) if isinstance(value, int) else str(value)


def interval(low: float, high: float) -> str:
    """Both ends in brackets."""
    return f"[{number(low)}, {number(high)}]"


def places(low: float, high: float) -> int:
    """Decimals that a figure deserves: its interval's width has two significant digits then.

    >>> places(0.0515, 0.184), places(1.03, 3.47), places(0.0266, 0.0365)
    (2, 1, 4)
    """
    width = high - low
    return 2 if not width > 0 else min(4, max(0, 1 - math.floor(math.log10(width))))


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals; nothing is a negative zero.

    >>> fixed(-0.0004, 2), fixed(-0.125, 1)
    ('0.00', '−0.1')
    """
    text = f"{value:.{decimals}f}"
    return _minus(text.removeprefix("-") if float(text) == 0 else text)


def estimate(value: float, ends: Sequence[float] | None) -> str:
    """A figure with its interval, all with the decimals that the interval allows.

    >>> estimate(0.11765, (0.0515, 0.184))
    '0.12 [0.05, 0.18]'
    """
    if not ends:
        return number(float(value))
    decimals = places(*ends)
    return f"{fixed(value, decimals)} [{fixed(ends[0], decimals)}, {fixed(ends[1], decimals)}]"


def signed(value: float) -> str:
    """A difference, with its sign.

    >>> signed(0.5), signed(-0.0312)
    ('+0.5', '−0.0312')
    """
    return ("+" if value > 0 else "") + number(float(value))


def probability(value: float | None) -> str:
    """A p-value or q-value, as journals print it: below 0.001 only that it is.

    >>> probability(0.0123), probability(5.3e-12), probability(0.0004)
    ('0.0123', '< 0.001', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def percent(value: float) -> str:
    """A share in whole per cent.

    >>> percent(0.774)
    '77 %'
    """
    return _minus(f"{value * 100:.0f} %")


def _minus(text: str) -> str:
    return "−" + text[1:] if text.startswith("-") else text
