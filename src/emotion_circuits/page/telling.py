"""A claim in words, in the language that is spoken: the station's words for its kind, and the reason for its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import gap, say
from emotion_circuits.page.numerals import estimate, fixed, number, places
from emotion_circuits.page.words import Kind
from emotion_circuits.statistics import VERDICTS, Claim

__all__ = ["Told", "beside", "claim_json", "counted", "figure_words", "slug", "tell"]


@dataclass(frozen=True)
class Told:
    """A claim and the words for it.

    Attributes:
        claim: the data.
        statement: one sentence.
        unit: of the estimate.
        chance: what the claim's ``chance`` is: the chance level, or a bound.
        null: what the null is.
        counted: what ``n`` counts.
        notes: reason for the verdict, and what else a reader must know.
    """

    claim: Claim
    statement: str
    unit: str
    chance: str
    null: str
    counted: str
    notes: str


def tell(claims: Sequence[Claim], kinds: Mapping[str, Kind]) -> tuple[Told, ...]:
    """Claims with their words in the language that is spoken.

    Args:
        claims: what is to be told.
        kinds: by name, those of every station whose claims may be among them.

    Raises:
        EmotionCircuitsError: a claim of a kind that none of them declares.
    """
    return tuple(_tell(claim, kinds) for claim in claims)


def _tell(claim: Claim, kinds: Mapping[str, Kind]) -> Told:
    if claim.kind not in kinds:
        raise EmotionCircuitsError(
            f"claim {claim.id!r}: is of the kind {claim.kind!r}, which no station declares; known: {', '.join(sorted(kinds))}"
        )
    words = kinds[claim.kind].words(claim)
    notes = gap().join((_reason(claim), *words.notes, *_family(claim)))
    return Told(claim, words.statement, words.unit, words.chance or say("chance"), words.null, words.counted, notes)


def claim_json(told: Told) -> dict[str, Any]:
    """A claim as data with its words, for programs that want to show it."""
    words = {"statement": told.statement, "unit": told.unit, "null": told.null, "unit_of_n": told.counted}
    return {**told.claim.model_dump(mode="json"), "words": {**words, "notes": told.notes}}


def _family(claim: Claim) -> tuple[str, ...]:
    tests = claim.figures.tests
    return () if tests is None else (say("One of {tests} tests that were corrected together.", tests=tests),)


def _reason(claim: Claim) -> str:
    figures = claim.figures
    tail = "" if figures.level is None else f" ({figures.level[0]} = {number(figures.level[1])})"
    return {
        "uncomputed": say("No interval was computed."),
        "few": say("Only {n} units, too few for a verdict.", n=figures.n),
        "above": say("The interval lies above the reference{tail}.", tail=tail),
        "below": say("The interval lies below the reference{tail}.", tail=tail),
        "level": say("The interval lies beyond the reference, but the corrected level is too high{tail}.", tail=tail),
        "given": say("What it rests on is not supported itself."),
        "size": say("The figure lies beyond the null, but is smaller than what matters."),
        "opposite": say("The whole interval lies on the other side of the chance level."),
        "smallest": say("The interval rules out the smallest effect that matters."),
        "null": say("The interval lies wholly within what the null gives."),
        "both": say("The interval allows both no effect beyond the reference and one that matters."),
    }[claim.reason]


def beside(told: Told) -> str:
    """What a claim's figure stands beside: chance level or bound, and the null's range."""
    figures = told.claim.figures
    parts = []
    if figures.chance is not None:
        parts.append(f"{told.chance} = {number(figures.chance)}")
    if figures.null:
        decimals = places(*(figures.interval or figures.null))
        low, high = (fixed(end, decimals) for end in figures.null)
        parts.append(f"{say('null')} {low} … {high}")
    return say("; ").join(parts) or "–"


def figure_words(told: Told) -> str:
    """The estimate with its interval."""
    return estimate(told.claim.figures.estimate, told.claim.figures.interval)


def counted(claims: Iterable[Claim]) -> list[tuple[str, int]]:
    """Verdicts that occur, with how often."""
    found = [claim.verdict for claim in claims]
    return [(verdict, found.count(verdict)) for verdict in VERDICTS if verdict in found]


def slug(text: str) -> str:
    """A name that is safe in a file's name and in an id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
