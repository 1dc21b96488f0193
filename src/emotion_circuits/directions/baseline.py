"""What words alone can tell: the figure every direction has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["bag_of_words_baseline", "bag_of_words_by_set"]


def bag_of_words_baseline(
    train_texts: Sequence[str], train_labels: Sequence[str], texts: Sequence[str], *, strength: float = 10.0
) -> list[str]:
    """Labels of ``texts`` by TF-IDF of 1- and 2-grams with logistic regression, fitted on the train texts.

    Args:
        train_texts: texts of the train split.
        train_labels: their labels, at least two different ones.
        texts: what to label.
        strength: inverse regularisation of the logistic regression.

    Raises:
        EmotionCircuitsError: lengths differ, one label only, or no train text holds a word.
    """
    if len(train_texts) != len(train_labels):
        raise EmotionCircuitsError(f"bag of words: {len(train_texts)} texts but {len(train_labels)} labels")
    if len(set(train_labels)) < 2:
        raise EmotionCircuitsError("bag of words: the train split needs at least two different labels")
    # Single characters count as words too, so that languages without spaces are not left with nothing.
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), lowercase=True, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        LogisticRegression(C=strength, max_iter=2000),
    )
    try:
        # The solver's many small steps only lose time in threads.
        with threadpool_limits(1):
            model.fit(list(train_texts), list(train_labels))
    except ValueError as error:
        raise EmotionCircuitsError(f"bag of words: cannot be fitted: {error}") from error
    return [str(v) for v in model.predict(list(texts))] if len(texts) else []


def bag_of_words_by_set(rows: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Bag-of-words labels for every row, fitted on the rows marked as train.

    Args:
        rows: table with ``text`` and ``label``.
        train: ``[row]`` True on rows to fit on.
    """
    fitted = rows[train]
    return np.array(
        bag_of_words_baseline(fitted["text"].tolist(), fitted["label"].tolist(), rows["text"].tolist()), dtype=object
    )
