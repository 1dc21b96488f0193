"""A claim in words: as it was stored in English, rendered from its structured fields in any other language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_circuits.language import language, say, term
from emotion_circuits.report.claim_rules import Facts, expected_side, words_of
from emotion_circuits.report.numerals import estimate, fixed, number, places
from emotion_circuits.statistics import VERDICTS

__all__ = ["Told", "beside", "counted", "figure_words", "reason_code", "slug", "tell"]


@dataclass(frozen=True)
class Told:
    """A claim and the words for it.

    Attributes:
        claim: as it is stored.
        statement: one sentence.
        unit: of the estimate.
        chance: what the claim's ``chance`` is: the chance level, or a bound.
        null: what the null is.
        unit_of_n: what is counted.
        notes: reason for the verdict, and what else a reader must know.
        foreign: the statement is English on a page of another language.
        side: which way the claim says its figure goes: 1 up, −1 down.
    """

    claim: dict[str, Any]
    statement: str
    unit: str
    chance: str
    null: str
    unit_of_n: str
    notes: str
    foreign: bool = False
    side: int = 1


def tell(claims: Sequence[dict[str, Any]], facts: Facts) -> tuple[Told, ...]:
    """Claims with their words in the language that is spoken."""
    return tuple(_tell(claim, facts) for claim in claims)


def _tell(claim: dict[str, Any], facts: Facts) -> Told:
    words, side = words_of(claim, facts), expected_side(claim["id"], facts)
    chance = say("chance") if words is None else words.chance or say("chance")
    if language() == "en" or words is None:
        return Told(
            claim, claim["statement"], term(claim["unit"]), chance, claim["null"] or "", term(claim["unit_of_n"]),
            claim["notes"], foreign=language() != "en", side=side,
        )  # fmt: skip
    notes = " ".join((_reason(claim, side), *words.notes))
    return Told(claim, words.statement, words.unit, chance, words.null, term(claim["unit_of_n"]), notes, side=side)


def reason_code(claim: Mapping[str, Any], side: int) -> str:
    """Which rule of :func:`emotion_circuits.statistics.judge` gave the verdict, from the claim's figures alone.

    One of ``uncomputed few above below level opposite smallest null both``.

    Args:
        claim: as it is stored.
        side: which way it says its figure goes: 1 up, −1 down.
    """
    if claim["interval"] is None:
        return "uncomputed"
    low, high = claim["interval"]
    zero = claim["chance"] or 0.0
    ends = claim["null_interval"] or (zero, zero)
    above, below = max(zero, ends[1]), min(zero, ends[0])
    if claim["verdict"] == "supported":
        return "above" if low > above else "below"
    level = claim["p"] if claim["q"] is None else claim["q"]
    if claim["verdict"] == "inconclusive":
        if claim["n"] < 8:
            return "few"
        return "level" if (low > above or high < below) and level is not None else "both"
    if high <= zero if side > 0 else low >= zero:
        return "opposite"
    inside = claim["null_interval"] is not None and low >= ends[0] and high <= ends[1]
    return "null" if inside else "smallest"


def _reason(claim: Mapping[str, Any], side: int) -> str:
    code = reason_code(claim, side)
    level, name = (claim["q"], "q") if claim["q"] is not None else (claim["p"], "p")
    tail = "" if level is None else f" ({name} = {number(float(level))})"
    return {
        "uncomputed": say("No interval was computed."),
        "few": say("Only {n} units, too few for a verdict.", n=claim["n"]),
        "above": say("The interval lies above the reference{tail}.", tail=tail),
        "below": say("The interval lies below the reference{tail}.", tail=tail),
        "level": say("The interval lies beyond the reference, but the corrected level is too high{tail}.", tail=tail),
        "opposite": say("The whole interval lies on the other side of the chance level."),
        "smallest": say("The interval rules out the smallest effect that matters."),
        "null": say("The interval lies wholly within what the null gives."),
        "both": say("The interval allows both no effect beyond the reference and one that matters."),
    }[code]


def beside(told: Told) -> str:
    """What a claim's figure stands beside: chance level or bound, and the null's range."""
    claim = told.claim
    parts = []
    if claim["chance"] is not None:
        parts.append(f"{told.chance} = {number(float(claim['chance']))}")
    if claim["null_interval"]:
        decimals = places(*(claim["interval"] or claim["null_interval"]))
        low, high = (fixed(end, decimals) for end in claim["null_interval"])
        parts.append(f"{say('null')} {low} … {high}")
    return say("; ").join(parts) or "–"


def figure_words(told: Told) -> str:
    """The estimate with its interval."""
    return estimate(told.claim["estimate"], told.claim["interval"])


def counted(claims: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Verdicts that occur, with how often."""
    found = [str(claim["verdict"]) for claim in claims]
    return [(verdict, found.count(verdict)) for verdict in VERDICTS if verdict in found]


def slug(text: str) -> str:
    """A name that is safe in a file's name and in an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
