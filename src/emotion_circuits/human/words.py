"""What the claims of a human study say."""

from __future__ import annotations

from emotion_circuits.human.records import RIVALS
from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number, percent
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _means(claim: Claim) -> tuple[str, ...]:
    beside = claim.figures.beside
    if "steered" not in beside:
        return ()
    return (
        say("Steered {steered}, other arm {other}.", steered=number(beside["steered"]), other=number(beside["other"])),
    )


def _names(claim: Claim) -> dict[str, str]:
    return {"value": term(str(claim.about.value)), "arm": term(str(claim.about.arm))}


def _transmitted(claim: Claim) -> Words:
    different = claim.figures.side == "different"
    statement = (
        say("People name {value} in steered texts more often or less often than in {arm} ones.", **_names(claim))
        if different
        else say("People name {value} in steered texts more often than in {arm} ones.", **_names(claim))
    )
    return Words(statement, term("share of ratings"), term("raters or openings"), notes=_means(claim))


def _intense(claim: Claim) -> Words:
    return Words(
        say("People find {value} more intense in steered texts than in {arm} ones.", **_names(claim)),
        term("points from 0 to 6"),
        term("raters or openings"),
        notes=_means(claim),
    )


def _stronger(claim: Claim) -> Words:
    beside = claim.figures.beside
    statement = (
        say(
            "Side by side, people find more or less {value} in the steered text than in the {arm} one.", **_names(claim)
        )
        if claim.figures.side == "different"
        else say("Side by side, people find more {value} in the steered text than in the {arm} one.", **_names(claim))
    )
    notes = (say("Ties count half; they are {ties}.", ties=percent(beside["ties"])),) if "ties" in beside else ()
    return Words(
        statement, term("share of pairs"), term("raters or openings"), notes=notes, chance=say("no preference")
    )


def _natural(claim: Claim) -> Words:
    statement = (
        say("Steered texts sound more or less natural to people than {arm} ones.", **_names(claim))
        if claim.figures.side == "different"
        else say("Texts steered to {value} sound less natural to people than {arm} ones.", **_names(claim))
    )
    return Words(statement, term("points from 1 to 7"), term("raters or openings"), notes=_means(claim))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("human.transmitted", _transmitted),
        Kind("human.intense", _intense),
        Kind("human.stronger", _stronger),
        Kind("human.natural", _natural),
    )
}

ASPECTS = (
    Aspect(
        "steered",
        "people name the value in steered texts",
        ("human.transmitted",),
        "human",
        where={"arm": ("unsteered", "random")},
        some="People who read the texts blind name the value that was steered to more often: {supported} of {total} ({names}; "
        "clearest: {figure}, {beside}).",
        none="That people who read the texts blind name the value that was steered to more often is not shown (tested: {total}; "
        "closest: {figure}, {beside}).",
        plainly="People who read the texts blind name it: {names}.",
        otherwise="That people who read the texts blind name it is not shown.",
        names="value",
    ),
    Aspect(
        "steered", "… beside texts of a prompt or of tuned weights", ("human.transmitted",), "human",
        where={"arm": RIVALS},
    ),
    Aspect(
        "steered", "people find more of the value in steered texts", ("human.intense", "human.stronger"), "human",
        where={"arm": ("unsteered", "random")},
    ),
    Aspect(
        "steered", "… beside texts of a prompt or of tuned weights, pair by pair", ("human.stronger",), "human",
        where={"arm": RIVALS},
    ),
    Aspect("steered", "what people's ratings of naturalness say of the cost", ("human.natural",), "human"),
)  # fmt: skip
"""Which of the report's questions they answer, beside the run's own claims."""
