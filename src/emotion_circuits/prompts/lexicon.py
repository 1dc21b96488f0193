"""Words that name a value, per language or given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["UNSPACED", "find_words", "lexicon", "lexicon_languages"]

UNSPACED: frozenset[str] = frozenset({"ja", "zh"})
"""Languages whose script puts no spaces between words."""


@cache
def lexicon_languages() -> tuple[str, ...]:
    """Languages with a lexicon."""
    folder = files("emotion_circuits.prompts") / "lexicons"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json")))


@cache
def lexicon(language: str = "en") -> dict[str, tuple[str, ...]]:
    """Value → its words (lower case; phrases allowed), as bundled for a language.

    Raises:
        EmotionCircuitsError: no lexicon for the language.
    """
    if language not in lexicon_languages():
        raise EmotionCircuitsError(f"no lexicon for language {language!r}; there are: {', '.join(lexicon_languages())}")
    text = (files("emotion_circuits.prompts") / "lexicons" / f"{language}.json").read_text(encoding="utf-8")
    return {value: tuple(words) for value, words in loads(text).items()}


@cache
def _pattern(words: tuple[str, ...], unspaced: bool) -> re.Pattern[str]:
    body = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(body if unspaced else rf"(?<!\w)(?:{body})(?!\w)", re.IGNORECASE)


@cache
def _beginnings(words: tuple[str, ...]) -> frozenset[str] | None:
    """The first word of every phrase in lower case; ``None`` where that does not tell which texts can hold one."""
    found = [re.match(r"\w+", word) for word in words]
    if not all(word.isascii() for word in words) or None in found:
        return None
    return frozenset(match[0].lower() for match in found if match)


def find_words(
    text: str,
    language: str = "en",
    emotion: str | None = None,
    *,
    words: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str, int, int]]:
    """``(value, start, end)`` of every lexicon word in a text, in order; whole words, any case.

    Japanese and Chinese, which have no spaces, are matched by substring.

    Args:
        text: where to look.
        language: of the text, and of the bundled lexicon.
        emotion: only the words of this value.
        words: value → words instead of the bundled lexicon.
    """
    text = text.replace("’", "'")
    known = lexicon(language) if words is None else words
    names = known if emotion is None else {emotion: ()}
    unspaced = language in UNSPACED
    # Most texts hold none of the words; looking their own words up is much faster than trying every word at every place.
    own = None if unspaced or not text.isascii() else set(re.findall(r"\w+", text.lower()))
    hits = []
    for name in names:
        listed = tuple(known[name])
        beginnings = None if own is None else _beginnings(listed)
        if own is None or beginnings is None or not own.isdisjoint(beginnings):
            hits += [(name, m.start(), m.end()) for m in _pattern(listed, unspaced).finditer(text)]
    return sorted(hits, key=lambda hit: hit[1:])
