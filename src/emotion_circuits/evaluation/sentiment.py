"""VADER: a lexicon and rules for the sentiment of short English texts (Hutto & Gilbert 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as package_version

import pandas as pd
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from emotion_circuits.evaluation.base import check_texts

__all__ = ["VaderSentiment"]


class VaderSentiment:
    """Column ``vader``: the compound score in [-1, 1]; an empty text scores 0."""

    name = "vader"
    axis = "sentiment"
    languages: tuple[str, ...] | None = ("en",)

    def __init__(self) -> None:
        self.version = f"vaderSentiment {package_version('vaderSentiment')}"
        self._analyzer = SentimentIntensityAnalyzer()

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text."""
        rows = check_texts(texts, self.name)
        return pd.DataFrame({"vader": [float(self._analyzer.polarity_scores(t)["compound"]) for t in rows]})

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """``positive`` from 0.05 up, ``negative`` from -0.05 down, else ``neutral`` (the authors' thresholds)."""
        return ["positive" if v >= 0.05 else "negative" if v <= -0.05 else "neutral" for v in scores["vader"]]
