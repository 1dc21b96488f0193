"""English sentences as keys, other languages from a catalogue: what a page says, in the reader's language.

Code says everything in English, through :func:`say` (sentences) and :func:`term` (words of the data: column names, emotions,
verdicts). The catalogue of another language holds both; a sentence that it lacks is said in English and noted in
:attr:`Spoken.missing`. What is studied brings words of its own, which come before the catalogue's.
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

__all__ = ["LANGUAGES", "Spoken", "catalogue", "is_term", "language", "say", "speaking", "spoken_option", "term"]

LANGUAGES = ("en", "ja")


@dataclass
class Spoken:
    """What happened while a language was spoken.

    Attributes:
        language: its code.
        missing: sentences that its catalogue lacks.
        words: words of the data in that language that no catalogue knows, e.g. an attribute's labels.
    """

    language: str = "en"
    missing: set[str] = field(default_factory=set)
    words: Mapping[str, str] = field(default_factory=dict)


_SPOKEN: ContextVar[Spoken | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(code: str, words: Mapping[str, str] | None = None) -> Iterator[Spoken]:
    """Everything inside is said in this language.

    Args:
        code: of the language.
        words: words of the data in it, e.g. an attribute's labels.

    Raises:
        EmotionCircuitsError: no such language.
    """
    if code not in LANGUAGES:
        raise EmotionCircuitsError(f"no language {code!r}; there are {', '.join(LANGUAGES)}")
    spoken = Spoken(code, words=dict(words or {}))
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
    return _word(word) or " – ".join(_word(part) or part for part in word.split(" – "))


def _word(word: str) -> str | None:
    """The word in the language that is spoken, where it is known there."""
    spoken = _SPOKEN.get()
    if spoken is None:
        return None
    own = spoken.words.get(word)
    return own if own is not None or spoken.language == "en" else catalogue(spoken.language)["terms"].get(word)


def spoken_option() -> str:
    """What a command line needs for the language that is spoken; nothing for English."""
    return "" if language() == "en" else f" --lang {language()}"


def is_term(word: str) -> bool:
    """Whether the language that is spoken has a word for it."""
    return language() == "en" or _word(word) is not None


@cache
def catalogue(code: str) -> Mapping[str, Mapping[str, str]]:
    """``texts`` (English sentence to its translation) and ``terms`` (word of the data to its translation)."""
    path = files("emotion_circuits") / "locale" / f"{code}.json"
    found: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found
