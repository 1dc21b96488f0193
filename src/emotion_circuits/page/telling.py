"""A claim in words, in the language that is spoken: the station's words for its kind, and the reason for its verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import gap, say
from emotion_circuits.page.numerals import estimate, fixed, number, places, probability
from emotion_circuits.page.words import Kind
from emotion_circuits.statistics import VERDICTS, Claim
from emotion_circuits.statistics.claims import ALPHA

__all__ = ["Told", "beside", "claim_json", "counted", "figure_words", "null_words", "slug", "tell"]


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
        EmotionCircuitsError: a claim of a kind that none of them declares, or without a figure that its kind tells.
    """
    return tuple(_tell(claim, kinds) for claim in claims)


def _tell(claim: Claim, kinds: Mapping[str, Kind]) -> Told:
    if claim.kind not in kinds:
        raise EmotionCircuitsError(
            f"claim {claim.id!r}: is of the kind {claim.kind!r}, which no station declares; known: {', '.join(sorted(kinds))}"
        )
    try:
        words = kinds[claim.kind].words(claim)
    except KeyError as lacking:
        raise EmotionCircuitsError(
            f"claim {claim.id!r}: lacks the figure {lacking}, which belongs to claims of the kind {claim.kind!r}; what holds it "
            "is damaged or of another version"
        ) from lacking
    notes = gap().join((_reason(claim), *words.notes, *_family(claim)))
    return Told(claim, words.statement, words.unit, words.chance or say("chance"), words.null, words.counted, notes)


def claim_json(told: Told) -> dict[str, Any]:
    """A claim as data with its words, for programs that want to show it."""
    words = {"statement": told.statement, "unit": told.unit, "null": told.null, "unit_of_n": told.counted}
    return {**told.claim.model_dump(mode="json"), "words": {**words, "notes": told.notes}}


def _family(claim: Claim) -> tuple[str, ...]:
    figures = claim.figures
    if figures.q is None or figures.tests is None:
        return ()
    if figures.tests == 1:
        return (say("A family of one test ({family}): q is p.", family=figures.family),)
    return (say("One of {tests} tests corrected together ({family}).", tests=figures.tests, family=figures.family),)


def _reason(claim: Claim) -> str:
    figures = claim.figures
    tail = "" if figures.q is None else say(" (q {q})", q=_equal(figures.q))
    low = figures.q is not None and figures.q <= ALPHA
    least = "" if figures.smallest is None else number(figures.smallest)
    return {
        "uncomputed": say("No interval or no test was computed."),
        "few": say("Only {n} units, too few for a verdict.", n=figures.n),
        "above": say("The interval lies above the reference{tail}.", tail=tail),
        "below": say("The interval lies below the reference{tail}.", tail=tail),
        "level": say("The interval lies beyond the reference, but q is too high{tail}.", tail=tail),
        "given": say(
            "Its own figures would support it{tail}, but what it rests on is not supported itself.", tail=tail
        ),
        "size": say(
            "The interval lies beyond the reference{tail}, but the figure is smaller than what matters ({least}).",
            tail=tail,
            least=least,
        ),
        "opposite": say("The whole interval lies on the other side of the reference than the claimed one."),
        "smallest": say(
            "Something is there{tail}, but the interval rules out the smallest effect that matters ({least}).",
            tail=tail,
            least=least,
        )
        if low
        else say("The interval rules out the smallest effect that matters ({least}).", least=least),
        "disagree": say("q is low enough{tail}, but the interval reaches the reference.", tail=tail),
        "both": say("The interval allows both no effect and one that matters."),
    }[claim.reason]


def _equal(value: float) -> str:
    shown = probability(value)
    return shown if shown.startswith("<") else f"= {shown}"


def beside(told: Told) -> str:
    """What a claim's figure stands beside: chance level or bound, and the null's range."""
    figures = told.claim.figures
    parts = []
    if figures.chance is not None:
        parts.append(f"{told.chance} = {number(figures.chance)}")
    if figures.null:
        parts.append(f"{say('null')} {null_words(told)}")
    return say("; ").join(parts) or "–"


def null_words(told: Told) -> str:
    """The null's range with the decimals of the estimate beside it; empty where there is none."""
    figures = told.claim.figures
    if not figures.null:
        return ""
    decimals = places(*(figures.interval or figures.null))
    low, high = (fixed(end, decimals) for end in figures.null)
    return f"{low} … {high}"


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
