"""Japanese sentiment by ML-Ask's patterns (Ptaszynski et al. 2009), through the optional package ``pymlask``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as package_version

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts

__all__ = ["MlaskSentiment"]

_VALUES = {"POSITIVE": 1.0, "mostly_POSITIVE": 0.5, "NEUTRAL": 0.0, "mostly_NEGATIVE": -0.5, "NEGATIVE": -1.0}


class MlaskSentiment:
    """Columns ``mlask`` in [-1, 1] and ``mlask_emotion`` (ML-Ask's representative emotion, empty where none).

    Raises:
        EmotionCircuitsError: the extra ``japanese`` is not installed.
    """

    name = "mlask"
    axis = "sentiment"
    languages: tuple[str, ...] | None = ("ja",)

    def __init__(self) -> None:
        try:
            import ipadic  # type: ignore[import-not-found,unused-ignore]
            from mlask import MLAsk
        except ImportError as error:
            raise EmotionCircuitsError(
                f"evaluator 'mlask': {error.name} is not installed; pip install 'emotion-circuits[japanese]'. Without "
                "it: keywords with language=ja"
            ) from error
        self._analyzer = MLAsk(ipadic.MECAB_ARGS)
        self.version = f"pymlask {package_version('pymlask')} ipadic {package_version('ipadic')}"

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text; a text without any known expression scores 0."""
        rows = []
        for text in check_texts(texts, self.name):
            found = self._analyzer.analyze(text) if text.strip() else {}
            orientation = found.get("orientation")
            if orientation is not None and orientation not in _VALUES:
                raise EmotionCircuitsError(f"evaluator 'mlask': unknown orientation {orientation!r}")
            representative = found.get("representative") or ("",)
            rows.append(
                {"mlask": 0.0 if orientation is None else _VALUES[orientation], "mlask_emotion": str(representative[0])}
            )
        return pd.DataFrame(rows, columns=["mlask", "mlask_emotion"])

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """``positive`` above 0, ``negative`` below, else ``neutral``."""
        return ["positive" if v > 0 else "negative" if v < 0 else "neutral" for v in scores["mlask"]]
