"""Counts of whole words that name an emotion."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts import find_words, lexicon

__all__ = ["KeywordCounts"]


class KeywordCounts:
    """Columns ``n_<emotion>``: how often a word of the emotion's lexicon occurs.

    Args:
        language: of the lexicon.

    Raises:
        EmotionCircuitsError: no lexicon for the language.
    """

    axis = "emotion"

    def __init__(self, language: str = "en") -> None:
        words = lexicon(language)
        self.language = language
        self.emotions = tuple(words)
        self.name = "keywords" if language == "en" else f"keywords-{language}"
        self.version = f"{language} {hash_json({k: list(v) for k, v in words.items()})[:12]}"

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text."""
        rows = []
        for text in check_texts(texts, self.name):
            found = [emotion for emotion, _, _ in find_words(text, self.language)]
            rows.append({f"n_{emotion}": found.count(emotion) for emotion in self.emotions})
        return pd.DataFrame(rows, columns=[f"n_{e}" for e in self.emotions])

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The emotion with most words (the first in the lexicon's order on a tie); ``neutral`` without any."""
        counts = scores[[f"n_{e}" for e in self.emotions]].to_numpy()
        return [self.emotions[int(row.argmax())] if row.any() else "neutral" for row in counts]
