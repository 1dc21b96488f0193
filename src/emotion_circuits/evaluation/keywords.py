"""Counts of whole words that name a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts import find_words, lexicon

__all__ = ["KeywordCounts"]

NONE_OF_THEM = "none"
"""What a text without any word is called where there is no reference; no value may have that name."""


class KeywordCounts:
    """Columns ``n_<value>``: how often a word of the value's lexicon occurs.

    Args:
        language: of the texts, and of the bundled lexicon.
        words: value → words instead of the bundled lexicon.
        axis: what is judged.
        reference: what a text without any word is; ``None``: none of the values.

    Raises:
        EmotionCircuitsError: no lexicon for the language.
    """

    def __init__(
        self,
        language: str = "en",
        *,
        words: Mapping[str, Sequence[str]] | None = None,
        axis: str = "emotion",
        reference: str | None = "neutral",
    ) -> None:
        self.words = {value: tuple(own) for value, own in (lexicon(language) if words is None else words).items()}
        self.language, self.axis, self.reference = language, axis, reference or NONE_OF_THEM
        self.emotions = tuple(self.words)
        self.languages = (language,)
        self.name = "keywords" if language == "en" else f"keywords-{language}"
        self.version = f"{language} {hash_json({k: list(v) for k, v in self.words.items()})[:12]}"

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text."""
        rows = []
        for text in check_texts(texts, self.name):
            found = [value for value, _, _ in find_words(text, self.language, words=self.words)]
            rows.append({f"n_{value}": found.count(value) for value in self.emotions})
        return pd.DataFrame(rows, columns=[f"n_{e}" for e in self.emotions])

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The value with most words (the first in the lexicon's order on a tie); the reference without any."""
        counts = scores[[f"n_{e}" for e in self.emotions]].to_numpy()
        return [self.emotions[int(row.argmax())] if row.any() else self.reference for row in counts]
