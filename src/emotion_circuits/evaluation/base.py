"""What an evaluator is, and the record of how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["CalibrationBin", "Evaluator", "Validation", "check_texts"]


@runtime_checkable
class Evaluator(Protocol):
    """Anything that scores texts. It is blind: it sees texts, not where they come from.

    Attributes:
        name: short, without spaces; names the cache and the columns' origin.
        version: changes whenever the scores could (model revision, training data, package version).
        axis: ``sentiment``, ``emotion``, ``politeness``, ``toxicity``, or the evaluator's own.
    """

    name: str
    version: str
    axis: str

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text, in order. Columns named ``p_<label>`` are probabilities."""
        ...

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The label of each scored text."""
        ...


class CalibrationBin(BaseModel):
    """Texts whose top probability falls into one tenth of [0, 1].

    Attributes:
        low: lower end of the bin.
        high: upper end.
        n: texts in it.
        confidence: their mean top probability.
        accuracy: share of them whose top label is right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class Validation(BaseModel):
    """How an evaluator does on labelled text it was not fitted on.

    Attributes:
        evaluator: its name.
        version: its version.
        axis: what it judges.
        data: the labelled set(s).
        split: which split.
        n: texts.
        accuracy: share judged right.
        interval: 95 % interval, bootstrap by group of texts.
        majority: accuracy of always answering the most frequent label.
        recall: share judged right, by true label.
        confusion: true label → judged label → count.
        calibration_error: expected calibration error over ten bins of the top probability (Guo et al. 2017);
            ``None`` where the evaluator gives no probabilities over the labels.
        bins: the reliability table behind it.
        excluded: labels of the set that are not on the evaluator's axis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: str
    version: str
    axis: str
    data: str
    split: str
    n: int = Field(ge=1)
    accuracy: float
    interval: tuple[float, float]
    majority: float
    recall: dict[str, float]
    confusion: dict[str, dict[str, int]]
    calibration_error: float | None
    bins: tuple[CalibrationBin, ...] = ()
    excluded: tuple[str, ...] = ()


def check_texts(texts: Sequence[str], who: str) -> list[str]:
    """The texts as a list.

    Raises:
        EmotionCircuitsError: a single string where a list is needed, or an entry that is no string.
    """
    if isinstance(texts, str):
        raise EmotionCircuitsError(f"{who}: give a list of texts, not one string")
    rows = list(texts)
    for index, text in enumerate(rows):
        if not isinstance(text, str):
            raise EmotionCircuitsError(f"{who}: text {index} is a {type(text).__name__}, not a string")
    return rows
