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


def lexicon_languages() -> list[str]:
    """Languages with a lexicon."""
    folder = files("emotion_circuits.prompts") / "lexicons"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


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
    return sorted(
        (
            (name, m.start(), m.end())
            for name in names
            for m in _pattern(tuple(known[name]), language in UNSPACED).finditer(text)
        ),
        key=lambda hit: hit[1:],
    )
