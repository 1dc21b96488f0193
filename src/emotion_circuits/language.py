"""English sentences as keys, other languages from a catalogue: what a page says, in the reader's language.

Code says everything in English, through :func:`say` (sentences) and :func:`term` (words of the data: column names, emotions,
verdicts). The catalogue of another language holds both; a sentence that it lacks is said in English and noted in
:attr:`Spoken.missing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["LANGUAGES", "Spoken", "catalogue", "language", "say", "speaking", "spoken_option", "term"]

LANGUAGES = ("en", "ja")


@dataclass
class Spoken:
    """What happened while a language was spoken.

    Attributes:
        language: its code.
        missing: sentences that its catalogue lacks.
    """

    language: str = "en"
    missing: set[str] = field(default_factory=set)


_SPOKEN: ContextVar[Spoken | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(code: str) -> Iterator[Spoken]:
    """Everything inside is said in this language.

    Raises:
        EmotionCircuitsError: no such language.
    """
    if code not in LANGUAGES:
        raise EmotionCircuitsError(f"no language {code!r}; there are {', '.join(LANGUAGES)}")
    spoken = Spoken(code)
    token = _SPOKEN.set(spoken)
    try:
        yield spoken
    finally:
        _SPOKEN.reset(token)


def language() -> str:
    """Code of the language that is spoken."""
    spoken = _SPOKEN.get()
    return "en" if spoken is None else spoken.language


def say(english: str, /, **values: object) -> str:
    """A sentence in the language that is spoken, its ``{places}`` filled as :meth:`str.format` does.

    >>> say("layer {layer}", layer=3)
    'layer 3'
    """
    template = english
    spoken = _SPOKEN.get()
    if spoken is not None and spoken.language != "en":
        found = catalogue(spoken.language)["texts"].get(english)
        if found is None:
            spoken.missing.add(english)
        else:
            template = found
    return template.format(**values) if values else template


def term(word: str) -> str:
    """A word of the data in the language that is spoken, or several joined by a dash; unknown ones stay as they are."""
    if language() == "en":
        return word
    known = catalogue(language())["terms"]
    return known.get(word) or " – ".join(known.get(part, part) for part in word.split(" – "))


def spoken_option() -> str:
    """What a command line needs for the language that is spoken; nothing for English."""
    return "" if language() == "en" else f" --lang {language()}"


@cache
def catalogue(code: str) -> Mapping[str, Mapping[str, str]]:
    """``texts`` (English sentence to its translation) and ``terms`` (word of the data to its translation)."""
    path = files("emotion_circuits") / "locale" / f"{code}.json"
    found: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found
