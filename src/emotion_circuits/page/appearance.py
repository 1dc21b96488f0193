"""How what is studied is shown: its labels in the language of the page, and in their colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emotion_circuits.language import Spoken, speaking
from emotion_circuits.page.figures import coloured
from emotion_circuits.prompts import Attribute

__all__ = ["shown_as"]


@contextmanager
def shown_as(attribute: Attribute, code: str) -> Iterator[Spoken]:
    """Pages written inside speak a language, with the attribute's own words and colours.

    Args:
        attribute: what is studied.
        code: of the language.

    Raises:
        EmotionCircuitsError: no such language.
    """
    with speaking(code, attribute.terms(code)) as spoken, coloured(attribute.colours):
        yield spoken
