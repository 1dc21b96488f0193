"""Who is left out: the rules that were declared, and what each rater's figures are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.human.reading import Answered
from emotion_circuits.human.records import Study

__all__ = ["Watched", "careless", "watched"]


class Watched(BaseModel):
    """How one rater answered.

    Attributes:
        rater: code.
        answered: share of the form.
        attention: checks that were answered otherwise than they ask.
        gold: share of unmistakable texts that were named rightly; ``None``: none was answered.
        repeat: mean difference of naturalness between two ratings of one text, in points.
        seconds: median per item.
        same: share of single texts with the commonest naturalness.
        reasons: rules that apply; one is enough to be left out.
    """

    model_config = ConfigDict(frozen=True)

    rater: str
    answered: float
    attention: int
    gold: float | None
    repeat: float | None
    seconds: float
    same: float
    reasons: tuple[str, ...]


def watched(study: Study, answered: Sequence[Answered]) -> list[Watched]:
    """Every rater by the rules of the study.

    Args:
        study: with its key.
        answered: raters.
    """
    return [_watch(study, one) for one in answered]


def careless(seen: Sequence[Watched]) -> set[int]:
    """Places of the raters whom the rules leave out.

    Args:
        seen: of :func:`watched`.
    """
    return {place for place, one in enumerate(seen) if one.reasons}


def _watch(study: Study, one: Answered) -> Watched:
    design, key, rules = study.design, study.key, study.design.rules
    kinds: dict[str, list[str]] = {}
    for item in one.answers:
        kinds.setdefault(key.items[item].kind, []).append(item)

    def right(item: str) -> bool:
        return all(one.answers[item].answer[name] == value for name, value in key.items[item].expected.items())

    attention = sum(not right(item) for item in kinds.get("attention", ()))
    gold = [right(item) for item in kinds.get("gold", ())]
    again = [
        abs(one.answers[item].answer["naturalness"] - one.answers[key.items[item].again].answer["naturalness"])
        for item in kinds.get("repeat", ()) if key.items[item].again in one.answers
    ]  # fmt: skip
    natural = [one.answers[item].answer["naturalness"] for item in kinds.get("single", ())]
    same = max((natural.count(n) / len(natural) for n in set(natural)), default=0.0)
    seconds = float(np.median([given.seconds for given in one.answers.values()]))
    share = len(one.answers) / len(design.forms[one.rater].items)
    known_gold, repeat = float(np.mean(gold)) if gold else None, float(np.mean(again)) if again else None
    applies = {
        "attention": attention > rules.attention,
        "gold": known_gold is not None and known_gold < rules.gold,
        "repeat": repeat is not None and repeat > rules.repeat,
        "seconds": seconds < rules.seconds,
        # On a few texts the same answer is no habit.
        "same": len(natural) >= 8 and same > rules.same,
        "answered": share < rules.answered,
    }
    return Watched(
        rater=one.rater, answered=share, attention=attention, gold=known_gold, repeat=repeat, seconds=seconds, same=same,
        reasons=tuple(name for name, found in applies.items() if found),
    )  # fmt: skip
