"""The analysis that was declared: who is left out, agreement, claims, strengths, judges, and what was understood."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.human.against_judges import Judged, against_judges
from emotion_circuits.human.agreeing import Agreement, Scale, alpha_with_intervals
from emotion_circuits.human.excluding import Watched, careless, watched
from emotion_circuits.human.hypotheses import claims_of
from emotion_circuits.human.preferring import strengths
from emotion_circuits.human.reading import as_arrays, read_answers
from emotion_circuits.human.records import Arm, Study, open_study
from emotion_circuits.human.simulating import slots_of
from emotion_circuits.human.tables import Pairs, Singles
from emotion_circuits.human.two_ways import TwoWay, mean
from emotion_circuits.sealing import write_sealed
from emotion_circuits.statistics import Claim

__all__ = ["ANALYSIS", "Analysis", "analyse", "analysed", "confusion"]

ANALYSIS = "analysis.json"
Slot = tuple[Arm, str]
Range = tuple[float, float]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class AgreementRow(_Record):
    """Agreement on one scale, see :class:`emotion_circuits.human.agreeing.Agreement`."""

    scale: str
    alpha: float | None
    by_text: Range | None
    by_rater: Range | None
    texts: int
    raters: int


class ArmRow(_Record):
    """One arm and value: what raters said of its texts; figures with intervals over raters and openings."""

    arm: str
    value: str
    naming: dict[str, float]
    naturalness: float
    naturalness_interval: Range | None
    intensity: float
    intensity_interval: Range | None
    ratings: int


class StrengthRow(_Record):
    """How much an arm's texts express a value, in logits against unsteered ones."""

    value: str
    arm: str
    strength: float
    interval: Range | None
    comparisons: int


class Analysis(_Record):
    """What came of a study.

    Attributes:
        format: of this file.
        study: name.
        raters: who answered, each by the rules.
        ratings: single texts and pairs that count.
        claims: every hypothesis, careless raters left out.
        claims_of_all: the same with everybody.
        agreement: by scale.
        arms: by arm and value.
        strengths: by value and arm.
        judges: beside people.
        left: share of decided pairs in which the left text was taken.
        languages: of pages, how many raters.
    """

    format: int = 1
    study: str
    raters: tuple[Watched, ...]
    ratings: tuple[int, int]
    claims: tuple[Claim, ...]
    claims_of_all: tuple[Claim, ...]
    agreement: tuple[AgreementRow, ...]
    arms: tuple[ArmRow, ...]
    strengths: tuple[StrengthRow, ...]
    judges: tuple[Judged, ...]
    left: float | None
    languages: dict[str, int]

    @property
    def excluded(self) -> tuple[Watched, ...]:
        """Raters who are left out."""
        return tuple(one for one in self.raters if one.reasons)


def analyse(folder: Path) -> Analysis:
    """Analyse a study's ratings as it declared, and write ``analysis.json``.

    Args:
        folder: of the study.

    Raises:
        EmotionCircuitsError: as :func:`open_study` and :func:`emotion_circuits.human.reading.read_answers`.
    """
    study = open_study(folder)
    found = analysed(study, folder)
    write_sealed(folder / ANALYSIS, found.model_dump(mode="json"))
    return found


def analysed(study: Study, folder: Path) -> Analysis:
    """The analysis, with nothing written."""
    answered = read_answers(folder, study.design)
    seen = watched(study, answered)
    everybody = as_arrays(study, answered)
    kept = everybody.without(careless(seen))
    design = study.design
    slots = slots_of(design.values, design.arms)
    languages = [one.language for one in answered]
    decided = kept.pairs.score != 0.5
    return Analysis(
        study=design.name,
        raters=tuple(seen),
        ratings=(len(kept.singles.rater), len(kept.pairs.rater)),
        claims=tuple(claims_of(design.hypotheses, kept, design.values, slots)),
        claims_of_all=tuple(claims_of(design.hypotheses, everybody, design.values, slots)),
        agreement=tuple(_agreements(kept.singles, len(answered), design.seed)),
        arms=tuple(_arms(kept.singles, slots, design.answers)),
        strengths=tuple(_strengths(kept.pairs, slots, design.values)),
        judges=tuple(against_judges(study, kept, seed=design.seed)),
        left=float(kept.pairs.score[decided].mean()) if decided.any() else None,
        languages={code: languages.count(code) for code in sorted(set(languages))},
    )


def _ends(low: float, high: float) -> Range | None:
    return None if low != low or high != high else (low, high)


def _agreements(s: Singles, raters: int, seed: int) -> list[AgreementRow]:
    texts, place = np.unique(s.text, return_inverse=True)
    scales: list[tuple[str, Scale, np.ndarray]] = [
        ("emotion", "nominal", s.named), ("intensity", "ordinal", s.intensity), ("naturalness", "ordinal", s.naturalness - 1),
    ]  # fmt: skip
    found = []
    for name, scale, values in scales:
        table = np.full((raters, len(texts)), -1, dtype=np.int64)
        table[s.rater, place] = values.astype(np.int64)
        a: Agreement = alpha_with_intervals(table, scale, seed=seed)
        found.append(
            AgreementRow(
                scale=name, alpha=None if a.alpha != a.alpha else a.alpha, by_text=_ends(*a.by_text),
                by_rater=_ends(*a.by_rater), texts=a.texts, raters=a.raters,
            )
        )  # fmt: skip
    return found


def _arms(s: Singles, slots: Sequence[Slot], answers: Sequence[str]) -> list[ArmRow]:
    found = []
    for number, (arm, value) in enumerate(slots):
        own = s.slot == number
        if not own.any():
            continue
        natural, strong = (mean(x[own], s.rater[own], s.opening[own], span=6) for x in (s.naturalness, s.intensity))
        found.append(
            ArmRow(
                arm=arm, value=value, ratings=int(own.sum()),
                naming={name: float(np.mean(s.named[own] == i)) for i, name in enumerate(answers)},
                naturalness=natural.estimate, naturalness_interval=_ends(max(natural.low, 1), min(natural.high, 7)),
                intensity=strong.estimate, intensity_interval=_ends(max(strong.low, 0), min(strong.high, 6)),
            )
        )  # fmt: skip
    return found


def _strengths(p: Pairs, slots: Sequence[Slot], values: Sequence[str]) -> list[StrengthRow]:
    found: list[StrengthRow] = []
    for number, value in enumerate(values):
        own = p.value == number
        arms = [i for i, (_, of) in enumerate(slots) if of in ("", value)]
        present = [i for i in arms if ((p.first[own] == i) | (p.second[own] == i)).any()]
        if len(present) < 2 or slots[present[0]][0] != "unsteered":
            continue
        at = {slot: i for i, slot in enumerate(present)}
        first, second = (np.array([at[int(i)] for i in side[own]]) for side in (p.first, p.second))
        rows: list[TwoWay] | None = strengths(first, second, p.score[own], p.rater[own], p.opening[own], len(present))
        for slot, row in zip(present, rows or (), strict=False):
            count = int(((p.first[own] == slot) | (p.second[own] == slot)).sum())
            found.append(
                StrengthRow(
                    value=value, arm=slots[slot][0], strength=row.estimate, interval=_ends(row.low, row.high), comparisons=count
                )
            )  # fmt: skip
    return found


def confusion(found: Analysis) -> list[dict[str, Any]]:
    """What was meant against what was named: a row per arm and value, shares of its ratings.

    Args:
        found: an analysis.
    """
    return [{"arm": row.arm, "meant": row.value, **row.naming, "ratings": row.ratings} for row in found.arms]
