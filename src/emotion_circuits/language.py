"""English sentences as keys, other languages from gettext catalogues: what a page says, in the reader's language.

Code says everything in English, through :func:`say` (sentences), :func:`nsay` (sentences with a number) and :func:`term`
(words of the data: column names, emotions, verdicts). The catalogue of another language holds them all; a sentence that it lacks
is said in English and noted in :attr:`Spoken.missing`. What is studied brings words of its own, which come before the
catalogue's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from gettext import NullTranslations

from emotion_circuits.catalogues import LANGUAGES, TERM, translations
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["LANGUAGES", "N_", "Spoken", "gap", "language", "nsay", "say", "speaking", "spoken_option", "term"]


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
_ENGLISH = NullTranslations()


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
    # In a catalogue the empty message is the header.
    template = _catalogue().gettext(english) if english else english
    return template.format(**values) if values else template


def nsay(singular: str, plural: str, n: int, /, **values: object) -> str:
    """A sentence in the form that the number ``n`` asks for in the language that is spoken; ``{n}`` is filled with it.

    >>> nsay("{n} row", "{n} rows", 1), nsay("{n} row", "{n} rows", 2)
    ('1 row', '2 rows')
    """
    return _catalogue().ngettext(singular, plural, n).format(n=n, **values)


def term(word: str) -> str:
    """A word of the data in the language that is spoken, or several joined by a dash; unknown ones stay as they are."""
    whole = _word(word)
    return whole if whole != word else " – ".join(_word(part) for part in word.split(" – "))


def _word(word: str) -> str:
    spoken = _SPOKEN.get()
    own = None if spoken is None else spoken.words.get(word)
    return _catalogue().pgettext(TERM, word) if own is None else own


def gap() -> str:
    """What stands between two sentences: a space, or nothing in languages that set none.

    >>> gap()
    ' '
    """
    return say("{sentence} {next}", sentence="", next="")


def N_(english: str) -> str:  # noqa: N802 - the name that gettext's tools know
    """Marks a sentence that reaches :func:`say` as a variable, so that it is found when catalogues are updated.

    >>> N_("fitted map")
    'fitted map'
    """
    return english


def spoken_option() -> str:
    """What a command line needs for the language that is spoken; nothing for English."""
    return "" if language() == "en" else f" --lang {language()}"


def _catalogue() -> NullTranslations:
    return _ENGLISH if language() == "en" else _translations(language())


@cache
def _translations(code: str) -> NullTranslations:
    found = translations(code)
    found.add_fallback(_Noting())
    return found


class _Noting(NullTranslations):
    """Behind a catalogue: what it lacks is said in English and noted."""

    def gettext(self, message: str) -> str:
        self._note(message)
        return super().gettext(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        self._note(msgid1)
        return super().ngettext(msgid1, msgid2, n)

    def _note(self, message: str) -> None:
        spoken = _SPOKEN.get()
        if spoken is not None:
            spoken.missing.add(message)
