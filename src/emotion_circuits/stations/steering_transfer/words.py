"""What the claims about steering with other sentences' directions say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _effect(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    notes = [
        say(
            "The own direction changes it by {own}; perplexity ratio {ratio}.",
            own=number(beside["own"]), ratio=number(beside["ratio"]),
        )
    ]  # fmt: skip
    if "wrong" in beside:
        notes.append(
            say("The most that an unrelated value's direction does is {wrong}.", wrong=number(beside["wrong"]))
        )
    return Words(
        say(
            "The direction of {value} from {source} moves texts on openings of {target} towards {value}.",
            value=term(str(about.value)), source=about.arm, target=about.corpus,
        ),
        term("judge's probability, steered minus unsteered"),
        term("openings"),
        say("directions of labels shuffled within the source's groups"),
        tuple(notes),
    )  # fmt: skip


def _specific(claim: Claim) -> Words:
    about = claim.about
    return Words(
        say(
            "The direction of {value} from {source} moves texts on openings of {target} further than any direction of a value "
            "that {target} does not know.",
            value=term(str(about.value)), source=about.arm, target=about.corpus,
        ),
        term("judge's probability, minus the unrelated direction that comes nearest"),
        term("openings"),
    )  # fmt: skip


KINDS = (Kind("steering_transfer.effect", _effect), Kind("steering_transfer.specific", _specific))

ASPECTS = (
    Aspect(
        "stable",
        "what one set of sentences teaches steers texts of another",
        ("steering_transfer.effect", "steering_transfer.specific"),
        "steering_transfer",
        some="Directions carried over to other openings steer texts there: {supported} of {total} ({names}; clearest: "
        "{figure}, {beside}).",
        none="That directions steer texts on other openings than their own is not shown (tested: {total}; closest: {figure}, "
        "{beside}).",
        names="corpus",
        plainly="Directions learned on one set of sentences steer texts of another, too.",
        otherwise="That directions steer texts of another language or attribute is not shown.",
    ),
)
