"""Words that name an emotion, per language."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

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
    """Emotion → its words (lower case; phrases allowed).

    Raises:
        EmotionCircuitsError: no lexicon for the language.
    """
    if language not in lexicon_languages():
        raise EmotionCircuitsError(f"no lexicon for language {language!r}; there are: {', '.join(lexicon_languages())}")
    text = (files("emotion_circuits.prompts") / "lexicons" / f"{language}.json").read_text(encoding="utf-8")
    return {emotion: tuple(words) for emotion, words in json.loads(text).items()}


@cache
def _pattern(language: str, emotion: str) -> re.Pattern[str]:
    words = sorted(lexicon(language)[emotion], key=len, reverse=True)
    body = "|".join(re.escape(word) for word in words)
    return re.compile(body if language in UNSPACED else rf"(?<!\w)(?:{body})(?!\w)", re.IGNORECASE)


def find_words(text: str, language: str = "en", emotion: str | None = None) -> list[tuple[str, int, int]]:
    """``(emotion, start, end)`` of every lexicon word in a text, in order; whole words, any case.

    Japanese and Chinese, which have no spaces, are matched by substring.
    """
    text = text.replace("’", "'")
    emotions = lexicon(language) if emotion is None else {emotion: ()}
    return sorted(
        ((name, m.start(), m.end()) for name in emotions for m in _pattern(language, name).finditer(text)),
        key=lambda hit: hit[1:],
    )
