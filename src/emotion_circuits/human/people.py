"""People as a judge: what a study's raters named in a text, as any other judge's scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.human.excluding import careless, watched
from emotion_circuits.human.reading import as_arrays, read_answers
from emotion_circuits.human.records import open_study
from emotion_circuits.paths import hash_json

__all__ = ["People"]


class People:
    """Raters of a study; a text's probability of a value is the share of its raters who named it.

    They judge the texts that they read and no others. Careless ones are left out by the rules that the study declared.

    Args:
        shares: text (without blanks around it) → share of its raters by answer.
        answers: values, and none of them last.
        raters: how many.
        axis: what was asked about.

    Example::

        judge = People.of(Path("studies/warmth"))
        score_sweep(texts_that_were_rated, [judge])
    """

    name = "people"

    def __init__(
        self, shares: Mapping[str, Sequence[float]], answers: Sequence[str], *, raters: int, axis: str
    ) -> None:
        self.shares, self.answers, self.raters, self.axis = dict(shares), tuple(answers), raters, axis
        self.version = hash_json({"answers": self.answers, "shares": {t: list(s) for t, s in self.shares.items()}})[:12]

    @classmethod
    def of(cls, folder: Path) -> People:
        """Those of a study.

        Args:
            folder: of a study that has ratings.

        Raises:
            EmotionCircuitsError: as :func:`.records.open_study` and :func:`.reading.read_answers`; nobody is left by the rules.
        """
        study = open_study(folder)
        answered = read_answers(folder, study.design)
        out = careless(watched(study, answered))
        singles = as_arrays(study, answered).without(out).singles
        if not len(singles.text):
            raise EmotionCircuitsError(f"{folder}: no single text was rated by anybody whom the rules keep")
        shown = {
            secret.texts[0]: study.design.items[item].texts[0].get("", "").strip()
            for item, secret in study.key.items.items()
            if secret.kind == "single"
        }
        names, answers = sorted(study.key.texts), study.design.answers
        counts: dict[str, np.ndarray] = {}
        for text, named in zip(singles.text.tolist(), singles.named.tolist(), strict=True):
            counts.setdefault(shown[names[text]], np.zeros(len(answers)))[named] += 1
        shares = {text: (found / found.sum()).tolist() for text, found in counts.items()}
        return cls(shares, answers, raters=len(answered) - len(out), axis=study.design.attribute)

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text, columns ``p_<value>`` and ``p_none``.

        Raises:
            EmotionCircuitsError: texts that nobody rated.
        """
        rows = [text.strip() for text in check_texts(texts, self.name)]
        unread = [text for text in rows if text not in self.shares]
        if unread:
            raise EmotionCircuitsError(
                f"people: {len(unread)} of {len(rows)} texts were rated by nobody, the first is {unread[0][:60]!r}; they judge "
                "only what they read"
            )
        found = np.array([self.shares[text] for text in rows]).reshape(-1, len(self.answers))
        return pd.DataFrame(found, columns=[f"p_{answer}" for answer in self.answers])

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """What most raters named; of equals the one that the study asks about first."""
        best = scores[[f"p_{answer}" for answer in self.answers]].to_numpy().argmax(1)
        return [self.answers[i] for i in best]
