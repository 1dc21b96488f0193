"""What a judge finds of each label, and how many of those it calls so are."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from emotion_circuits.statistics import rate

__all__ = ["per_label"]

_COLUMNS = [
    "label", "n", "recall", "recall_low", "recall_high", "called", "precision", "precision_low", "precision_high",
]  # fmt: skip


def per_label(confusion: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Recall and precision of every label with exact 95 % intervals (Clopper & Pearson 1934).

    Args:
        confusion: true label → judged label → texts, as in :class:`~emotion_circuits.evaluation.Validation`.

    Returns:
        One row per true label: ``n`` texts have it, ``recall`` of them are found; ``called`` texts are called so,
        ``precision`` of them rightly; each share with its interval, NaN where nothing is called so.

    Example:
        >>> found = per_label({"anger": {"anger": 8, "neutral": 2}, "neutral": {"neutral": 20}}).set_index("label")
        >>> found.loc["anger", ["n", "recall", "called", "precision"]].tolist()
        [10.0, 0.8, 8.0, 1.0]
        >>> bool(found.loc["anger", "precision_low"] < 0.7)
        True
    """
    rows = []
    for label, judged in confusion.items():
        right, texts = judged.get(label, 0), sum(judged.values())
        called = sum(other.get(label, 0) for other in confusion.values())
        rows.append((label, texts, *_share(right, texts), called, *_share(right, called)))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _share(part: int, whole: int) -> tuple[float, float, float]:
    if not whole:
        return (float("nan"),) * 3
    found = rate(part, whole)
    return found.rate, found.low, found.high
